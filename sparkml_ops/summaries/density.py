"""What pictures of a distribution need of its cells: how much lies where, and how people write a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from sparkml_ops.summaries.edges import NumberEdges
from sparkml_ops.summaries.number import NumberSummary
from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["middle_of", "share_below", "single_values", "value_text"]


def middle_of(state: NumberSummary, edges: NumberEdges, outside: float) -> tuple[float, float]:
    """The range of the finite values without a share at either end, as far as cells tell; some value is there."""
    shares = np.cumsum(state.counts) / state.tally.finite
    bottom, top = np.searchsorted(shares, outside), min(int(np.searchsorted(shares, 1 - outside)), edges.cells - 1)
    return max(float(edges.left[bottom]), state.lowest), min(float(edges.right[top]), state.highest)


def share_below(state: NumberSummary, edges: NumberEdges, bounds: Floats) -> Floats:
    """Share of the finite values at or below each bound, as if they lay evenly in their cells; below the first bound only what is less."""
    cells = np.flatnonzero(state.counts)
    left, right = np.maximum(edges.left[cells], state.lowest), np.minimum(edges.right[cells], state.highest)
    totals: Floats = np.cumsum(state.counts[cells]) / state.tally.finite
    points: Floats = np.column_stack([left, right]).ravel()
    shares = np.column_stack([totals - state.counts[cells] / state.tally.finite, totals]).ravel()
    # The first bound belongs to the picture: a value with much mass may lie on it.
    inclusive = np.append(np.nextafter(bounds[:1], -np.inf), bounds[1:])
    return np.asarray(np.interp(inclusive, points, shares, left=0.0, right=1.0))


def single_values(edges: NumberEdges, counts: Integers, sums: Floats) -> tuple[Integers, Floats]:
    """The cells that hold something, and the value of each: its only one, or the mean of those in it."""
    cells: Integers = np.flatnonzero(counts)
    means = edges.left[cells] + sums[cells] / counts[cells]
    return cells, np.where(edges.single[cells], edges.right[cells], means)


def value_text(value: float, kind: str, span: float = 0.0) -> str:
    """A value as people write it: dates as dates, numbers short.

    Args:
        value: Dates and instants in microseconds since 1970.
        kind: Spark type, as text.
        span: Of the axis that it stands on; 0: of no axis.

    >>> value_text(1234567.0, "bigint"), value_text(1372636800e6, "timestamp", span=3e14)
    ('1.23e+06', '2013-07-01')
    """
    if kind.split("_", maxsplit=1)[0] in ("date", "timestamp"):
        day = 86_400_000_000
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(max(value, -6e16), 2.5e17))
        return moment.strftime("%Y-%m-%d" if kind == "date" or span > 4 * day else "%d %H:%M")
    return f"{value:.3g}" if 0 < abs(value) < 1e-2 or abs(value) >= 1e5 else f"{value:.4g}"
