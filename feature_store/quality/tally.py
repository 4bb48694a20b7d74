"""One pass over the rows of a write: how many break each rule, and a profile of each column.

Hundreds of aggregates in one projection cost five times as much as the same work ten columns at a time: beyond some hundred
expressions Spark gives up compiling them. So a wide row is cut into parts of a few columns each, and a part is one row of
the aggregation: one job, one pass, and an expression count that does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DataType, DoubleType, FloatType, NumericType, TimestampType

from feature_store.content import content_columns, content_of, row_hash
from feature_store.names import quote
from feature_store.quality.report import ColumnProfile

__all__ = ["Tally", "take_tally"]

# Columns of a part: six aggregates each stay below the 100 fields up to which Spark compiles.
_SLOTS = 12


@dataclass(frozen=True)
class Tally:
    """What one pass found.

    Args:
        rows: Rows in all.
        bad: Rows that are to be kept apart.
        content: Order-free hash of all rows.
        broken: Rows that break each rule, in the order of the rules.
        columns: Profile of each column over the rows that are not bad.
        types: Spark's short form of each column's type.
    """

    rows: int
    bad: int
    content: str
    broken: tuple[int, ...]
    columns: Mapping[str, ColumnProfile]
    types: Mapping[str, str] = field(default_factory=dict)


def take_tally(frame: DataFrame, names: Sequence[str], broken: Sequence[Column], bad: Column, *, hashed: bool = True) -> Tally:
    """Count in one job; a row for each twelve columns reaches the driver.

    Args:
        frame: The rows.
        names: Columns to profile and to hash.
        broken: For each rule a condition, never null, that holds where a row breaks it.
        bad: Whether a row is to be kept apart, never null.
        hashed: Whether to hash the rows, which only names a write of them.
    """
    parts = max(1, -(-max(len(names), len(broken)) // _SLOTS))
    slots = min(_SLOTS, max(len(names), len(broken)))
    value = row_hash(frame, columns=tuple(names)) if hashed else F.lit(0).cast("bigint")
    types = {item.name: item.dataType.simpleString() for item in frame.schema.fields}
    whole = [F.struct(*_part(frame, number, slots, names, broken, bad, value)) for number in range(parts)]
    # A single part is no reason to multiply rows.
    rows = frame.select((whole[0] if parts == 1 else F.explode(F.array(*whole))).alias("part")).select("part.*")
    counted = rows.groupBy("part").agg(
        *content_columns(F.col("hash")), F.count_if("bad").alias("bad"), *(value for slot in range(slots) for value in _counts(slot))
    )
    found = {int(row["part"]): row for row in counted.collect()}
    if not found:
        return Tally(0, 0, "", (0,) * len(broken), {name: ColumnProfile(0) for name in names}, types)
    first = found[0]
    content = content_of(first)
    return Tally(
        content.rows,
        first["bad"],
        content.digest,
        tuple(found[place // _SLOTS][f"broken{place % _SLOTS}"] for place in range(len(broken))),
        {name: _profile(found[place // _SLOTS], place % _SLOTS) for place, name in enumerate(names)},
        types,
    )


def _part(frame: DataFrame, number: int, slots: int, names: Sequence[str], broken: Sequence[Column], bad: Column, hashed: Column) -> list[Column]:
    first = number == 0
    columns = [
        F.lit(number).alias("part"),
        (bad if first else F.lit(False)).alias("bad"),
        (hashed if first else F.lit(None).cast("bigint")).alias("hash"),
    ]
    for slot in range(slots):
        place = number * _SLOTS + slot
        value, null, nan = _value(frame, names[place], ~bad) if place < len(names) else (_nothing(), F.lit(False), F.lit(False))
        breaks = broken[place] if place < len(broken) else F.lit(False)
        columns += [value.alias(f"value{slot}"), null.alias(f"null{slot}"), nan.alias(f"nan{slot}"), breaks.alias(f"broken{slot}")]
    return columns


def _value(frame: DataFrame, name: str, counts: Column) -> tuple[Column, Column, Column]:
    """A column as a number where it is one, whether it is null, and whether it is NaN; of rows that count."""
    column, kind = F.col(quote(name)), frame.schema[name].dataType
    nan = counts & F.coalesce(F.isnan(column), F.lit(False)) if isinstance(kind, FloatType | DoubleType) else F.lit(False)
    return F.when(counts & ~nan, _number(column, kind)), counts & column.isNull(), nan


def _number(column: Column, kind: DataType) -> Column:
    if isinstance(kind, TimestampType):
        return F.unix_micros(column).cast("double")
    return column.cast("double") if isinstance(kind, NumericType | BooleanType) else _nothing()


def _nothing() -> Column:
    return F.lit(None).cast("double")


def _counts(slot: int) -> list[Column]:
    value = F.col(f"value{slot}")
    flags = [F.count_if(f"{flag}{slot}").alias(f"{flag}{slot}") for flag in ("null", "nan", "broken")]
    return [*flags, F.min(value).alias(f"low{slot}"), F.max(value).alias(f"high{slot}"), F.avg(value).alias(f"mean{slot}")]


def _profile(found: Row, slot: int) -> ColumnProfile:
    return ColumnProfile(*(found[f"{value}{slot}"] for value in ("null", "nan", "low", "high", "mean")))
