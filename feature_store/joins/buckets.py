"""Hot entities cut into buckets of time, each with what it inherits from the buckets before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, LongType, StructField, StructType

from feature_store.joins.source import Source
from feature_store.joins.statistics import EntityStatistics

__all__ = ["CARRIED", "Buckets"]

CARRIED = -1  # at the beginning of a bucket, before what happens then


@dataclass(frozen=True)
class Buckets:
    """The cuts of an entity's hot keys.

    Args:
        statistics: Hot keys and their bounds.
    """

    statistics: EntityStatistics

    def placed(self, frame: DataFrame, keys: Sequence[str]) -> DataFrame:
        """Add `bucket`: 0 for all rows of a key that is not hot, else the number of bounds that are not after the row's time."""
        return self._bounded(frame, keys, "left").withColumn("bucket", _bucket()).drop("bounds")

    def carried(self, rows: DataFrame, source: Source, keys: Sequence[str]) -> DataFrame:
        """A row for each bucket but the first, where a row of an earlier bucket still counts in it.

        What a bucket leaves behind is its last row, or its greatest; of these few the buckets after it take the last, or the greatest.

        Returns:
            The keys, `time` (the bucket's first instant), `bucket` and the lookup's columns.
        """
        own = [name for name in rows.columns if name not in (*keys, "time")]
        whole = F.struct(*own)
        left = self._bounded(rows, keys, "inner").groupBy(*keys, _bucket().alias("bucket")).agg(_last(source, whole).alias("left"))
        named = [*keys, "bucket"]
        cut = self._frame(rows, keys).select(*keys, "bounds", F.explode(F.sequence(F.lit(0), F.size("bounds"))).alias("bucket"))
        every = cut.select(*keys, F.when(F.col("bucket") > 0, F.get("bounds", F.col("bucket") - 1)).alias("time"), "bucket")
        known = every.join(left, named, "left")
        earlier = Window.partitionBy(*keys).orderBy("bucket").rowsBetween(Window.unboundedPreceding, -1)
        inherited = _inherited(source).over(earlier).alias("inherited")
        rows_in = known.select(*keys, "time", "bucket", inherited).where("bucket > 0 and inherited is not null")
        parts = [F.col("inherited").getField(name).alias(name) for name in own]
        return rows_in.select(*keys, "time", "bucket", *parts)

    def _bounded(self, frame: DataFrame, keys: Sequence[str], how: str) -> DataFrame:
        return frame.join(F.broadcast(self._frame(frame, keys)), list(keys), how)

    def _frame(self, frame: DataFrame, keys: Sequence[str]) -> DataFrame:
        """The hot keys with their bounds: a few rows."""
        assert self.statistics.key_schema is not None
        schema = StructType([*self.statistics.key_schema.fields, StructField("bounds", ArrayType(LongType()))])
        rows = [(*key, list(bounds)) for key, bounds in zip(self.statistics.hot, self.statistics.bounds, strict=True)]
        return frame.sparkSession.createDataFrame(rows, schema).toDF(*keys, "bounds")


def _bucket() -> Column:
    return F.coalesce(F.size(F.filter("bounds", lambda bound: bound <= F.col("time"))), F.lit(0))


def _last(source: Source, whole: Column) -> Column:
    """The row that a bucket leaves behind."""
    if source.newest_wins:
        return F.max_by(whole, F.struct("time", source.rank))
    return F.max_by(whole, source.rank)


def _inherited(source: Source) -> Column:
    """The row that the buckets so far have left behind; theirs are null where they had none."""
    if source.newest_wins:
        return F.last("left", ignorenulls=True)
    return F.max_by("left", F.col("left").getField(source.rank))
