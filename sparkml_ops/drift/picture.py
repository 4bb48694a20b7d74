"""Numbers for the pictures of a report: two distributions over the same axis, from the cells alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from sparkml_ops.drift.profile import ColumnProfile
from sparkml_ops.drift.report import ColumnDrift
from sparkml_ops.summaries import NumberEdges, NumberSummary
from sparkml_ops.summaries.order import Floats

__all__ = ["HEIGHT", "WIDTH", "Bar", "Curves", "Tick", "bars_of", "curves_of"]

WIDTH, HEIGHT = 640, 180
_STEPS = 56
_FEW = 40
_MOST_BARS = 12
# The picture shows the middle of the reference and of the current rows; what lies outside is named in words.
_OUTSIDE = 0.005


@dataclass(frozen=True)
class Tick:
    """A label under the axis."""

    x: float
    text: str


@dataclass(frozen=True)
class Curves:
    """Both densities as SVG paths in a box of `WIDTH` by `HEIGHT`.

    Args:
        reference: Path of the filled area.
        current: Path of the line.
        ticks: Labels of the axis.
        outside: Shares of the reference and of the current values that the axis does not show.
    """

    reference: str
    current: str
    ticks: tuple[Tick, ...]
    outside: tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """A category's shares."""

    label: str
    reference: float
    current: float


def bars_of(column: ColumnDrift) -> tuple[tuple[Bar, ...], int]:
    """The categories with the greatest shares on either side, and how many more there are."""
    if column.declared is None or not isinstance(column.declared.edges, tuple):
        return (), 0
    first, second = (side / max(int(side.sum()), 1) for side in column.declared.counts)
    order = np.argsort(-np.maximum(first, second), kind="stable")
    bars = tuple(Bar(column.declared.edges[index], float(first[index]), float(second[index])) for index in order[:_MOST_BARS])
    return bars, max(0, len(order) - _MOST_BARS)


def curves_of(column: ColumnDrift) -> Curves | None:
    """The two densities of a number; None where a side has no finite value."""
    edges, first, second = column.reference.edges, column.reference.state, column.current.state
    if not (isinstance(edges, NumberEdges) and isinstance(first, NumberSummary) and isinstance(second, NumberSummary)):
        return None
    if not first.tally.finite or not second.tally.finite:
        return None
    occupied = np.flatnonzero(first.counts + second.counts)
    if len(occupied) <= _FEW:
        bounds = np.arange(len(occupied) + 1, dtype=np.float64)
        heights = [side.counts[occupied] / side.tally.finite for side in (first, second)]
        labels = [_text(float(edges.right[index]), column.type) for index in occupied]
        places = np.linspace(0, len(occupied) - 1, min(6, len(occupied))).round().astype(int)
        ticks = tuple(Tick((int(place) + 0.5) / len(occupied) * WIDTH, labels[place]) for place in places)
        return _drawn(bounds, heights, ticks, (0.0, 0.0))
    low, high = _range(column.reference, column.current, edges)
    bounds = np.linspace(low, high, _STEPS + 1)
    running = [_running(side, edges, bounds) for side in (first, second)]
    ticks = tuple(
        Tick(float((value - low) / (high - low) * WIDTH), _text(float(value), column.type, high - low)) for value in np.linspace(low, high, 5)
    )
    outside = tuple(float(1 - (part[-1] - part[0])) for part in running)
    return _drawn(bounds, [np.diff(part) for part in running], ticks, (outside[0], outside[1]))


def _range(reference: ColumnProfile, current: ColumnProfile, edges: NumberEdges) -> tuple[float, float]:
    lows, highs = [], []
    for side in (reference, current):
        shares = np.cumsum(np.asarray(side.counts)) / max(side.state.tally.finite, 1)
        bottom, top = np.searchsorted(shares, _OUTSIDE), np.searchsorted(shares, 1 - _OUTSIDE)
        lows.append(max(float(edges.left[bottom]), side.min or 0.0) if side.min is not None else np.inf)
        highs.append(min(float(edges.right[min(top, edges.cells - 1)]), side.max or 0.0) if side.max is not None else -np.inf)
    low, high = float(min(lows)), float(max(highs))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _running(side: NumberSummary, edges: NumberEdges, bounds: Floats) -> Floats:
    """Share of the values at or below each bound, as if they lay evenly in their cells."""
    cells = np.flatnonzero(side.counts)
    left, right = np.maximum(edges.left[cells], side.lowest), np.minimum(edges.right[cells], side.highest)
    totals: Floats = np.cumsum(side.counts[cells]) / side.tally.finite
    points = np.column_stack([left, right]).ravel()
    shares = np.column_stack([totals - side.counts[cells] / side.tally.finite, totals]).ravel()
    return np.asarray(np.interp(bounds, points, shares, left=0.0, right=1.0))


def _drawn(bounds: Floats, heights: list[Floats], ticks: tuple[Tick, ...], outside: tuple[float, float]) -> Curves:
    top = max(float(np.max(height)) for height in heights) or 1.0
    x = (bounds - bounds[0]) / (bounds[-1] - bounds[0]) * WIDTH
    paths = [_steps(x, HEIGHT - height / top * (HEIGHT - 8)) for height in heights]
    return Curves(f"M0 {HEIGHT}L{paths[0]}L{WIDTH} {HEIGHT}Z", f"M0 {HEIGHT}L{paths[1]}L{WIDTH} {HEIGHT}", ticks, outside)


def _steps(x: Floats, y: Floats) -> str:
    return "L".join(f"{start:.1f} {level:.1f}L{end:.1f} {level:.1f}" for start, end, level in zip(x[:-1], x[1:], y, strict=True))


def _text(value: float, kind: str, span: float = 0.0) -> str:
    """A value as people write it: dates as dates, numbers short."""
    if kind.split("_", maxsplit=1)[0] in ("date", "timestamp"):
        day = 86_400_000_000
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(max(value, -6e16), 2.5e17))
        return moment.strftime("%Y-%m-%d" if kind == "date" or span > 4 * day else "%d %H:%M")
    return f"{value:.3g}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{round(value, 2):g}"
