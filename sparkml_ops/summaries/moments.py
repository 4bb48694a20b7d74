"""Second moments of several columns together, and of embeddings: whole numbers, so that merging is exact in any order.

Values are rounded to whole steps of a power of two before they are multiplied. Products of such numbers add without
rounding in a float up to 2^53, which a matrix product of a batch never reaches, and batches add up as 64-bit integers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.errors import ContractError
from sparkml_ops.summaries.order import Floats, Integers
from sparkml_ops.summaries.packing import pack
from sparkml_ops.summaries.values import Tally, floats

__all__ = ["CoMoments", "CoMomentsMaker", "VectorMaker", "VectorMoments", "Waves"]

# Steps to either side: products of two, over a batch of 2^17 rows, stay below 2^53.
_COLUMN_BITS, _VECTOR_BITS, _WAVE_BITS = 18, 16, 30
_BATCH = 1 << 16


@dataclass(frozen=True, eq=False)
class CoMoments:
    """Sums over the rows that have both columns of each pair.

    Args:
        id: Which columns, centres and steps; summaries of others do not merge.
        tally: All rows; a row with no value at all counts as null.
        rows: Rows by pair, (columns, columns).
        sums: Sum of the first column of each pair, in steps from its centre.
        squares: Sum of its squares.
        products: Sum of the products.
    """

    id: str
    tally: Tally
    rows: Integers
    sums: Integers
    squares: Integers
    products: Integers

    def merge(self, other: CoMoments) -> CoMoments:
        """Both together.

        Raises:
            ContractError: They are of other columns or steps.
        """
        _check(self.id, other.id)
        return CoMoments(
            self.id,
            self.tally.merge(other.tally),
            self.rows + other.rows,
            self.sums + other.sums,
            self.squares + other.squares,
            self.products + other.products,
        )

    def pack(self) -> bytes:
        """As bytes."""
        arrays = {name: getattr(self, name).ravel() for name in ("rows", "sums", "squares", "products")}
        return pack("comoments", {"id": [self.id], **self.tally.fields(), **arrays})

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> CoMoments:
        """From unpacked fields."""
        size = round(np.sqrt(len(fields["rows"])))
        return cls(fields["id"][0], Tally.of(fields), *(fields[name].reshape(size, size) for name in ("rows", "sums", "squares", "products")))


@dataclass(frozen=True, eq=False)
class CoMomentsMaker:
    """Makes `CoMoments` of several numeric columns.

    A value further than 2^18 steps from its centre counts as that far: with the steps of `scales_of` that is 64 times
    the distance between the outer deciles.

    Args:
        columns: Names.
        centres: What is taken off each.
        steps: Powers of two.
    """

    columns: tuple[str, ...]
    centres: Floats
    steps: Floats

    @property
    def id(self) -> str:
        """Names columns, centres and steps."""
        return _id(self.columns, self.centres, self.steps)

    def of_table(self, table: pa.Table) -> CoMoments:
        """Summarise some rows."""
        size = len(self.columns)
        totals = [np.zeros((size, size), dtype=np.int64) for _ in range(4)]
        absent = 0
        for start in range(0, table.num_rows, _BATCH):
            values = np.column_stack([floats(table.column(name).slice(start, _BATCH).combine_chunks()) for name in self.columns])
            known = np.isfinite(values)
            limit = float(1 << _COLUMN_BITS)
            steps = np.clip(np.rint((np.where(known, values, self.centres) - self.centres) / self.steps), -limit, limit)
            present = known.astype(np.float64)
            parts = present.T @ present, steps.T @ present, (steps * steps).T @ present, steps.T @ steps
            totals = [total + part.astype(np.int64) for total, part in zip(totals, parts, strict=True)]
            absent += int((~known.any(axis=1)).sum())
        return CoMoments(self.id, Tally(table.num_rows, absent), *totals)


@dataclass(frozen=True, eq=False)
class Waves:
    """Random Fourier features of a Gaussian kernel (Rahimi and Recht, 2007), by whole-number frequencies.

    Args:
        frequencies: (dimension, features), whole numbers, of steps of the vector.
        factor: What turns a product with them into radians.
    """

    frequencies: Floats
    factor: float

    @classmethod
    def of(cls, dimension: int, features: int, bandwidth: float, step: float, seed: int) -> Waves:
        """Frequencies for the kernel exp(-|x - y|^2 / (2 bandwidth^2)).

        Args:
            dimension: Of the vectors.
            features: Number of frequencies; each gives a cosine and a sine.
            bandwidth: Of the kernel, in the vectors' unit.
            step: In which the vectors count.
            seed: Of the frequencies.
        """
        drawn = np.random.default_rng(seed).standard_normal((dimension, features)) * (step / bandwidth)
        unit = float(np.abs(drawn).max()) / (1 << 20) or 1.0
        return cls(np.rint(drawn / unit), unit)

    def __call__(self, steps: Floats) -> Integers:
        """Sums of the cosines and of the sines over the rows, in 2^-30."""
        angles = (steps @ self.frequencies) * self.factor
        scale = float(1 << _WAVE_BITS)
        both = [np.rint(wave(angles) * scale).sum(axis=0).astype(np.int64) for wave in (np.cos, np.sin)]
        return np.concatenate(both)


@dataclass(frozen=True, eq=False)
class VectorMoments:
    """Sums over the vectors of one column.

    Args:
        id: Which dimension, step and features; summaries of others do not merge.
        tally: Rows; `nulls` are those without a vector of the dimension whose values are all finite.
        odd: Rows among these whose vector has another length.
        largest: Power of two that no value exceeds; -1075 where there is none.
        sums: In steps, (dimension).
        products: Gram matrix, (dimension, dimension).
        waves: Sums of features in 2^-30, all cosines and then all sines.
    """

    id: str
    tally: Tally
    odd: int
    largest: int
    sums: Integers
    products: Integers
    waves: Integers

    def merge(self, other: VectorMoments) -> VectorMoments:
        """Both together.

        Raises:
            ContractError: They are of another dimension, step or features.
        """
        _check(self.id, other.id)
        tally, largest = self.tally.merge(other.tally), max(self.largest, other.largest)
        sums, products, waves = self.sums + other.sums, self.products + other.products, self.waves + other.waves
        return VectorMoments(self.id, tally, self.odd + other.odd, largest, sums, products, waves)

    def pack(self) -> bytes:
        """As bytes."""
        arrays = {"sums": self.sums, "products": self.products.ravel(), "waves": self.waves}
        return pack("vectors", {"id": [self.id], "odd": self.odd, "largest": self.largest, **self.tally.fields(), **arrays})

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> VectorMoments:
        """From unpacked fields."""
        products = fields["products"]
        size = round(np.sqrt(len(products)))
        return cls(fields["id"][0], Tally.of(fields), fields["odd"], fields["largest"], fields["sums"], products.reshape(size, size), fields["waves"])


@dataclass(frozen=True, eq=False)
class VectorMaker:
    """Makes `VectorMoments` of a column of lists of numbers.

    Args:
        dimension: Of the vectors; others count as odd.
        step: Power of two in which values count, clipped at 2^16 steps; None looks at the range alone.
        waves: Random features; None is none.
    """

    dimension: int
    step: float | None = None
    waves: Waves | None = None

    @property
    def id(self) -> str:
        """Names dimension, step and features."""
        parts = (np.array([self.dimension, self.step or 0.0]),) + (
            () if self.waves is None else (self.waves.frequencies, np.array([self.waves.factor]))
        )
        return _id((), *parts)

    def __call__(self, array: pa.Array) -> VectorMoments:
        """Summarise one array."""
        sizes = pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False)
        fits = sizes == self.dimension
        values = floats(array.filter(pa.array(fits)).flatten()).reshape(-1, self.dimension)
        values = values[np.isfinite(values).all(axis=1)]
        largest = int(np.frexp(np.abs(values).max())[1]) if values.size and values.any() else -1075
        sums, products = np.zeros(self.dimension, dtype=np.int64), np.zeros((self.dimension, self.dimension), dtype=np.int64)
        waves = np.zeros(0 if self.waves is None else 2 * self.waves.frequencies.shape[1], dtype=np.int64)
        if self.step is not None:
            limit = float(1 << _VECTOR_BITS)
            for start in range(0, len(values), _BATCH):
                steps = np.clip(np.rint(values[start : start + _BATCH] / self.step), -limit, limit)
                sums += steps.sum(axis=0).astype(np.int64)
                products += (steps.T @ steps).astype(np.int64)
                waves += 0 if self.waves is None else self.waves(steps)
        tally = Tally(len(array), len(array) - len(values))
        return VectorMoments(self.id, tally, int((~fits & (sizes >= 0)).sum()), largest, sums, products, waves)


def _id(columns: tuple[str, ...], *arrays: Floats) -> str:
    return hashlib.sha256(repr(columns).encode() + b"".join(np.asarray(part).tobytes() for part in arrays)).hexdigest()[:16]


def _check(first: str, second: str) -> None:
    if first != second:
        raise ContractError(f"moments {first} and {second}", expected="the same columns and steps", mend="summarise both with the same maker")
