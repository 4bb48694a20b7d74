"""Rows of a timeline brought into the order that a window asks for, before the window's own sort.

Spark compares rows by eight bytes of the first column that it sorts by, and opens both rows where these are equal. A
window sorts by its entity first, so all rows of an entity are opened again and again: that was half of the join. A sort
by one whole number compares no row at all; here it is made of a hash of the entity and the coarse time. The window, whose
entity begins with the same hash, then finds its rows in order, but for those that the number does not tell apart, and
its sort is one pass over them. Which row comes first is the window's alone to decide: nothing rests on the hash.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, StructType

from feature_store.checks import is_plain

__all__ = ["ENTITY", "in_order"]

ENTITY, _PLACE = "entity", "place"
_TIME_BITS = 34  # of a place; above them are the entity's
_COARSE = 19  # bits of a microsecond count below the coarse time, which is about half a second
_WIDE = 64  # columns from which writing each row once more costs about as much as the comparisons that it saves
_EARLY = 1 << 32  # coarse times from 1898 on; those before it are alike, as are those after 2184


def in_order(stacked: DataFrame, keys: Sequence[str]) -> tuple[DataFrame, list[str]]:
    """Rows shuffled by their keys and nearly in order, and what a window over them is partitioned by.

    Wide rows are left as they are, and so are keys of which unlike values are equal: text with a collation, and floats,
    of which there are two zeros.

    Args:
        stacked: With the keys and `time`, in microseconds.
        keys: Columns whose rows belong together.
    """
    schema = stacked.schema
    width = len(schema.fields) + max(_width(field.dataType) for field in schema.fields)  # a row has one side's values
    if width > _WIDE or not all(is_plain(kind := schema[key].dataType) and not _floats(kind) for key in keys):
        return stacked, list(keys)
    shuffled = stacked.repartition(*keys).withColumn(ENTITY, F.xxhash64(*keys))
    placed = shuffled.withColumn(_PLACE, _place()).sortWithinPartitions(_PLACE)
    return placed.drop(_PLACE), [ENTITY, *keys]


def _place() -> Column:
    """Sorts as (upper bits of the hash, coarse time); a row without a time comes first."""
    last, none = (1 << _TIME_BITS) - 1, F.lit(0).cast("long")
    coarse = F.coalesce(F.shiftright("time", _COARSE) + F.lit(_EARLY), none)
    return F.col(ENTITY).bitwiseAND(F.lit(~last)).bitwiseOR(F.least(F.greatest(coarse, none), F.lit(last)))


def _width(kind: DataType) -> int:
    return sum(_width(field.dataType) for field in kind.fields) if isinstance(kind, StructType) else 1


def _floats(kind: DataType) -> bool:
    if isinstance(kind, StructType):
        return any(_floats(field.dataType) for field in kind.fields)
    return _floats(kind.elementType) if isinstance(kind, ArrayType) else isinstance(kind, FloatType | DoubleType)
