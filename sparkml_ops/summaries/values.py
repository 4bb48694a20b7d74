"""What a column's Arrow values are to statistics: numbers or categories, with what is missing counted apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.summaries.order import Floats

__all__ = ["Kind", "Tally", "floats", "group_labels", "kind_of", "labels", "numbers"]

Kind = Literal["number", "category"]

_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "date", "timestamp", "timestamp_ntz")
_CATEGORIES = ("boolean", "string", "char", "varchar")
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Tally:
    """Rows by what they hold; whole numbers, so that merging is exact.

    Args:
        n: All rows.
        nulls: Rows with null.
        nan: Rows with NaN.
        negative: Rows with -infinity.
        positive: Rows with +infinity.
    """

    n: int = 0
    nulls: int = 0
    nan: int = 0
    negative: int = 0
    positive: int = 0

    @property
    def missing(self) -> int:
        """Rows without a value: null or NaN."""
        return self.nulls + self.nan

    @property
    def values(self) -> int:
        """Rows with a value, the infinite ones included."""
        return self.n - self.missing

    @property
    def finite(self) -> int:
        """Rows with a finite value."""
        return self.values - self.negative - self.positive

    def merge(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.n + other.n,
            self.nulls + other.nulls,
            self.nan + other.nan,
            self.negative + other.negative,
            self.positive + other.positive,
        )

    def fields(self) -> dict[str, int]:
        """For packing."""
        return {"n": self.n, "nulls": self.nulls, "nan": self.nan, "negative": self.negative, "positive": self.positive}

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Tally:
        """From unpacked fields."""
        return cls(*(int(fields[name]) for name in ("n", "nulls", "nan", "negative", "positive")))


def kind_of(type_name: str) -> Kind | None:
    """What a Spark type is to statistics; None where it is nothing (arrays, maps, structs, binary).

    >>> kind_of("decimal(10,2)"), kind_of("boolean"), kind_of("array<int>")
    ('number', 'category', None)
    """
    base = type_name.split("(", maxsplit=1)[0]
    if base in _NUMBERS:
        return "number"
    return "category" if base in _CATEGORIES else None


def numbers(array: pa.Array) -> tuple[Tally, Floats]:
    """The finite values as float64, sorted, and the tally of all.

    Dates and timestamps are microseconds since 1970 in UTC; integers beyond 2^53 are rounded to float64.

    >>> tally, values = numbers(pa.array([2.0, None, float("nan"), 1.0]))
    >>> tally.n, tally.missing, values.tolist()
    (4, 2, [1.0, 2.0])
    """
    nulls = array.null_count
    # The nulls of floats become NaN, which is sorted to the end: cheaper than to leave them out.
    hidden = nulls if pa.types.is_floating(array.type) else 0
    present = _floats(array.drop_null() if nulls and not hidden else array)
    present = np.add(present, 0.0, dtype=np.float64)  # ours to sort; -0.0 becomes 0.0
    present.sort()
    # Sorted: -inf first, then the finite values, +inf, and NaN last.
    negative = int(np.searchsorted(present, -np.inf, side="right"))
    last = int(np.searchsorted(present, np.inf, side="left"))
    end = int(np.searchsorted(present, np.inf, side="right"))
    tally = Tally(len(array), nulls, len(present) - end - hidden, negative, end - last)
    return tally, present[negative:last]


def labels(array: pa.Array) -> tuple[Tally, pa.Array]:
    """The values that are not null as text, and the tally of all; booleans are `true` and `false`."""
    present = array.drop_null() if array.null_count else array
    return Tally(len(array), array.null_count), pc.cast(present, pa.string())


def group_labels(array: pa.Array) -> pa.Array:
    """Values of a segment or block column as text, null as `null`; instants and dates give their UTC day.

    The text `null` is `"null"`, and -0.0 is 0.0: a group is of one value.

    >>> group_labels(pa.array(["null", None])).to_pylist(), group_labels(pa.array([0.0, -0.0])).to_pylist()
    (['"null"', 'null'], ['0', '0'])
    """
    if pa.types.is_timestamp(array.type):
        days = pc.cast(pc.floor(pc.divide(pc.cast(_microseconds(array), pa.float64()), float(_DAY))), pa.int32())
        array = pc.cast(days, pa.date32())
    elif pa.types.is_floating(array.type):
        array = pc.add(array, pa.scalar(0.0, array.type))
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = pc.if_else(pc.equal(array, "null"), '"null"', array)
    return pc.fill_null(pc.cast(array, pa.string()), "null")


def floats(array: pa.Array) -> Floats:
    """All values as float64 in their order; null is NaN, dates and timestamps are microseconds since 1970 in UTC."""
    values = _floats(array)
    # What is not Arrow's own memory is ours already.
    return np.asarray(values.astype(np.float64, copy=not values.flags.writeable))


def _floats(array: pa.Array) -> np.ndarray[Any, Any]:
    """The numbers of `floats`, of any type and perhaps in Arrow's own memory."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        array = _microseconds(array)
    elif pa.types.is_date(kind):
        array = pc.multiply(pc.cast(pc.cast(array, pa.int32()), pa.int64()), _DAY)
    elif pa.types.is_decimal(kind):
        array = pc.cast(array, pa.float64())
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _microseconds(array: pa.Array) -> pa.Array:
    return pc.cast(pc.cast(array, pa.timestamp("us", array.type.tz), safe=False), pa.int64())
