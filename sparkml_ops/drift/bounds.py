"""Kolmogorov-Smirnov and Wasserstein-1 distances from cells: guaranteed bounds, and the exact value.

At the edges both distribution functions are known exactly, and within a cell they lie between
their values at its ends. The integral of each over a cell is exact too, from count and sum. A
cell is ambiguous where that leaves more than one value; the values of such cells, fetched,
make the distance exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Any

import numpy as np

from sparkml_ops.summaries import NumberEdges, NumberSummary, PrefixCounts
from sparkml_ops.summaries.edges import REST
from sparkml_ops.summaries.order import Floats, Integers, from_keys

__all__ = ["Bounds", "Pair"]

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
# Differences of distribution functions are kept as whole numbers: exact, and exactly zero where they are equal.
_Steps = np.ndarray[tuple[int], np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Bounds:
    """A distance that lies in [lower, upper] for certain.

    Args:
        value: Estimate: the exact value where both bounds agree.
        lower: Never above the distance between the two samples.
        upper: Never below it.
        ambiguous: Cells whose values would decide it.
    """

    value: float
    lower: float
    upper: float
    ambiguous: Mask

    @property
    def exact(self) -> bool:
        """Whether nothing is left open."""
        return not self.ambiguous.any()


@dataclass(frozen=True, eq=False)
class Pair:
    """The same column on two sides, on the same edges."""

    edges: NumberEdges
    reference: NumberSummary
    current: NumberSummary

    def ks(self, fetched: tuple[PrefixCounts, PrefixCounts] | None = None) -> Bounds | None:
        """The greatest distance of the distribution functions; None where a side has no value.

        Infinite values are the outermost ones; missing values are left out.

        Args:
            fetched: All values of both sides in the cells that are ambiguous without them.
        """
        n, m = self.reference.tally.values, self.current.tally.values
        if not n or not m:
            return None
        scale = n * m
        start = self.reference.tally.negative * m - self.current.tally.negative * n
        left, right = self._differences(start, n, m)
        lowest = max(abs(int(start)), int(np.abs(right).max()))
        # Within a cell: all of one side may come before all of the other.
        rise, fall = left + self._steps(self.reference, m), left - self._steps(self.current, n)
        both = (self.reference.counts > 0) & (self.current.counts > 0) & ~self.edges.single
        reach = np.where(both, np.maximum(rise, -fall), 0)
        ambiguous = np.asarray(reach > lowest, dtype=bool)
        if fetched is not None:
            points = self._points(fetched, ambiguous, left, n, m)
            lowest = max([lowest, *(abs(int(value)) for value in points.difference)])
            return Bounds(lowest / scale, lowest / scale, lowest / scale, np.zeros_like(ambiguous))
        highest = max(lowest, int(reach.max()))
        return Bounds(lowest / scale, lowest / scale, highest / scale, ambiguous)

    def wasserstein(self, fetched: tuple[PrefixCounts, PrefixCounts] | None = None) -> Bounds | None:
        """The area between the distribution functions of the finite values, in the column's unit.

        None where a side has no finite value.

        Args:
            fetched: All values of both sides in the cells that are ambiguous without them.
        """
        n, m = self.reference.tally.finite, self.current.tally.finite
        if not n or not m:
            return None
        scale = float(n * m)
        left, right = self._differences(0, n, m)
        with np.errstate(over="ignore", invalid="ignore"):
            width = self.edges.right - self.edges.left
            # Integral of F over a cell: F(right) * width - sum of (value - left) / n.
            level = np.where(right == 0, 0.0, right.astype(np.float64) / scale * width)
            area = level - self._sums_apart(n, m)
            up = np.asarray(left + self._steps(self.reference, m), dtype=np.float64) / scale
            down = np.asarray(left - self._steps(self.current, n), dtype=np.float64) / scale
            crossing = (up > 0) & (down < 0) & ~self.edges.single
            upper = np.abs(area)
            upper[crossing] = _largest_area(area[crossing], width[crossing], up[crossing], -down[crossing])
        ambiguous = np.asarray(crossing & (upper > np.abs(area)), dtype=bool)
        if fetched is not None:
            points = self._points(fetched, ambiguous, left, n, m)
            value = _total(np.abs(area[~ambiguous])) + _total(np.abs(points.difference.astype(np.float64) / scale) * points.width)
            return Bounds(value, value, value, np.zeros_like(ambiguous)) if np.isfinite(value) else None
        # Sums of what is not negative: pairwise is exact to 1e-15.
        lowest, highest = float(np.abs(area).sum()), float(upper.sum())
        return Bounds(lowest, lowest, max(highest, lowest), ambiguous) if np.isfinite(highest) else None

    def cramer_von_mises(self, fetched: tuple[PrefixCounts, PrefixCounts] | None = None) -> Bounds | None:
        """Statistic of the two-sample Cramér-von Mises test, as scipy has it; None where a side has no value.

        nm/(n+m) times the mean of (F - G)^2 over the values of both sides, with F and G halfway up their steps, and terms for
        ties that are cubes of a value's share (from the ranks of Anderson, 1962, by summation by parts). What is not known of a cell
        with several values is where in it they lie, and which are tied. Infinite values are tied at the ends.

        Args:
            fetched: All values of both sides in the cells that are ambiguous without them.
        """
        n, m = self.reference.tally.values, self.current.tally.values
        if not n or not m:
            return None
        first, second, exact = self._ties(fetched)
        f, g, both, factor = first / n, second / m, n + m, n * m / (n + m)
        right = np.cumsum(f - g) if n * m >= 1 << 52 else np.cumsum(first * m - second * n) / (n * m)
        left = right - f + g
        # F - G within a cell lies between all of one side coming first and all of the other.
        low, high = left - g, left + f
        most = np.maximum(np.abs(low), np.abs(high))
        least = np.maximum(np.maximum(low, -high), 0.0)
        known, weight = exact.astype(np.float64), (first + second) * (factor / both)
        hidden, weight = weight * ~exact, weight * known
        middle = float(weight @ ((left + right) ** 2 / 4))
        squares = f * f, g * g
        cubes = squares[0] * f * (n * factor + n * n * n / m) + squares[1] * g * (m * factor + m * m * m / n)
        across = squares[0] * g * n + squares[1] * f * m
        scale, part = 12 * both, factor / (4 * both)
        tied, mixed = float(cubes @ known) / scale, float(across @ known) * part
        apart = float(first @ ~exact) * (factor / n**2 + 1 / m) / scale + float(second @ ~exact) * (factor / m**2 + 1 / n) / scale
        constant = 1 / (6 * both) - (n / m + m / n) / scale
        lowest = middle + float(hidden @ (least * least)) + tied + apart - float(across.sum()) * part + constant
        highest = middle + float(hidden @ (most * most)) + float(cubes.sum()) / scale - mixed + constant
        between = float(hidden @ (left * left + left * right + right * right)) / 3
        value = middle + between + tied + apart - mixed + constant
        if fetched is not None:
            return Bounds(value, value, value, np.zeros(self.edges.cells, dtype=bool))
        ambiguous = np.asarray((hidden > 0)[1:-1], dtype=bool)
        return Bounds(min(max(value, lowest), highest), lowest, highest, ambiguous)

    def _ties(self, fetched: tuple[PrefixCounts, PrefixCounts] | None) -> tuple[Floats, Floats, Mask]:
        """Rows of each side in each cell, from -inf to inf, and whether they are surely one value; by value where those are fetched."""
        both = [
            np.concatenate([[side.tally.negative], side.counts, [side.tally.positive]]).astype(np.float64) for side in (self.reference, self.current)
        ]
        exact = np.concatenate([[True], self.edges.single, [True]]) | (both[0] + both[1] <= 1)
        if fetched is None:
            return both[0], both[1], exact
        values = [from_keys(side.prefixes) for side in fetched]
        points = np.unique(np.concatenate(values))
        home = np.searchsorted(self.edges.right, points, side="left") + 1
        points, home = points[~exact[home]], home[~exact[home]]
        order = np.argsort(np.concatenate([np.flatnonzero(exact), home]), kind="stable")
        first, second = (
            np.concatenate([side[exact], self._at(points, found, counts.counts).astype(np.float64)])[order]
            for side, found, counts in zip(both, values, fetched, strict=True)
        )
        return first, second, np.ones(len(order), dtype=bool)

    def _sums_apart(self, n: int, m: int) -> Floats:
        """Difference of both sides' sums over each cell, each by its side's size."""
        first, second = self.reference, self.current
        rest = (first.low / n - second.low / m) / REST
        return np.asarray((first.high / n - second.high / m + rest) * self.edges.steps)

    def _steps(self, side: NumberSummary, factor: int) -> _Steps:
        """Counts times the other side's size, as whole numbers without overflow."""
        small = self.reference.tally.n * self.current.tally.n < 1 << 62
        return side.counts * factor if small else side.counts.astype(object) * factor

    def _differences(self, start: int, n: int, m: int) -> tuple[_Steps, _Steps]:
        """(F - G) * n * m at the left and the right edge of each cell."""
        steps = self._steps(self.reference, m) - self._steps(self.current, n)
        right = np.cumsum(steps) + start
        return right - steps, right

    def _points(self, fetched: tuple[PrefixCounts, PrefixCounts], cells: Mask, left: _Steps, n: int, m: int) -> _Points:
        """Where F - G changes in the given cells."""
        values = [from_keys(side.prefixes) for side in fetched]
        points = np.unique(np.concatenate(values))
        home = np.searchsorted(self.edges.right, points, side="left")
        inside = cells[home]
        points, home = points[inside], home[inside]
        steps = self._at(points, values[0], fetched[0].counts) * m - self._at(points, values[1], fetched[1].counts) * n
        running = np.cumsum(steps)
        first = np.flatnonzero(np.diff(home, prepend=-1))
        before = np.repeat((running - steps)[first], np.diff(first, append=len(home)))
        return _Points(self.edges, np.flatnonzero(cells), points, home, left, left[home] + running - before)

    def _at(self, points: Floats, values: Floats, counts: Integers) -> _Steps:
        result = np.zeros(len(points), dtype=np.int64 if self.reference.tally.n * self.current.tally.n < 1 << 62 else object)
        kept = np.isin(values, points)
        result[np.searchsorted(points, values[kept])] = counts[kept]
        return result


