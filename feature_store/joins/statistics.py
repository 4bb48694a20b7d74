"""What the planner of the join knows of an entity: how many rows it has, and whether some keys hold most of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from feature_store.joins.source import Source
from feature_store.names import quote

__all__ = ["EntityStatistics", "JoinStatistics", "measure_entity"]

_MOST_HOT = 64
_MOST_BUCKETS = 256
_ACCURACY = 4_000


@dataclass(frozen=True)
class EntityStatistics:
    """The rows of one entity's lookups and of the spine.

    Args:
        spine_rows: Rows of the spine with a key and a time.
        feature_rows: Rows of all lookups of the entity.
        keys: Different keys on either side.
        most_feature_rows: Of any key.
        most_rows: Of any key, both sides.
        hot: Keys with more rows than a task should hold, as tuples in the order of the spine's key columns by name.
        bounds: For each hot key the instants (microseconds) that cut its rows into buckets of about one task each.
        key_schema: Types of the keys.
    """

    spine_rows: int
    feature_rows: int
    keys: int
    most_feature_rows: int
    most_rows: int
    hot: tuple[tuple[Any, ...], ...] = ()
    bounds: tuple[tuple[int, ...], ...] = ()
    key_schema: StructType | None = None


@dataclass(frozen=True)
class JoinStatistics:
    """The statistics of each entity of a join, by the spine's key columns in the order of their names."""

    entities: dict[tuple[str, ...], EntityStatistics]


def measure_entity(spine: DataFrame, group: Sequence[Source], names: Sequence[str], spine_time: str, task_rows: int) -> EntityStatistics:
    """Count an entity's rows by key, in one job, and one more where some key is hot.

    Args:
        names: The spine's key columns.
        task_rows: Rows of one key above which it is hot; its buckets hold about as many.
    """
    keys = [f"key_{index}" for index in range(len(names))]
    times = _times(spine, group, names, keys, spine_time)
    counted = times.groupBy(*keys).agg(F.count_if("read").alias("read"), F.count_if(~F.col("read")).alias("written"))
    rows = F.col("read") + F.col("written")
    [found] = counted.agg(
        F.coalesce(F.sum("read"), F.lit(0)).alias("spine_rows"),
        F.coalesce(F.sum("written"), F.lit(0)).alias("feature_rows"),
        F.count("*").alias("keys"),
        F.coalesce(F.max("written"), F.lit(0)).alias("most_feature_rows"),
        F.coalesce(F.max(rows), F.lit(0)).alias("most_rows"),
        # The greatest ones only, whatever their number; those below wait in a task of their own, which is slow and not wrong.
        F.max_by(F.struct(*keys), F.when(rows > task_rows, rows), _MOST_HOT).alias("hot"),
    ).take(1)
    known = EntityStatistics(found["spine_rows"], found["feature_rows"], found["keys"], found["most_feature_rows"], found["most_rows"])
    if not found["hot"]:
        return known
    schema = StructType([times.schema[key] for key in keys])
    hot, bounds = _cut(times, [tuple(row) for row in found["hot"]], keys, schema, task_rows)
    return replace(known, hot=hot, bounds=bounds, key_schema=schema)


def _times(spine: DataFrame, group: Sequence[Source], names: Sequence[str], keys: Sequence[str], spine_time: str) -> DataFrame:
    """Keys and times of both sides, narrow."""
    own = [F.col(quote(name)).alias(key) for name, key in zip(names, keys, strict=True)]
    read = spine.select(*own, F.unix_micros(F.col(quote(spine_time))).alias("time"), F.lit(True).alias("read"))
    written = [source.rows(names, keys).select(*keys, "time", F.lit(False).alias("read")) for source in group]
    return reduce(DataFrame.union, written, read).dropna(subset=[*keys, "time"])


def _cut(
    times: DataFrame, hot: Sequence[tuple[Any, ...]], keys: Sequence[str], schema: StructType, task_rows: int
) -> tuple[tuple[tuple[Any, ...], ...], tuple[tuple[int, ...], ...]]:
    """Hot keys with the quantiles of their times, so that buckets hold about as many rows."""
    shares = [index / _MOST_BUCKETS for index in range(1, _MOST_BUCKETS)]
    wanted = F.broadcast(times.sparkSession.createDataFrame(list(hot), schema))
    grouped = times.join(wanted, list(keys)).groupBy(*keys)
    found = grouped.agg(F.percentile_approx("time", shares, _ACCURACY).alias("at"), F.count("*").alias("rows")).take(len(hot))
    return tuple(tuple(row[key] for key in keys) for row in found), tuple(_bounds(row, task_rows) for row in found)


def _bounds(row: Row, task_rows: int) -> tuple[int, ...]:
    buckets = max(2, min(_MOST_BUCKETS, -(-int(row["rows"]) // task_rows)))
    chosen = {int(row["at"][round(index * _MOST_BUCKETS / buckets) - 1]) for index in range(1, buckets)}
    return tuple(sorted(chosen))
