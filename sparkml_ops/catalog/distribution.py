"""How the values of one column lie: a few bars, from its summary alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparkml_ops.summaries import CategoryEdges, CategorySummary, ColumnEdges, NumberEdges, NumberSummary
from sparkml_ops.summaries.density import middle_of, share_below, single_values, value_text

__all__ = ["Bar", "Distribution", "distribution_of"]

_BINS = 30
_FEW = 30
_MOST_CATEGORIES = 6
# Bins show the middle of the values; what lies outside is named in words.
_OUTSIDE = 0.005
_TO = " to "


@dataclass(frozen=True)
class Bar:
    """One value, one bin or one category.

    Args:
        label: As people write it; of a bin its two ends.
        share: Of the rows that have a value.
    """

    label: str
    share: float


@dataclass(frozen=True)
class Distribution:
    """The values of a column in one version of its table.

    Args:
        version: Of the table.
        rows: Its rows, those without a value included.
        missing: Share of null and NaN; None without rows.
        low: Smallest finite value as text; empty for categories, and where there is none.
        high: Largest one.
        mean: Mean of the finite values; None likewise.
        shape: Whether the bars are single `values`, equally wide `bins`, or `categories` by frequency.
        bars: None of them where no row has a value.
        more: Categories without a bar, estimated where there are very many.
        outside: Share of the values beyond the first and the last bin.
    """

    version: int
    rows: int
    missing: float | None
    low: str
    high: str
    mean: float | None
    shape: Literal["values", "bins", "categories"]
    bars: tuple[Bar, ...]
    more: int = 0
    outside: float = 0.0

    @property
    def ends(self) -> tuple[str, str]:
        """What stands under the first and the last bar of numbers."""
        first, last = self.bars[0].label, self.bars[-1].label
        return (first, last) if self.shape == "values" else (first.split(_TO)[0], last.split(_TO)[1])


def distribution_of(edges: ColumnEdges, state: NumberSummary | CategorySummary, kind: str, version: int) -> Distribution:
    """The bars of a column.

    Args:
        edges: What its summary is anchored to.
        state: The summary.
        kind: Spark type, as text.
        version: Of the table that was profiled.
    """
    tally = state.tally
    missing = tally.missing / tally.n if tally.n else None
    if isinstance(state, NumberSummary) and isinstance(edges, NumberEdges):
        if not tally.finite:
            return Distribution(version, tally.n, missing, "", "", None, "values", ())
        low, high = value_text(state.lowest, kind, state.highest - state.lowest), value_text(state.highest, kind, state.highest - state.lowest)
        mean = None if kind.startswith(("date", "timestamp")) else state.total(edges) / tally.finite
        shape, bars, outside = _numbers(edges, state, kind)
        return Distribution(version, tally.n, missing, low, high, mean, shape, bars, outside=outside)
    assert isinstance(state, CategorySummary)
    assert isinstance(edges, CategoryEdges)
    counts = state.counts(edges)
    largest = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_CATEGORIES]
    bars = tuple(Bar(name, counts[name] / tally.values) for name in largest)
    return Distribution(version, tally.n, missing, "", "", None, "categories", bars, more=max(0, round(state.distinct) - len(bars)))


def _numbers(edges: NumberEdges, state: NumberSummary, kind: str) -> tuple[Literal["values", "bins"], tuple[Bar, ...], float]:
    if np.count_nonzero(state.counts) <= _FEW:
        cells, values = single_values(edges, state.counts, state.sums(edges))
        shares = state.counts[cells] / state.tally.finite
        return "values", tuple(Bar(value_text(float(value), kind), float(share)) for value, share in zip(values, shares, strict=True)), 0.0
    low, high = middle_of(state, edges, _OUTSIDE)
    bounds = np.linspace(low, high, _BINS + 1)
    below = share_below(state, edges, bounds)
    texts = [value_text(float(bound), kind, high - low) for bound in bounds]
    bars = tuple(Bar(f"{texts[place]}{_TO}{texts[place + 1]}", float(share)) for place, share in enumerate(np.diff(below)))
    return "bins", bars, float(1 - (below[-1] - below[0]))
