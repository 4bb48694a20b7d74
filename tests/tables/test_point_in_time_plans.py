"""Every plan of the join gives the same rows, which another engine gives too; the planner says what it chose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.joins.plan import BUCKETS, INTERVAL, RUNNING
from feature_store.joins.statistics import EntityStatistics, JoinStatistics
from feature_store.point_in_time import Lookup, explain_join, join_statistics, point_in_time_join
from feature_store.testing import assert_pit_equal, generators

VALUES = ("amount", "items", "city")
FEW = EntityStatistics(spine_rows=1, feature_rows=1, keys=1, most_feature_rows=1, most_rows=2)


def lookups(table: Any) -> list[Lookup]:
    """Known by a column, by a delay and at once; two entities."""
    by = {"event_time": "happened", "tie_break": ("number", "row")}
    return [
        Lookup(table, ("customer", "shop"), VALUES, known_time="known", prefix="late_", **by),
        Lookup(table, ("shop", "customer"), VALUES, ttl=timedelta(hours=18), exact_match=False, prefix="before_", **by),
        Lookup(table, {"customer": "shop"}, ("price",), known_time=timedelta(hours=7), prefix="delay_", **by),
    ]


def by_duckdb(spine: DataFrame, events: DataFrame) -> pd.DataFrame:
    """The three lookups in SQL that another engine runs; sorted as Spark sorts, nulls first."""
    order = "happened desc, {known} desc, number desc nulls last, row desc nulls last, {values}"

    def best(keys: str, values: tuple[str, ...], known: str, more: str) -> str:
        ranks = ", ".join(f"{name} desc nulls last" for name in values)
        ordered = order.format(known=known, values=ranks)
        return f"left join lateral (select {', '.join(values)} from events where {keys} and {known} <= s.at and {more} order by {ordered} limit 1)"

    both = "events.customer = s.customer and events.shop = s.shop"
    query = f"""
        select s.customer, s.shop, s.at, s.label, a.*, b.*, c.* from spine s
        {best(both, VALUES, "known", "happened <= s.at")} a(late_amount, late_items, late_city) on true
        {best(both, VALUES, "happened", "happened < s.at and happened >= s.at - interval 18 hour")} b(before_amount, before_items, before_city) on true
        {best("events.shop = s.customer", ("price",), "happened + interval 7 hour", "true")} c(delay_price) on true
    """
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        for name, frame in (("spine", spine), ("events", events)):
            engine.register(name, frame.toArrow())
        return exact(engine.sql(query).to_arrow_table())


def exact(rows: pa.Table) -> pd.DataFrame:
    """By way of Python's own values: pandas would make one thing of null and NaN."""
    return pd.DataFrame(rows.to_pylist(), dtype=object)


@pytest.mark.parametrize(("plan", "partitions", "seed"), [(RUNNING, 1, 11), (BUCKETS, 3, 12), (INTERVAL, 5, 13)])
def test_every_plan_gives_what_duckdb_gives(spark: SparkSession, plan: str, partitions: int, seed: int) -> None:
    """Ties, late rows, nulls and a key with most of the rows, on any number of partitions; statistics may be wrong and change no row."""
    spine, events = generators.spine_rows(seed, 150, skew=0.7), generators.event_rows(seed, 300, skew=0.7)
    table = generators.to_spark(spark, events, generators.EVENTS, partitions=partitions)
    rows = generators.to_spark(spark, spine, generators.SPINE, partitions=partitions)
    counted = {
        RUNNING: None,
        BUCKETS: join_statistics(rows, lookups(table), spine_time="at", task_rows=25),
        INTERVAL: JoinStatistics({("customer", "shop"): FEW, ("customer",): FEW}),
    }[plan]

    told = explain_join(rows, lookups(table), spine_time="at", statistics=counted)
    joined = point_in_time_join(rows, lookups(table), spine_time="at", statistics=counted)

    assert {entity.method for entity in told.entities} == {plan}
    assert_pit_equal(joined, by_duckdb(rows, table))


def test_an_audit_looks_at_hot_keys_too(spark: SparkSession) -> None:
    """What a bucket inherits is neither a tie nor from the future; times of its row come along."""
    spine, events = (
        generators.spine_rows(21, 60),
        generators.event_rows(21, 150, ties=0, corrections=0).drop_duplicates(["customer", "shop", "happened"]),
    )
    table, rows = generators.to_spark(spark, events, generators.EVENTS), generators.to_spark(spark, spine, generators.SPINE)
    wanted = lookups(table)[:2]
    counted = join_statistics(rows, wanted, spine_time="at", task_rows=15)

    plain, cut = (point_in_time_join(rows, wanted, spine_time="at", audit=True, statistics=given) for given in (None, counted))

    assert explain_join(rows, wanted, spine_time="at", audit=True, statistics=counted).entities[0].method == BUCKETS
    assert_pit_equal(cut, exact(plain.toArrow()))


def test_the_planner_counts_and_explains(spark: SparkSession) -> None:
    """Rows by side, the longest key, hot keys with their cuts; the text names plan, reason and shuffles."""
    spine = spark.range(100).select(F.when(F.col("id") < 80, "hot").otherwise(F.col("id").cast("string")).alias("k"), at("id").alias("t"))
    table = spark.range(60).select(F.when(F.col("id") < 40, "hot").otherwise(F.col("id").cast("string")).alias("k"), at("id").alias("e"), "id")
    wanted = [Lookup(table, ("k",), ("id",), event_time="e")]

    found = join_statistics(spine, wanted, spine_time="t", task_rows=30).entities["k",]
    told = explain_join(spine, wanted, spine_time="t", statistics=JoinStatistics({("k",): found}))
    few = explain_join(spine, wanted, spine_time="t", statistics=JoinStatistics({("k",): replace(found, most_feature_rows=3, hot=())}))

    assert (found.spine_rows, found.feature_rows, found.keys, found.most_feature_rows, found.most_rows) == (100, 60, 41, 40, 120)
    assert found.hot == (("hot",),)
    assert [len(bounds) for bounds in found.bounds] == [3]
    assert "1 hot key, the first with 120 rows (75%), in 4 tasks" in str(told)
    assert "interval join, 2 shuffles; at most 3 rows a key" in str(few)
    assert "running last row, 1 shuffle; rows of a key not counted" in str(explain_join(spine, wanted, spine_time="t"))


def test_a_default_stands_for_no_row_and_not_for_a_null(spark: SparkSession) -> None:
    """A null of the matched row is its value; where no row matches, or none is young enough, the default is taken."""
    spine = spark.range(3).select(
        F.element_at(F.array(F.lit("a"), F.lit("b"), F.lit("c")), F.col("id").cast("int") + 1).alias("k"), at(F.lit(10)).alias("t")
    )
    rows = spark.createDataFrame([("a", 9, None, 1), ("b", 1, "old", 2)], "k string, hour int, v string, w long")
    table = rows.withColumn("e", at("hour")).drop("hour")
    lookup = Lookup(table, ("k",), ("v", "w"), event_time="e", ttl=timedelta(hours=5), defaults={"v": "none"})

    joined = point_in_time_join(spine, [lookup], spine_time="t").orderBy("k").select("v", "w").toArrow().to_pylist()

    assert [tuple(row.values()) for row in joined] == [(None, 1), ("none", None), ("none", None)]


def at(hour: Any) -> Any:
    """An instant by its hour."""
    return F.timestamp_seconds((F.col(hour) if isinstance(hour, str) else hour) * 3600)
