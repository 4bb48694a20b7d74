"""Rows without a key: they match nothing, come out as they were, and do not meet in one task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from feature_store.joins.stand_in import stand_in
from feature_store.joins.statistics import EntityStatistics, JoinStatistics
from feature_store.point_in_time import Lookup, point_in_time_join

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal(38,10)")
KINDS = (*NUMBERS, "boolean", "string", "binary", "date", "timestamp", "timestamp_ntz", "struct<a:int>", "array<date>")


@pytest.mark.parametrize("kind", ["boolean", "tinyint", "decimal(1,0)"])
def test_a_row_without_a_key_matches_nothing(spark: SparkSession, kind: str) -> None:
    """These types have so few values that what stands in for a null key is a key with features; the row gets none, and its key stays null."""
    spine = spark.range(60).select("id", F.when(F.col("id") == 0, F.lit(0).cast(kind)).alias("k"), F.lit(NOON).alias("t"))
    keys = spark.range(2 if kind == "boolean" else 10).select(F.col("id").cast(kind).alias("k"), F.lit(NOON - timedelta(hours=1)).alias("e"))
    lookup = Lookup(keys.withColumn("v", F.lit(1)), ("k",), event_time="e")

    rows = point_in_time_join(spine, [lookup], spine_time="t").select("id", F.col("k").isNull().alias("lacking"), "v")

    assert sorted(rows.collect()) == [Row(id=index, lacking=index > 0, v=None if index else 1) for index in range(60)]


@pytest.mark.parametrize("statistics", [None, JoinStatistics({("k",): EntityStatistics(1, 1, 1, 1, 2)})], ids=["running", "interval"])
def test_not_a_number_is_no_entity(spark: SparkSession, statistics: JoinStatistics | None) -> None:
    """By either plan; Spark's own join would bring rows together that have nothing in common but the lack of a key. The two zeros are one."""
    spine = spark.createDataFrame([(float("nan"), NOON), (-0.0, NOON), (2.0, NOON)], "k double, t timestamp")
    table = spark.createDataFrame([(float("nan"), NOON, 1), (0.0, NOON, 2), (2.0, NOON, 3)], "k double, e timestamp, v int")

    joined = point_in_time_join(spine, [Lookup(table, ("k",), event_time="e")], spine_time="t", statistics=statistics)

    assert {repr(row["k"]): row["v"] for row in joined.collect()} == {"nan": None, "-0.0": 2, "2.0": 3}


def test_which_key_is_missing_is_kept(spark: SparkSession) -> None:
    """Of a composite key the part that is there comes out as it went in, in rows that lack the other, or the time."""
    rows = [("a", None, NOON), (None, 1, NOON), (None, None, NOON), ("a", 1, None), ("a", 1, NOON)]
    spine = spark.createDataFrame(rows, "a string, b int, t timestamp")
    table = spark.createDataFrame([("a", 1, NOON, 7)], "a string, b int, e timestamp, v int")

    joined = point_in_time_join(spine, [Lookup(table, ("a", "b"), event_time="e")], spine_time="t").select("a", "b", F.col("t").isNull(), "v")

    assert sorted(map(tuple, joined.collect()), key=repr) == sorted(
        [(a, b, t is None, 7 if (a, b, t) == rows[-1] else None) for a, b, t in rows], key=repr
    )


def test_stand_ins_differ(spark: SparkSession) -> None:
    """Of each type there is one made of any hash, the least and the greatest included, and others of other hashes."""
    hashes = spark.createDataFrame([(value,) for value in (-(2**63), 2**63 - 1, 1, 0, 123_456_789)], "hash long")
    schema = spark.createDataFrame([], ", ".join(f"k{index} {kind}" for index, kind in enumerate(KINDS))).schema

    made = hashes.select(*(stand_in(field.dataType, F.col("hash")).alias(field.name) for field in schema))

    assert [field.dataType.simpleString() for field in made.schema] == [field.dataType.simpleString() for field in schema]
    counts = made.agg(*(F.struct(F.count(name).alias("rows"), F.count_distinct(name).alias("values")).alias(name) for name in made.columns)).first()
    assert {kind: (found["rows"], found["values"] >= 2) for kind, found in zip(KINDS, counts or (), strict=True)} == dict.fromkeys(KINDS, (5, True))
