"""Which rows break a rule about single rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DoubleType, FloatType, StructType

from feature_store.errors import ContractError
from feature_store.names import quote
from feature_store.quality.expectation import Expectation, check_type
from feature_store.timeline import spread

__all__ = ["broken", "check_frame", "mark_repeated"]


def check_frame(expectations: Sequence[Expectation], frame: DataFrame, what: str) -> None:
    """Refuse, before any job, expectations that the types of a frame do not allow: those of keys and of SQL are known only here.

    Raises:
        ContractError: A rule over a type that it cannot judge, or a predicate that is no predicate.
    """
    for item in expectations:
        if item.column is not None:
            check_type(item, frame.schema[item.column].dataType.simpleString(), f"in {what}")
        if item.sql is not None:
            kind = frame.select(F.expr(item.sql)).schema.fields[0].dataType
            if not isinstance(kind, BooleanType):
                raise ContractError(
                    f"the expectation `{item.name}` of type {kind.simpleString()} over {what}",
                    expected="a predicate: boolean",
                    mend="compare it with something",
                )


def broken(item: Expectation, schema: StructType, place: int) -> Column:
    """Whether a row breaks a rule; never null.

    Args:
        schema: The rows'.
        place: Of the rule among all, for what `mark_repeated` has found.
    """
    return F.coalesce(~_holds(item, schema, place), F.lit(False)) if item.rule != "not_null" else F.col(quote(item.column or "")).isNull()


def mark_repeated(frame: DataFrame, item: Expectation, place: int, keys: Sequence[str], beside: DataFrame | None) -> DataFrame:
    """Add whether a row is the only one of its values; a null is like no other.

    Args:
        item: A `unique` expectation.
        place: Of it among all.
        keys: What identifies a row.
        beside: Rows that stand in the table already, but for those that the written ones replace. A value that another row
            gives up in the same write counts as taken still.
    """
    columns = [F.col(quote(name)) for name in item.columns]
    complete = reduce(Column.__and__, [column.isNotNull() for column in columns])
    # Rows with a null meet nobody; together they would be one task.
    rows = Window.partitionBy(*columns, spread(complete, [F.col(quote(name)) for name in keys]))
    alone = F.coalesce(~complete | (F.count("*").over(rows) == 1), F.lit(True))
    if beside is None:
        return frame.withColumn(_mark(place), alone)
    ours = F.struct(*(F.col(quote(name)) for name in keys))
    values = [column.alias(f"__value{number}") for number, column in enumerate(columns)]
    holders = beside.where(complete).groupBy(*values).agg(F.min(ours).alias("__first"), F.max(ours).alias("__last"))
    same = [frame[name] == holders[f"__value{number}"] for number, name in enumerate(item.columns)]
    joined = frame.join(holders, same, "left")
    free = F.col("__first").isNull() | ((F.col("__first") == ours) & (F.col("__last") == ours))
    return joined.withColumn(_mark(place), alone & free).drop("__first", "__last", *(f"__value{number}" for number in range(len(columns))))


def _holds(item: Expectation, schema: StructType, place: int) -> Column:
    if item.rule == "unique":
        return F.col(_mark(place))
    if item.sql is not None:
        return F.expr(item.sql)
    column = F.col(quote(item.column or ""))
    if item.rule == "pattern":
        # The whole text, and `$` would let a last line break pass.
        return column.rlike(rf"\A(?:{item.pattern})\z")
    if item.rule == "one_of":
        return column.isin(*item.values)
    limits = [column >= F.lit(item.low)] if item.low is not None else []
    limits += [column <= F.lit(item.high)] if item.high is not None else []
    number = isinstance(schema[item.column or ""].dataType, FloatType | DoubleType)
    # Spark takes NaN for greater than every number.
    return reduce(Column.__and__, limits) & (~F.isnan(column) if number else F.lit(True))


def _mark(place: int) -> str:
    return f"__alone{place}"
