"""The summary of a numeric column: counts and sums by anchored cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from math import fsum
from typing import Any

import numpy as np
import pyarrow as pa

from sparkml_ops.errors import ContractError
from sparkml_ops.summaries.edges import REST, STEP_BITS, NumberEdges
from sparkml_ops.summaries.order import Floats, Integers
from sparkml_ops.summaries.packing import pack
from sparkml_ops.summaries.values import Tally, numbers

__all__ = ["CellMaker", "NumberSummary"]

# Values that are sorted together: three arrays of them are a part of a core's second-level cache, and a cell still gets a few dozen.
_PART = 1 << 16


@dataclass(frozen=True, eq=False)
class NumberSummary:
    """Cells of one column over some rows; merging parts gives the whole, bit for bit.

    Args:
        edges_id: Which edges the cells have.
        tally: Rows by what they hold.
        lowest: Smallest finite value; +inf where there is none.
        highest: Largest finite value; -inf where there is none.
        counts: Values in each cell.
        high: Sum of (value - left edge) in each cell, each in whole steps of the cell (`NumberEdges.steps`).
        low: Sum of what that rounding left, in 2^-27 of a step.
        squares: Sum of (value - left edge)^2 over the cells of one scale, in 2^26 squares of a step, to 1e-8.
    """

    edges_id: str
    tally: Tally
    lowest: float
    highest: float
    counts: Integers
    high: Integers
    low: Integers
    squares: Integers

    @classmethod
    def empty(cls, edges: NumberEdges) -> NumberSummary:
        """The summary of no rows."""
        zeros = np.zeros(edges.cells, dtype=np.int64)
        return cls(edges.id, Tally(), np.inf, -np.inf, zeros, zeros, zeros, np.zeros(len(edges.square_class[1]), dtype=np.int64))

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
        high, low, squares = (np.zeros(edges.cells, dtype=np.int64) for _ in range(3))
        with np.errstate(over="ignore", invalid="ignore"):
            # Repeating a cell's number is half the price of looking it up for each value; the results reuse three arrays.
            part = np.repeat(edges.left[cells], rows)
            steps = np.subtract(values, part, out=part)
            part = np.repeat(edges.steps_per_unit[cells], rows)
            np.multiply(steps, part, out=steps)
            np.multiply(steps, steps, out=part)
            np.multiply(part, 2.0**-STEP_BITS, out=part)
            squares[cells] = np.add.reduceat(np.rint(part, out=part), starts)
            high[cells] = np.add.reduceat(np.rint(steps, out=part), starts)
            np.subtract(steps, part, out=steps)
            np.multiply(steps, REST, out=steps)
            low[cells] = np.add.reduceat(np.rint(steps, out=steps), starts)
        classes, exponents = edges.square_class
        by_class = np.bincount(classes, weights=squares, minlength=len(exponents)).astype(np.int64)
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

    def sums(self, edges: NumberEdges) -> Floats:
        """Sum of (value - left edge) in each cell."""
        return np.asarray((self.high + self.low / REST) * edges.steps)

    def total(self, edges: NumberEdges) -> float:
        """Sum of the finite values."""
        return fsum(self.counts * edges.left) + fsum(self.high * edges.steps) + fsum(self.low * (edges.steps / REST))

    def total_squares(self, edges: NumberEdges) -> float:
        """Sum of the squares of the finite values."""
        occupied = self.counts > 0
        left, classes = edges.left[occupied], self.squares > 0
        with np.errstate(over="ignore"):
            squares = self.squares[classes] * np.ldexp(1.0, 2 * edges.square_class[1][classes] - STEP_BITS)
            return fsum(self.counts[occupied] * left * left) + 2 * fsum(left * self.sums(edges)[occupied]) + fsum(squares)

    def pack(self) -> bytes:
        """As bytes; only the cells that hold values."""
        cells = self.counts > 0
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "cells": np.packbits(cells, bitorder="little"),
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
        size = fields["size"]
        cells = np.unpackbits(fields["cells"], count=size, bitorder="little").view(np.bool_)
        counts, high, low = (np.zeros(size, dtype=np.int64) for _ in range(3))
        for array, name in ((counts, "counts"), (high, "high"), (low, "low")):
            array[cells] = fields[name]
        return cls(fields["edges"][0], Tally.of(fields), fields["lowest"], fields["highest"], counts, high, low, fields["squares"])


@dataclass(frozen=True)
class CellMaker:
    """Makes `NumberSummary` from Arrow values."""

    edges: NumberEdges

    def __call__(self, array: pa.Array) -> NumberSummary:
        """Summarise one array, in parts that stay in a core's cache: sums do not depend on the parts."""
        parts = [array.slice(start, _PART) for start in range(0, len(array), _PART)] or [array]
        return reduce(NumberSummary.merge, (NumberSummary.of(*numbers(part), self.edges) for part in parts))
