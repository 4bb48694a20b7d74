"""The summary of a numeric column: counts and sums by anchored cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from math import fsum
from typing import Any

import numpy as np
import pyarrow as pa

from sparkml_ops.errors import ContractError
from sparkml_ops.summaries.edges import NumberEdges
from sparkml_ops.summaries.order import Floats, Integers
from sparkml_ops.summaries.packing import pack
from sparkml_ops.summaries.values import Tally, numbers

__all__ = ["CellMaker", "NumberSummary"]

# Values that are sorted together: three arrays of them are a part of a core's second-level cache, and a cell still gets a few dozen.
_PART = 1 << 15


@dataclass(frozen=True, eq=False)
class NumberSummary:
    """Cells of one column over some rows; merging parts gives the whole, bit for bit.

    Args:
        edges_id: Which edges the cells have.
        tally: Rows by what they hold.
        lowest: Smallest finite value; +inf where there is none.
        highest: Largest finite value; -inf where there is none.
        counts: Values in each cell.
        high: Sum of the leading bits of (value - left edge) in each cell; `low` the sum of the rest.
        low: See `high`.
        squares: Sum of (value - left edge)^2 over the cells of one scale, to 1e-8.
    """

    edges_id: str
    tally: Tally
    lowest: float
    highest: float
    counts: Integers
    high: Floats
    low: Floats
    squares: Floats

    @classmethod
    def empty(cls, edges: NumberEdges) -> NumberSummary:
        """The summary of no rows."""
        zeros = np.zeros(edges.cells)
        return cls(edges.id, Tally(), np.inf, -np.inf, zeros.astype(np.int64), zeros, zeros, np.zeros(edges.square_class[1]))

    @classmethod
    def of(cls, tally: Tally, values: Floats, edges: NumberEdges) -> NumberSummary:
        """The summary of sorted finite values.

        The edges are searched in the sorted values: five times faster than the values in the edges.
        """
        if not len(values):
            return replace(cls.empty(edges), tally=tally)
        counts = np.diff(np.searchsorted(values, edges.right, side="right"), prepend=0)
        cells = np.flatnonzero(counts)
        rows = counts[cells]
        starts = np.cumsum(rows) - rows
        quantum, fine, square = edges.quanta
        high, low, squares = (np.zeros(edges.cells) for _ in range(3))
        with np.errstate(over="ignore", invalid="ignore"):
            # Repeating a cell's number is half the price of looking it up for each value; the results reuse two arrays.
            distance = np.repeat(edges.left[cells], rows)
            np.subtract(values, distance, out=distance)
            part = np.multiply(distance, distance)
            squares[cells] = np.add.reduceat(_round(part, np.repeat(square[cells], rows)), starts)
            np.copyto(part, distance)
            high[cells] = np.add.reduceat(_round(part, np.repeat(quantum[cells], rows)), starts)
            np.subtract(distance, part, out=distance)
            low[cells] = np.add.reduceat(_round(distance, np.repeat(fine[cells], rows)), starts)
        classes, number = edges.square_class
        by_class: Floats = np.bincount(classes, weights=squares, minlength=number).astype(np.float64)
        return cls(edges.id, tally, float(values[0]), float(values[-1]), counts, high, low, by_class)

    def merge(self, other: NumberSummary) -> NumberSummary:
        """Both together.

        Raises:
            ContractError: They have different edges.
        """
        if self.edges_id != other.edges_id:
            raise ContractError(
                f"summaries on the edges {self.edges_id} and {other.edges_id}", expected="the same edges", mend="profile both with the same edges"
            )
        return NumberSummary(
            self.edges_id,
            self.tally.merge(other.tally),
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.counts + other.counts,
            self.high + other.high,
            self.low + other.low,
            self.squares + other.squares,
        )

    @cached_property
    def sums(self) -> Floats:
        """Sum of (value - left edge) in each cell."""
        return self.high + self.low

    def total(self, edges: NumberEdges) -> float:
        """Sum of the finite values."""
        return fsum(self.counts * edges.left) + fsum(self.high) + fsum(self.low)

    def total_squares(self, edges: NumberEdges) -> float:
        """Sum of the squares of the finite values."""
        left = edges.left
        with np.errstate(over="ignore"):
            occupied = self.counts > 0
            left = left[occupied]
            return fsum(self.counts[occupied] * left * left) + 2 * fsum(left * self.sums[occupied]) + fsum(self.squares)

    def pack(self) -> bytes:
        """As bytes; only the cells that hold values."""
        cells = np.flatnonzero(self.counts).astype(np.int32)
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "cells": cells,
            "counts": self.counts[cells],
            "high": self.high[cells],
            "low": self.low[cells],
            "squares": self.squares,
        }
        size = len(self.counts)
        return pack(
            "cells", {"edges": [self.edges_id], "size": size, "lowest": self.lowest, "highest": self.highest, **self.tally.fields(), **arrays}
        )

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> NumberSummary:
        """From unpacked fields."""
        arrays = [np.zeros(fields["size"], dtype=kind) for kind in (np.int64, np.float64, np.float64)]
        for array, name in zip(arrays, ("counts", "high", "low"), strict=True):
            array[fields["cells"]] = fields[name]
        counts, high, low = arrays
        return cls(fields["edges"][0], Tally.of(fields), fields["lowest"], fields["highest"], counts, high, low, fields["squares"])


@dataclass(frozen=True)
class CellMaker:
    """Makes `NumberSummary` from Arrow values."""

    edges: NumberEdges

    def __call__(self, array: pa.Array) -> NumberSummary:
        """Summarise one array, in parts that stay in a core's cache: sums do not depend on the parts."""
        parts = [array.slice(start, _PART) for start in range(0, len(array), _PART)] or [array]
        return reduce(NumberSummary.merge, (NumberSummary.of(*numbers(part), self.edges) for part in parts))


def _round(values: Floats, quantum: Floats) -> Floats:
    """Round in place."""
    np.add(values, quantum, out=values)
    return np.subtract(values, quantum, out=values)
