"""Values that stand where a key is null, so that rows without a key are scattered over tasks instead of meeting in one.

They may be an entity's key: the row's side on the timeline says that it has none of its own, and nothing matches it. A
column beside the keys would scatter them too, but Spark carries, sorts and compares it for every row of both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

__all__ = ["stand_in"]

_CENTURY = 36_500  # days; every type of day or instant holds it


def stand_in(kind: DataType, hashed: Column) -> Column:
    """A key of a type made of a hash; null where the type is none of these, whose rows without a key share a task.

    Args:
        hashed: A long, as of `xxhash64`.
    """
    if isinstance(kind, StructType):
        return F.struct(*(stand_in(field.dataType, hashed).alias(field.name) for field in kind.fields))
    if isinstance(kind, ArrayType):
        return F.array(stand_in(kind.elementType, hashed))
    if isinstance(kind, DecimalType):
        return _below(10 ** min(kind.precision - kind.scale, 18))(hashed).cast(kind)
    made = _MADE.get(type(kind))
    return (made(hashed) if made else F.lit(None)).cast(kind)


def _below(limit: int) -> Callable[[Column], Column]:
    return lambda hashed: F.pmod(hashed, F.lit(limit).cast("long"))


def _itself(hashed: Column) -> Column:
    return hashed


def _instant(hashed: Column) -> Column:
    return F.timestamp_micros(_below(_CENTURY * 86_400_000_000)(hashed))


_MADE: Mapping[type[DataType], Callable[[Column], Column]] = {
    BooleanType: lambda hashed: hashed % 2 == 0,
    ByteType: _below(2**7),
    ShortType: _below(2**15),
    IntegerType: _below(2**31),
    LongType: _itself,
    FloatType: _itself,
    DoubleType: _itself,
    StringType: _itself,
    BinaryType: lambda hashed: hashed.cast("string"),
    DateType: lambda hashed: F.date_from_unix_date(_below(_CENTURY)(hashed).cast("int")),
    TimestampType: _instant,
    TimestampNTZType: _instant,
}
