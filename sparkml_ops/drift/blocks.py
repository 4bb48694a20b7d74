"""Inference where rows are correlated: whole blocks (days, customers) are exchanged between the sides.

Blocks come from the states of the pass, so no further pass is needed. What random exchanges of
blocks make of the distance is what chance makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sparkml_ops.drift.bins import Bins, counts_in
from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.drift.profile import Profile
from sparkml_ops.drift.statistics import SMOOTHING
from sparkml_ops.summaries import NumberSummary
from sparkml_ops.summaries.order import Floats

__all__ = ["Blocks", "exchange"]

Distance = Callable[[Floats, Floats], Floats]

# Groups of cells that an exchange looks at: the test is valid on any grid, and fine enough on this one.
_GRID = 200


@dataclass(frozen=True, eq=False)
class Blocks:
    """A column's profile by block, on both sides.

    Args:
        reference: One entry a block.
        current: The same for the other side.
    """

    reference: tuple[ColumnProfile, ...]
    current: tuple[ColumnProfile, ...]

    @classmethod
    def of(cls, column: str, segment: str | None, reference: Profile, current: Profile) -> Blocks | None:
        """The blocks of a column; None where neither side was profiled by block."""
        sides = [tuple(side.column(column, segment, block).opened() for block in side.blocks(segment)) for side in (reference, current)]
        return cls(sides[0], sides[1]) if any(sides) else None

    @property
    def number(self) -> int:
        """Blocks of both sides together."""
        return len(self.reference) + len(self.current)

    def p(self, statistic: str, threshold: float, bins: Bins | None, exchanges: int, seed: int) -> float:
        """P-value of "the effect is at most the threshold".

        The observed distance exceeds the true one by no more than the distance of the noise (triangle
        inequality). The stability index is no distance; its square root locally is.

        Args:
            statistic: `ks`, `psi`, `total_variation` or `missing`.
            threshold: The minimum effect.
            bins: Declared bins of the whole column.
            exchanges: How many random exchanges.
            seed: Of these.
        """
        count, distance = self._counter(statistic, bins)
        sides = [np.array([count(block) for block in side], dtype=np.float64) for side in (self.reference, self.current)]
        if not all(len(side) for side in sides):
            return 1.0
        noise = exchange(sides[0], sides[1], distance, exchanges, seed)
        observed = distance(*(side.sum(axis=0, keepdims=True) for side in sides))[0]
        least = np.sqrt(threshold) if statistic == "psi" else threshold
        return float((1 + np.count_nonzero(noise >= observed - least)) / (1 + exchanges))

    def _counter(self, statistic: str, bins: Bins | None) -> tuple[Callable[[ColumnProfile], Floats], Distance]:
        if statistic == "missing":
            return _present, variations
        if bins is None:
            raise ValueError("a side without values has no bins")
        if statistic == "ks":
            grid = self._grid()
            return lambda block: _in_cells(block, grid), suprema
        distance = roots_of_psi if statistic == "psi" else variations
        return lambda block: counts_in(bins, block).astype(np.float64), distance

    def _grid(self) -> list[int]:
        """Ends of groups of cells with about equal mass of both sides."""
        totals = np.cumsum(sum(np.asarray(block.counts) for block in (*self.reference, *self.current)))
        ends = np.searchsorted(totals, np.linspace(0, totals[-1], _GRID + 1)[1:])
        return sorted({*ends.tolist(), len(totals) - 1})


def exchange(reference: Floats, current: Floats, distance: Distance, exchanges: int, seed: int) -> Floats:
    """Distances after random exchanges of whole blocks between the sides.

    Args:
        reference: Counts by block (rows) and cell (columns).
        current: The same for the other side.
        distance: Takes the counts of many exchanges, two arrays of (exchanges, cells), and gives a distance each.
        exchanges: How many.
        seed: Of the random choice.
    """
    pooled = np.concatenate([reference, current])
    order = np.argsort(np.random.default_rng(seed).random((exchanges, len(pooled))), axis=1)
    first = (order < len(reference)).astype(np.float64) @ pooled
    return distance(first, pooled.sum(axis=0) - first)


def suprema(first: Floats, second: Floats) -> Floats:
    """Greatest distances of the running shares, one for each row."""
    return np.asarray(np.abs(np.cumsum(_shares(first), axis=1) - np.cumsum(_shares(second), axis=1)).max(axis=1))


def variations(first: Floats, second: Floats) -> Floats:
    """Total variations, one for each row."""
    return np.asarray(np.abs(_shares(first) - _shares(second)).sum(axis=1) / 2)


def roots_of_psi(first: Floats, second: Floats) -> Floats:
    """Square roots of the stability index, one for each row."""
    p, q = _shares(first + SMOOTHING), _shares(second + SMOOTHING)
    return np.asarray(np.sqrt(((p - q) * np.log(p / q)).sum(axis=1)))


def _shares(counts: Floats) -> Floats:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300))


def _present(block: ColumnProfile) -> Floats:
    tally = block.state.tally
    return np.array([tally.missing, tally.values], dtype=np.float64)


def _in_cells(block: ColumnProfile, grid: list[int]) -> Floats:
    state = block.state
    if not isinstance(state, NumberSummary):
        raise TypeError("a category has no cells")
    inner = np.diff(np.cumsum(state.counts)[grid], prepend=0)
    return np.concatenate([[state.tally.negative], inner, [state.tally.positive]]).astype(np.float64)
