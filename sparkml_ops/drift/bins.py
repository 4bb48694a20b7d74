"""The declared bins of a column and the rows of each side in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sparkml_ops.drift.profile import ColumnProfile
from sparkml_ops.summaries import CategoryEdges, CategorySummary, NumberEdges, NumberSummary
from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["Bins", "Counts", "declared_bins"]

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
    """

    edges: Floats | tuple[str, ...]
    counts: Counts

    @property
    def labels(self) -> list[str]:
        """How to name the bins for people."""
        if isinstance(self.edges, tuple):
            return list(self.edges)
        return [_interval(low, high) for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)]


def declared_bins(reference: ColumnProfile, current: ColumnProfile) -> Bins:
    """The bins of a column, exactly counted.

    A number's bins end at the exact deciles of the rows that its edges were fixed from (inverted CDF:
    the smallest value with at least k tenths of the rows at or below it), right-closed; a value
    with a tenth of those rows or more is a bin of its own. Categories are their own bins. A bin
    without a row on either side is joined to its neighbour.
    """
    if isinstance(reference.edges, CategoryEdges):
        return _categories(reference.edges, reference.state, current.state)  # type: ignore[arg-type]
    cuts = reference.edges.cuts
    first, second = (_below(side.state, reference.edges) for side in (reference, current))  # type: ignore[arg-type]
    # A cut is needed where a row lies between it and the cut before.
    kept = np.flatnonzero(np.diff(first + second, prepend=0, append=first[-1] + second[-1]) > 0) if len(cuts) else np.empty(0, dtype=np.int64)
    del kept
    return _numbers(cuts, np.diff(first, prepend=0), np.diff(second, prepend=0))


def _below(state: NumberSummary, edges: NumberEdges) -> Integers:
    """Rows at or below each cut, and all rows at the end."""
    running = state.tally.negative + np.concatenate([[0], np.cumsum(state.counts)])
    return np.append(running[np.searchsorted(edges.values, edges.cuts)], state.tally.values).astype(np.int64)


def _numbers(cuts: Floats, first: Integers, second: Integers) -> Bins:
    """Join empty bins to the bin on their left, or the first ones to the bin on their right."""
    occupied = np.flatnonzero(first + second > 0)
    counts = Counts(first[occupied], second[occupied])
    inner = cuts[occupied[1:] - 1]
    return Bins(np.concatenate([[-np.inf], inner, [np.inf]]), counts)


def _categories(edges: CategoryEdges, first: CategorySummary, second: CategorySummary) -> Bins:
    one, two = first.counts(edges), second.counts(edges)
    names = [name for name in edges.anchors if name in one or name in two]
    names += sorted((set(first.beyond) | set(second.beyond)))
    counts = [[side.get(name, 0) for name in names] + [other] for side, other in ((one, first.other), (two, second.other))]
    if not (first.other or second.other):
        counts = [side[:-1] for side in counts]
    else:
        names.append(OTHER)
    return Bins(tuple(names), Counts(*(np.array(side, dtype=np.int64) for side in counts)))


def _interval(low: float, high: float) -> str:
    """`(low, high]`, or the value where only one fits."""
    if np.nextafter(low, np.inf) >= high:
        return f"= {high:.6g}"
    if np.isinf(low):
        return "all" if np.isinf(high) else f"≤ {high:.6g}"
    return f"> {low:.6g}" if np.isinf(high) else f"{low:.6g} to {high:.6g}"