@dataclass(frozen=True, eq=False)
class _Points:
    edges: NumberEdges
    cells: Integers
    values: Floats
    home: Integers
    left: _Steps
    after: _Steps

    @cached_property
    def _order(self) -> Integers:
        return np.lexsort((np.concatenate([self.edges.left[self.cells], self.values]), np.concatenate([self.cells, self.home])))

    @cached_property
    def difference(self) -> _Steps:
        """(F - G) * n * m from each left edge and each value on."""
        return np.concatenate([self.left[self.cells], self.after])[self._order]

    @cached_property
    def width(self) -> Floats:
        """How far that difference holds: to the next value, or to the cell's end."""
        cell = np.concatenate([self.cells, self.home])[self._order]
        start = np.concatenate([self.edges.left[self.cells], self.values])[self._order]
        last = np.diff(cell, append=-1) != 0
        return np.asarray(np.where(last, self.edges.right[cell], np.roll(start, -1)) - start)


def _total(parts: Floats) -> float:
    """Their exact sum; infinite where that is beyond float64."""
    try:
        return fsum(parts)
    except OverflowError:
        return float("inf")


def _largest_area(area: Floats, width: Floats, up: Floats, down: Floats) -> Floats:
    """The greatest integral of |H| over a cell where H lies in [-down, up] and its integral is known.

    It is reached by a function that takes the two extremes only.
    """
    share = np.clip((area / width + down) / (up + down), 0.0, 1.0)
    return np.maximum(width * (share * up + (1 - share) * down), np.abs(area))
