"""Sums over many overlapping intervals, exact whatever enters, leaves and in which order.

A running sum of doubles drifts when rows leave it again, and its last digits depend on the order
of additions. Here each number is cut into 32-bit limbs of a fixed grid of powers of two, and the
limbs are added as integers: what leaves is gone completely, and equal sets of numbers have equal
sums, bit for bit. Source: the small superaccumulator of R. Neal, "Fast exact summation using
small and large superaccumulators" (2015), arXiv:1505.05571.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store.errors import ContractError

__all__ = [
    "ExactSums",
    "Floats",
    "Ints",
    "Terms",
    "decimal_terms",
    "float_terms",
    "int_terms",
    "interval_sums",
    "sample_std",
    "sample_variance",
    "square_terms",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BITS = 32
_MASK = (1 << _BITS) - 1
_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Terms:
    """Integers times powers of two: row i adds mantissa[i] * 2**exponent[i].

    Args:
        mantissa: Whole numbers below 2**63 in size.
        exponent: Powers of two.
    """

    mantissa: Ints
    exponent: Ints

    def take(self, rows: npt.NDArray[np.bool_] | Ints) -> Terms:
        """The terms of some rows."""
        return Terms(self.mantissa[rows], self.exponent[rows])


@dataclass(frozen=True)
class ExactSums:
    """Sums in sign and magnitude: sign[i] * sum(limbs[i, j] * 2**(32 * (low + j))), 0 <= limbs < 2**32."""

    negative: npt.NDArray[np.bool_]
    limbs: Ints
    low: int

    def to_float(self) -> Floats:
        """The nearest doubles, to within two units in the last place; inf beyond the largest."""
        total = np.zeros(len(self.limbs))
        with np.errstate(over="ignore"):
            for place in reversed(range(self.limbs.shape[1])):
                total += np.ldexp(self.limbs[:, place].astype(np.float64), _BITS * (self.low + place))
        return np.where(self.negative, -total, total)

    def to_objects(self) -> npt.NDArray[np.object_]:
        """Python integers, in units of 2**(32 * low)."""
        total = np.zeros(len(self.limbs), dtype=object)
        for place in reversed(range(self.limbs.shape[1])):
            total = total * (1 << _BITS) + self.limbs[:, place].astype(object)
        return np.where(self.negative, -total, total)

    def to_int64(self) -> Ints:
        """Whole numbers.

        Raises:
            ContractError: A sum lies outside 64 bits.
        """
        if (self.limbs[:, 2:] != 0).any() or (self.limbs[:, 1] >> (_BITS - 1) != 0).any():
            raise ContractError("a sum of whole numbers beyond 64 bits", expected=f"at most {2**63 - 1}", mend="cast the column to double or decimal")
        size = self.limbs[:, 1] << _BITS | self.limbs[:, 0]
        return np.where(self.negative, -size, size)

    def to_decimal(self, kind: pa.DataType, valid: npt.NDArray[np.bool_]) -> pa.Array:
        """Decimals, from units of the last digit.

        Raises:
            ContractError: A sum has more digits than the type.
        """
        numbers = self.to_objects()
        if any(abs(number) >= 10**kind.precision for number in numbers[valid]):
            raise ContractError(
                f"a sum with more than {kind.precision} digits", expected=str(kind), mend="cast the column to a shorter decimal, or to double"
            )
        low = np.array([number & (1 << 64) - 1 for number in numbers], dtype=np.uint64)
        high = np.array([number >> 64 for number in numbers], dtype=np.int64).view(np.uint64)
        mask = pa.array(valid).buffers()[1]
        return pa.Array.from_buffers(kind, len(numbers), [mask, pa.py_buffer(np.column_stack([low, high]).tobytes())])


def float_terms(values: Floats) -> Terms:
    """Finite doubles without any loss."""
    fraction, exponent = np.frexp(values)
    return Terms(np.ldexp(fraction, 53).astype(np.int64), exponent.astype(np.int64) - 53)


def int_terms(values: Ints) -> Terms:
    """Whole numbers, in two halves one after the other, since the least of them has no positive twin."""
    return Terms(np.concatenate([values & _MASK, values >> _BITS]), np.repeat(np.array([0, _BITS]), len(values)))


def decimal_terms(values: pa.Array) -> Terms:
    """Decimals of 128 bits in units of their last digit, in four quarters one after the other; nulls are zero."""
    words = np.frombuffer(values.buffers()[1], dtype=np.int64)[2 * values.offset :][: 2 * len(values)].reshape(-1, 2)
    words = np.where(np.asarray(values.is_valid())[:, None], words, 0)
    low, high = words[:, 0], words[:, 1]
    quarters = [low & _MASK, low >> _BITS & _MASK, high & _MASK, high >> _BITS]
    return Terms(np.concatenate(quarters), np.repeat(np.arange(4) * _BITS, len(values)))


def square_terms(values: Floats) -> Terms:
    """Squares of finite doubles without any loss, in three parts one after the other."""
    terms = float_terms(values)
    size = np.abs(terms.mantissa)
    high, low = size >> 27, size & (1 << 27) - 1
    return Terms(np.concatenate([high * high, high * low, low * low]), np.concatenate([2 * terms.exponent + shift for shift in (54, 28, 0)]))


def interval_sums(make: Callable[[Any], Terms], values: Any, starts: Ints, ends: Ints, size: int, *, at_once: int = _AT_ONCE) -> ExactSums:
    """For each place 0..size-1 the exact sum of the values whose [start, end) holds it.

    Args:
        make: Cuts values into terms, as `float_terms`.
        values: One an interval.
        starts: First place of each interval.
        ends: Place after the last one.
        size: Number of places.
        at_once: Values cut at a time: their terms take ten times their room.
    """
    changes = _Changes(size)
    for begin in range(0, len(starts), at_once):
        part = slice(begin, begin + at_once)
        changes.add(make(values[part]), starts[part], ends[part])
    return changes.sums()


class _Changes:
    """What enters each limb at each place, and leaves it, from the limb of 2**(32 * low) on."""

    def __init__(self, size: int) -> None:
        self.size, self.low = size, 0
        self.limbs = np.zeros((size + 1, 0), dtype=np.int64)

    def add(self, terms: Terms, starts: Ints, ends: Ints) -> None:
        """Terms of intervals: one an interval, or a whole number of them one after the other."""
        repeats = len(terms.mantissa) // len(starts)
        starts, ends = (np.tile(edge, repeats) if repeats > 1 else edge for edge in (starts, ends))
        limb = terms.exponent >> 5
        self._reach(int(limb.min()), int(limb.max()) + 4)  # three limbs of a shifted term and one for the carry
        width, flat = self.limbs.shape[1], self.limbs.reshape(-1)
        for place, part in enumerate(_limbs(terms)):
            column = limb - self.low + place
            np.add.at(flat, starts * width + column, part)
            np.subtract.at(flat, ends * width + column, part)

    def sums(self) -> ExactSums:
        """The sums at all places."""
        if not self.limbs.shape[1]:
            self._reach(0, 4)
        return _normalised(np.cumsum(self.limbs, axis=0)[: self.size], self.low)

    def _reach(self, low: int, high: int) -> None:
        width = self.limbs.shape[1]
        if not width:
            self.low = low
        low, high = min(low, self.low), max(high, self.low + width)
        if high - low > width:
            wider = np.zeros((self.size + 1, high - low), dtype=np.int64)
            wider[:, self.low - low : self.low - low + width] = self.limbs
            self.limbs, self.low = wider, low


def sample_std(count: Ints, sums: ExactSums, squares: ExactSums) -> Floats:
    """Standard deviation with n - 1, from exact sums, so that nothing cancels; NaN below two values."""
    return _spreads(count, sums, squares, _root)


def sample_variance(count: Ints, sums: ExactSums, squares: ExactSums) -> Floats:
    """Variance with n - 1, as `sample_std`; inf beyond the largest double."""
    return _spreads(count, sums, squares, _ratio)


def _spreads(count: Ints, sums: ExactSums, squares: ExactSums, finish: Callable[[int, int, int], float]) -> Floats:
    first, second = sums.to_objects(), squares.to_objects()
    low = min(2 * sums.low, squares.low)
    # n * sum(x^2) - sum(x)^2 in units of 2**(32 * low), which is even in bits
    spread = count.astype(object) * (second << _BITS * (squares.low - low)) - (first * first << _BITS * (2 * sums.low - low))
    pairs = count * (count - 1)
    return np.array(
        [finish(int(top), int(pair), _BITS * low) if pair else math.nan for top, pair in zip(spread, pairs, strict=True)], dtype=np.float64
    )


def _root(top: int, pairs: int, exponent: int) -> float:
    """sqrt(top / pairs * 2**exponent); the exponent is even."""
    shift = max(0, top.bit_length() - 1000) & ~1  # what a double's division can take
    return math.ldexp(math.sqrt((top >> shift) / pairs), (exponent + shift) // 2)


def _ratio(top: int, pairs: int, exponent: int) -> float:
    """The double next to top / pairs * 2**exponent, inf beyond the largest."""
    shift = max(0, top.bit_length() - 1000)
    try:
        return math.ldexp((top >> shift) / pairs, exponent + shift)
    except OverflowError:
        return math.inf


def _limbs(terms: Terms) -> Sequence[Ints]:
    """Three limbs of each term, shifted onto the grid."""
    shift, sign, size = terms.exponent & (_BITS - 1), np.sign(terms.mantissa), np.abs(terms.mantissa)
    low, high = (size & _MASK) << shift, (size >> _BITS) << shift
    return [sign * (low & _MASK), sign * ((low >> _BITS) + (high & _MASK)), sign * (high >> _BITS)]


def _normalised(limbs: Ints, low: int) -> ExactSums:
    _carry(limbs)
    negative = limbs[:, -1] < 0
    limbs[negative] *= -1
    _carry(limbs)
    return ExactSums(negative, limbs, low)


def _carry(limbs: Ints) -> None:
    for place in range(limbs.shape[1] - 1):
        over = limbs[:, place] >> _BITS
        limbs[:, place] -= over << _BITS
        limbs[:, place + 1] += over
