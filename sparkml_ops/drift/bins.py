"""The declared bins of a column and the rows of each side in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.summaries import CategoryEdges, CategorySummary, NumberEdges, NumberSummary
from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["Bins", "Counts", "counts_in", "declared_bins"]

OTHER = "(other)"


class Counts(NamedTuple):
    """Rows of each side in each bin."""

    reference: Integers
    current: Integers


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins in which at least one side has a row.

    Args:
        edges: For a number the edges, from -inf to inf, one more than bins; bin i is (edges[i], edges[i + 1]].
            For a category the names.
        counts: Rows of each side.
        together: Whether the last bin of a category is all the others, which are not counted one by one.
    """

    edges: Floats | tuple[str, ...]
    counts: Counts
    together: bool = False

    @property
    def labels(self) -> list[str]:
        """How to name the bins for people."""
        if isinstance(self.edges, tuple):
            return list(self.edges)
        ends = np.append(self.edges[1:], np.nan)
        return [_interval(float(self.edges[i]), float(ends[i]), float(ends[i + 1])) for i in range(len(self.edges) - 1)]


def declared_bins(reference: ColumnProfile, current: ColumnProfile) -> Bins:
    """The bins of a column, exactly counted.

    A number's bins end at the exact deciles of the rows that its edges were fixed from (inverted CDF:
    the smallest value with at least k tenths of the rows at or below it), right-closed; a value
    with a tenth of those rows or more is a bin of its own. Categories are their own bins. A bin
    without a row on either side is joined to its neighbour.
    """
    edges, first, second = reference.edges, reference.state, current.state
    if isinstance(edges, CategoryEdges) and isinstance(first, CategorySummary) and isinstance(second, CategorySummary):
        return _categories(edges, first, second)
    if isinstance(edges, NumberEdges) and isinstance(first, NumberSummary) and isinstance(second, NumberSummary):
        return _numbers(edges.cuts, _steps(_below(first, edges)), _steps(_below(second, edges)))
    raise TypeError("a number on one side and a category on the other")


def counts_in(bins: Bins, part: ColumnProfile) -> Integers:
    """The rows of a part of either side in bins of the whole."""
    edges, state = part.edges, part.state
    if isinstance(bins.edges, tuple) and isinstance(edges, CategoryEdges) and isinstance(state, CategorySummary):
        counts = state.counts(edges)
        named = [counts.get(name, 0) for name in bins.edges[: len(bins.edges) - bins.together]]
        return np.array(named + [state.tally.values - sum(named)] * bins.together, dtype=np.int64)
    if isinstance(edges, NumberEdges) and isinstance(state, NumberSummary):
        inner = np.isin(edges.cuts, np.asarray(bins.edges)[1:-1])
        return np.asarray(np.diff(_below(state, edges)[np.append(inner, True)], prepend=0))
    raise TypeError("bins of a number and a part of a category")


def _below(state: NumberSummary, edges: NumberEdges) -> Integers:
    """Rows at or below each cut, and all rows at the end."""
    running = np.zeros(len(state.counts) + 1, dtype=np.int64)
    np.cumsum(state.counts, out=running[1:])
    return np.append(running[edges.cut_places] + state.tally.negative, state.tally.values)


def _steps(running: Integers) -> Integers:
    steps = running.copy()
    steps[1:] -= running[:-1]
    return steps


def _numbers(cuts: Floats, first: Integers, second: Integers) -> Bins:
    """Join empty bins to the bin on their right, or the last ones to the bin on their left."""
    occupied = np.flatnonzero(first + second > 0)
    inner = cuts[occupied[:-1]]
    return Bins(np.concatenate([[-np.inf], inner, [np.inf]]), Counts(first[occupied], second[occupied]))


def _categories(edges: CategoryEdges, first: CategorySummary, second: CategorySummary) -> Bins:
    """Those that both sides count one by one; what either side counts only together is together on both."""
    one, two = first.counts(edges), second.counts(edges)
    names = [name for name in edges.anchors if name in one or name in two]
    names += sorted(name for name in set(first.beyond) | set(second.beyond) if first.counts_alone(name) and second.counts_alone(name))
    counts = [[side.get(name, 0) for name in names] for side in (one, two)]
    rest = [side.tally.values - sum(own) for side, own in zip((first, second), counts, strict=True)]
    if together := any(rest):
        names.append(OTHER)
        counts = [[*own, other] for own, other in zip(counts, rest, strict=True)]
    return Bins(tuple(names), Counts(*(np.array(side, dtype=np.int64) for side in counts)), together)


def _interval(low: float, high: float, following: float) -> str:
    """`(low, high]` in words; one value alone is named."""
    if np.nextafter(low, np.inf) >= high:
        return f"= {high:.6g}"
    # A bin that ends just below a value which has a bin of its own.
    end = f"< {following:.6g}" if np.nextafter(high, np.inf) == following else f"≤ {high:.6g}"
    if np.isinf(low):
        return "all" if np.isinf(high) else end
    return f"> {low:.6g}" if np.isinf(high) else f"> {low:.6g}, {end}"
