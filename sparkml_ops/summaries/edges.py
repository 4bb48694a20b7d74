"""What a column's summaries are anchored to: the edges of its cells, or its categories.

Edges are fixed from the first reference and stay. Cell i holds the values in
(values[i], values[i + 1]]; `values` begins with -inf and ends with the largest float, so that
every finite value has a cell. `cuts` are the inner edges of the declared bins and are among
`values`, which makes the counts of the declared bins exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from sparkml_ops.summaries.order import LARGEST, Floats, Integers
from sparkml_ops.summaries.packing import pack, unpack

__all__ = ["REST", "STEP_BITS", "CategoryEdges", "ColumnEdges", "Edges", "NumberEdges", "unpack_edges"]

# 26 bits of steps and 27 of the rest are a float's 53.
STEP_BITS, REST = 26, 2.0**27

# A narrower cell counts in the steps of this scale, since those of its own are not numbers any more; its sum loses digits.
_NARROWEST = -950


@dataclass(frozen=True, eq=False)
class NumberEdges:
    """Cells of a numeric column.

    Args:
        values: Edges, ascending, from -inf to the largest float.
        cuts: Inner edges of the declared bins, ascending, a subset of `values`.
    """

    values: Floats
    cuts: Floats

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits over the content."""
        return hashlib.sha256(b"number" + self.values.tobytes() + b"cuts" + self.cuts.tobytes()).hexdigest()[:16]

    @cached_property
    def left(self) -> Floats:
        """Left edge of each cell, finite."""
        return np.maximum(self.values[:-1], -LARGEST)

    @property
    def right(self) -> Floats:
        """Right edge of each cell, included in it."""
        return self.values[1:]

    @cached_property
    def cut_places(self) -> Integers:
        """Where the cuts stand among the edges."""
        return np.searchsorted(self.values, self.cuts)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.values) - 1

    @cached_property
    def single(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether a cell can hold one value only."""
        return np.nextafter(self.values[:-1], np.inf) >= self.right

    @cached_property
    def exponents(self) -> Integers:
        """Power of two that no value of the cell, measured from its left edge, exceeds."""
        with np.errstate(over="ignore"):
            width = np.minimum(self.right - self.left, LARGEST)
        return np.maximum(np.frexp(width)[1].astype(np.int64), _NARROWEST)

    @cached_property
    def steps(self) -> Floats:
        """The step of each cell: sums count in whole steps, 2^26 of which span the cell's scale.

        Whole numbers add without rounding in any order, so sums do not depend on partitions, up to 2^37
        rows a cell (Demmel and Nguyen, Parallel Reproducible Summation, IEEE Transactions on Computers 64-7, 2015).
        """
        return np.ldexp(1.0, self.exponents - STEP_BITS)

    @cached_property
    def steps_per_unit(self) -> Floats:
        """Steps of each cell in a distance of 1."""
        return np.ldexp(1.0, STEP_BITS - self.exponents)

    @cached_property
    def square_class(self) -> tuple[Integers, Integers]:
        """For each cell the number of its class of equal scale, and the exponent of each class."""
        classes, index = np.unique(self.exponents, return_inverse=True)
        return index.astype(np.int64), classes

    def pack(self) -> bytes:
        """As bytes."""
        return pack("number", {"values": self.values, "cuts": self.cuts})


@dataclass(frozen=True)
class CategoryEdges:
    """Declared categories of a column.

    Args:
        anchors: Categories that are counted one by one, in a fixed order.
        complete: Whether the reference had no other category.
    """

    anchors: tuple[str, ...]
    complete: bool = True

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits over the content."""
        return hashlib.sha256(b"category" + pack("category", {"anchors": self.anchors}) + bytes([self.complete])).hexdigest()[:16]

    @cached_property
    def array(self) -> pa.Array:
        """The anchors as Arrow text."""
        return pa.array(self.anchors, pa.string())

    def pack(self) -> bytes:
        """As bytes."""
        return pack("category", {"anchors": self.anchors, "complete": int(self.complete)})


ColumnEdges = NumberEdges | CategoryEdges


def unpack_edges(data: bytes) -> ColumnEdges:
    """Edges from their bytes."""
    kind, fields = unpack(data)
    if kind == "number":
        return NumberEdges(fields["values"], fields["cuts"])
    return CategoryEdges(tuple(fields["anchors"]), bool(fields["complete"]))


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of a table's columns.

    Args:
        columns: By column name.
        types: Spark type of each column, as text.
    """

    columns: Mapping[str, ColumnEdges]
    types: Mapping[str, str]

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits over all columns, their types and edges."""
        parts = sorted(f"{name}\0{self.types[name]}\0{edges.id}" for name, edges in self.columns.items())
        return hashlib.sha256("\0\0".join(parts).encode()).hexdigest()[:16]

    def __getitem__(self, column: str) -> ColumnEdges:
        return self.columns[column]
