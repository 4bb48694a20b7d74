"""From bit-prefix counts to edges: an equal-depth core, tails, values with mass, exact deciles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkml_ops.summaries.edges import NumberEdges
from sparkml_ops.summaries.order import LARGEST, Floats, Integers, Keys, from_keys
from sparkml_ops.summaries.prefix import PrefixCounts
from sparkml_ops.summaries.values import Tally

__all__ = ["BINS", "Layout"]

BINS = 10
_TAIL_HALVINGS = 16


@dataclass(frozen=True, eq=False)
class Layout:
    """Disjoint ranges of keys and the number of values in each.

    Args:
        tally: Rows of the column.
        lower: Smallest key of each range, ascending.
        upper: Largest key of each range.
        counts: Values in each range.
    """

    tally: Tally
    lower: Keys
    upper: Keys
    counts: Integers

    @classmethod
    def of(cls, prefixes: PrefixCounts) -> Layout:
        """The ranges of a histogram."""
        return cls(prefixes.tally, prefixes.lower, prefixes.upper, prefixes.counts)

    @property
    def single(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which ranges hold one value only."""
        return np.asarray(self.lower == self.upper)

    def unresolved(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Ranges that hold a decile and more than one value: the deciles are not known yet."""
        wanted = np.zeros(len(self.counts), dtype=bool)
        wanted[self._entries(self._decile_ranks())] = True
        return wanted & ~self.single

    def heavy(self, cells: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Ranges with the mass of more than two cells, which equal depth cannot cut yet."""
        return (self.counts * cells > 2 * self.tally.finite) & ~self.single

    def refined(self, targets: np.ndarray[tuple[int], np.dtype[np.bool_]], finer: PrefixCounts) -> Layout:
        """The layout with some ranges replaced by a finer histogram of them."""
        lower = np.concatenate([self.lower[~targets], finer.lower])
        upper = np.concatenate([self.upper[~targets], finer.upper])
        order = np.argsort(lower)
        return Layout(self.tally, lower[order], upper[order], np.concatenate([self.counts[~targets], finer.counts])[order])

    def edges(self, cells: int) -> NumberEdges:
        """Edges of `cells` equally deep cells, tail cells, and a cell for each value with much mass.

        A value has a cell of its own where it holds the mass of a cell, or where the column has at
        most `cells` distinct values. The declared bins end at the exact deciles (inverted CDF), and
        a value with a tenth of the mass is a bin of its own.
        """
        finite = self.tally.finite
        if not finite:
            return _edges(np.array([-1.0, 1.0]), self._cuts())
        ranks = -(-finite * np.arange(1, cells) // cells)
        tails = -(-finite // (cells << np.arange(1, _TAIL_HALVINGS + 1)))
        core = from_keys(self.upper[self._entries(np.concatenate([ranks, tails, finite + 1 - tails]))])
        distinct = bool(self.single.all()) and len(self.counts) <= cells
        own = self.single & (distinct | (self.counts * cells >= finite))
        atoms = from_keys(self.lower[own])
        cuts = self._cuts()
        low, high = from_keys(self.lower[:1]), from_keys(self.upper[-1:])
        return _edges(np.concatenate([_below(low), core, _below(atoms), atoms, high]), cuts)

    def _decile_ranks(self) -> Integers:
        """Ranks of the nine deciles among the finite values; those that are infinite are left out."""
        ranks = -(-self.tally.values * np.arange(1, BINS, dtype=np.int64) // BINS) - self.tally.negative
        return ranks[(ranks >= 1) & (ranks <= self.tally.finite)]

    def _entries(self, ranks: Integers) -> Integers:
        return np.minimum(np.searchsorted(np.cumsum(self.counts), ranks), len(self.counts) - 1)

    def _cuts(self) -> Floats:
        deciles = from_keys(self.upper[self._entries(self._decile_ranks())])
        own = from_keys(self.lower[self.single & (self.counts * BINS >= self.tally.values)])
        ends = ((self.tally.negative, -np.inf), (self.tally.positive, LARGEST))
        infinite = [cut for rows, cut in ends if rows and rows * BINS >= self.tally.values]
        return np.unique(np.concatenate([deciles, _below(own), own, infinite]))


def _below(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(np.nextafter(values, -np.inf))


def _edges(inner: Floats, cuts: Floats) -> NumberEdges:
    """Add geometric cells beyond the data on both sides: one for each doubling, later for each 2^8."""
    low, high = max(float(inner.min()), -LARGEST), float(inner.max())
    scale = max((high / 2 - low / 2) * 2.0**-9, max(abs(low), abs(high)) * 2.0**-30, 2.0**-900)
    scale = 2.0 ** np.floor(np.log2(scale))
    with np.errstate(over="ignore"):
        steps = scale * np.exp2(np.concatenate([np.arange(48.0), np.arange(48.0, 2000.0, 8.0)]))
        outer = np.concatenate([low - steps, high + steps])
    values = np.unique(np.concatenate([inner, cuts, outer[np.isfinite(outer)], [-np.inf, LARGEST]]))
    return NumberEdges(values, cuts)
