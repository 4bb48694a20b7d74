"""A change of unit, told from drift: the current values are the reference's after a known conversion."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from sparkml_ops.drift.bounds import Pair
from sparkml_ops.summaries import NumberEdges, NumberSummary
from sparkml_ops.summaries.density import share_below

__all__ = ["Conversion", "conversion_of"]

_NAMED = {
    "metres to feet": 1 / 0.3048,
    "inches to centimetres": 2.54,
    "inches to millimetres": 25.4,
    "feet to inches": 12.0,
    "miles to kilometres": 1.609344,
    "metres per second to kilometres per hour": 3.6,
    "miles to metres": 1609.344,
    "kilograms to pounds": 1 / 0.45359237,
    "kilograms to ounces": 35.27396195,
    "gallons to litres": 3.785411784,
    "minutes to seconds": 60.0,
    "hours to seconds": 3600.0,
    "days to hours": 24.0,
    "days to minutes": 1440.0,
    "days to seconds": 86_400.0,
    "weeks to days": 7.0,
    "degrees to radians": np.pi / 180,
    "to units of a tenth": 10.0,
    "to units of a hundredth": 100.0,
    "to units of a thousandth": 1e3,
    "to units of a millionth": 1e6,
    "to units of a billionth": 1e9,
    "to units of 1/1024": 1024.0,
}
_CELSIUS = 273.15
_SHIFTED = {"Celsius to Fahrenheit": (1.8, 32.0), "Celsius to Kelvin": (1.0, _CELSIUS), "Fahrenheit to Kelvin": (1 / 1.8, _CELSIUS - 32 / 1.8)}
# A scale without a name must be at least this large, or as small. Below the other one a shift by chance may look like a conversion.
_LARGE, _PLAIN = 8.0, 3.0


@dataclass(frozen=True)
class Conversion:
    """What turns the reference's values into the current ones.

    Args:
        name: In words.
        factor: current = factor * reference + shift.
        shift: See `factor`.
        left: Greatest distance of the distribution functions after it.
    """

    name: str
    factor: float
    shift: float
    left: float


@dataclass(frozen=True)
class _Moments:
    n: int
    mean: float
    deviation: float

    @classmethod
    def of(cls, state: NumberSummary, edges: NumberEdges) -> _Moments:
        n = state.tally.finite
        mean = state.total(edges) / n
        return cls(n, mean, sqrt(max(0.0, state.total_squares(edges) / n - mean * mean)))


def conversion_of(pair: Pair, distance: float) -> Conversion | None:
    """The conversion that explains a shift; None where none does.

    Mean and deviation must be the converted ones, and at the edges that part the current values both distribution functions
    must agree: to a quarter of the distance and to 0.05 (0.02 for factors below 3), or what chance makes of equal samples. Only a large scale needs no name, and a
    scale alone is a conversion only of values on one side of zero: those on both sides may as well just spread.

    Args:
        pair: Both sides.
        distance: Their Kolmogorov-Smirnov distance.
    """
    n, m = pair.reference.tally.finite, pair.current.tally.finite
    if not n or not m:
        return None
    before, after = (_Moments.of(state, pair.edges) for state in (pair.reference, pair.current))
    if not (0 < before.deviation < np.inf and 0 < after.deviation < np.inf):
        return None
    chance = 1.5 * sqrt((n + m) / (n * m))
    found = [
        conversion
        for name, factor, shift in _candidates(pair, before, after)
        if _agrees(before, after, factor, shift)
        and (conversion := Conversion(name, factor, shift, _left(pair, factor, shift))).left
        <= min(distance / 4, max(0.02 if _plain(factor) else 0.05, chance))
    ]
    return min(found, key=lambda conversion: conversion.left, default=None)


def _candidates(pair: Pair, before: _Moments, after: _Moments) -> list[tuple[str, float, float]]:
    """All named conversions that fit the signs, and else the scale itself where it is large."""
    both_ways: dict[str, tuple[float, float]] = {}
    for name, (factor, shift) in _SHIFTED.items():
        both_ways |= _ways(name, factor, shift)
    if not (pair.reference.lowest >= 0 or pair.reference.highest <= 0):
        return [(name, *way) for name, way in both_ways.items()]
    for name, factor in _NAMED.items():
        both_ways |= _ways(name, factor, 0.0)
    found = [(name, *way) for name, way in both_ways.items()]
    constant = after.mean / before.mean if before.mean else 0.0
    named = any(_agrees(before, after, factor, shift) for _, factor, shift in found)
    if not named and constant > 0 and abs(log(constant)) >= log(_LARGE):
        found.append((f"times {constant:.4g}", constant, 0.0))
    return found


def _ways(name: str, factor: float, shift: float) -> dict[str, tuple[float, float]]:
    return {name: (factor, shift), f"{name}, backwards": (1 / factor, -shift / factor)}


def _agrees(before: _Moments, after: _Moments, factor: float, shift: float) -> bool:
    """Whether mean and deviation are the converted ones, but for chance and some drift beside the conversion."""
    chance = 4 * sqrt(after.deviation**2 / after.n + (factor * before.deviation) ** 2 / before.n)
    near, alike = (0.02, 0.1) if _plain(factor) else (0.05, 0.3)
    means = abs(after.mean - factor * before.mean - shift) <= chance + near * after.deviation
    return means and abs(log(after.deviation / (factor * before.deviation))) <= alike


def _plain(factor: float) -> bool:
    """Whether a shift of the rows themselves may well look like it."""
    return 1 / _PLAIN < factor < _PLAIN


def _left(pair: Pair, factor: float, shift: float) -> float:
    """Greatest distance of the distribution functions at the edges of the current values' cells, the conversion undone.

    There the current function is exact; the reference's is known within one of its own cells, which are fine.
    """
    edges, second = pair.edges, pair.current
    cells = np.flatnonzero(second.counts)[:-1]
    if not len(cells):
        return 0.0
    expected = np.cumsum(second.counts)[cells] / second.tally.finite
    points = (edges.right[cells] - shift) / factor
    # A value on the edge of a cell must not fall to the other side by rounding.
    points = points + np.abs(points) * 1e-9
    return float(np.abs(share_below(pair.reference, edges, np.concatenate([[-np.inf], points]))[1:] - expected).max())
