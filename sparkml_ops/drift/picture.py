"""Numbers for the pictures of a report: two distributions over the same axis, from the cells alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkml_ops.drift.report import ColumnDrift
from sparkml_ops.summaries import NumberEdges, NumberSummary
from sparkml_ops.summaries.density import middle_of, share_below, single_values, value_text
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
    anchor: str = "middle"


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
    """A category's shares.

    Args:
        label: The category.
        reference: Its share of the reference.
        current: Its share now.
        scale: The greatest share of any category: the full width.
    """

    label: str
    reference: float
    current: float
    scale: float


def bars_of(column: ColumnDrift) -> tuple[tuple[Bar, ...], int]:
    """The categories with the greatest shares on either side, and how many more there are."""
    if column.declared is None or not isinstance(column.declared.edges, tuple):
        return (), 0
    first, second = (side / max(int(side.sum()), 1) for side in column.declared.counts)
    greatest = np.maximum(first, second)
    order = np.argsort(-greatest, kind="stable")
    bars = tuple(Bar(column.declared.edges[index], float(first[index]), float(second[index]), float(greatest.max())) for index in order[:_MOST_BARS])
    return bars, max(0, len(order) - _MOST_BARS)


def curves_of(column: ColumnDrift) -> Curves | None:
    """The two densities of a number; None where a side has no finite value."""
    edges, first, second = column.reference.edges, column.reference.state, column.current.state
    if not (isinstance(edges, NumberEdges) and isinstance(first, NumberSummary) and isinstance(second, NumberSummary)):
        return None
    if not first.tally.finite or not second.tally.finite:
        return None
    if np.count_nonzero(first.counts + second.counts) <= _FEW:
        return _few_values(edges, first, second, column.type)
    low, high = _range((first, second), edges)
    bounds = np.linspace(low, high, _STEPS + 1)
    running = [share_below(side, edges, bounds) for side in (first, second)]
    marks = np.linspace(low, high, 5).tolist()
    anchors = ("start", "middle", "middle", "middle", "end")
    ticks = tuple(
        Tick((value - low) / (high - low) * WIDTH, value_text(value, column.type, high - low), anchor)
        for value, anchor in zip(marks, anchors, strict=True)
    )
    outside = tuple(float(1 - (part[-1] - part[0])) for part in running)
    return _drawn(bounds, [np.diff(part) for part in running], ticks, (outside[0], outside[1]))


def _few_values(edges: NumberEdges, first: NumberSummary, second: NumberSummary, kind: str) -> Curves:
    """One step for each value that occurs, side by side."""
    cells, values = single_values(edges, first.counts + second.counts, first.sums(edges) + second.sums(edges))
    places = np.linspace(0, len(cells) - 1, len(cells) if len(cells) <= _MOST_BARS else 6).round().astype(int).tolist()
    ticks = tuple(Tick((place + 0.5) / len(cells) * WIDTH, value_text(float(values[place]), kind)) for place in places)
    return _drawn(np.arange(len(cells) + 1.0), [side.counts[cells] / side.tally.finite for side in (first, second)], ticks, (0.0, 0.0))


def _range(sides: tuple[NumberSummary, NumberSummary], edges: NumberEdges) -> tuple[float, float]:
    lows, highs = zip(*(middle_of(side, edges, _OUTSIDE) for side in sides), strict=True)
    return min(lows), max(highs)


def _drawn(bounds: Floats, heights: list[Floats], ticks: tuple[Tick, ...], outside: tuple[float, float]) -> Curves:
    top = max(float(np.max(height)) for height in heights) or 1.0
    x = (bounds - bounds[0]) / (bounds[-1] - bounds[0]) * WIDTH
    paths = [_steps(x, HEIGHT - height / top * (HEIGHT - 8)) for height in heights]
    return Curves(f"M0 {HEIGHT}L{paths[0]}L{WIDTH} {HEIGHT}Z", f"M0 {HEIGHT}L{paths[1]}L{WIDTH} {HEIGHT}", ticks, outside)


def _steps(x: Floats, y: Floats) -> str:
    return "L".join(f"{start:.1f} {level:.1f}L{end:.1f} {level:.1f}" for start, end, level in zip(x[:-1], x[1:], y, strict=True))
