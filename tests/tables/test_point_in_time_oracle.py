"""The join gives what the oracle gives, whatever the seed, the partitions, the session's zone and the options."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from feature_store.point_in_time import Lookup, point_in_time_join
from feature_store.testing import assert_pit_equal, generators, point_in_time_oracle

VALUES = ("amount", "items", "city")
BOTH = ("customer", "shop")


def lookups(table: Any) -> list[Lookup]:
    """Every option once, over three entities; five lookups of the first one."""
    return [
        Lookup(table, BOTH, VALUES, event_time="happened", known_time="known", prefix="plain_"),
        Lookup(
            table, {"shop": "shop", "customer": "customer"}, VALUES, event_time="happened", known_time="known", exact_match=False, prefix="before_"
        ),
        Lookup(table, BOTH, VALUES, event_time="happened", known_time="known", ttl=timedelta(hours=18), tie_break=("number",), prefix="ttl_"),
        Lookup(table, BOTH, ("price",), event_time="happened", ttl=timedelta(hours=6), exact_match=False, prefix="edge_"),
        Lookup(table, BOTH, ("number", "row"), event_time="happened", known_time=timedelta(hours=7), prefix="delay_"),
        Lookup(table, ("customer",), VALUES, event_time="happened", known_time="known", tie_break=("number", "row"), prefix="customer_"),
        Lookup(table, {"customer": "shop"}, ("items",), event_time="happened", prefix="crossed_"),
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_join_equals_oracle(spark: SparkSession, seed: int) -> None:
    """Ties, late rows, nulls, NaN, duplicates, skew, ttl, exact_match, tie-break, composite and crossed keys."""
    spine, events = generators.spine_rows(seed, 120), generators.event_rows(seed, 240)
    table = generators.to_spark(spark, events, generators.EVENTS, partitions=3)

    joined = point_in_time_join(generators.to_spark(spark, spine, generators.SPINE), lookups(table), spine_time="at")

    assert_pit_equal(joined, point_in_time_oracle(spine, lookups(events), spine_time="at"))


def test_audit_adds_the_source_times(spark: SparkSession) -> None:
    """With audit each lookup brings the event and known time of the row that it took, and where nothing ties the same features."""
    spine, events = (
        generators.spine_rows(3),
        generators.event_rows(3, ties=0, corrections=0).drop_duplicates(["customer", "shop", "happened", "known", "number"]),
    )
    table = generators.to_spark(spark, events, generators.EVENTS)
    wanted = [replace(lookup, tie_break=("number", "row")) for lookup in lookups(table)[:2]]

    joined = point_in_time_join(generators.to_spark(spark, spine, generators.SPINE), wanted, spine_time="at", audit=True)

    assert_pit_equal(joined, point_in_time_oracle(spine, [replace(lookup, table=events) for lookup in wanted], spine_time="at", audit=True))


def test_result_depends_on_nothing_but_the_rows(spark: SparkSession) -> None:
    """Other partitions, another order of rows and a session zone with daylight saving give the same rows."""
    spine, events = generators.spine_rows(5), generators.event_rows(5)
    expected = point_in_time_oracle(spine, lookups(events)[:3], spine_time="at")
    turned = events.sample(frac=1, random_state=0)
    try:
        spark.conf.set("spark.sql.session.timeZone", "America/New_York")
        spark.conf.set("spark.sql.shuffle.partitions", "5")
        table = generators.to_spark(spark, turned, generators.EVENTS, partitions=4)
        joined = point_in_time_join(generators.to_spark(spark, spine, generators.SPINE, partitions=1), lookups(table)[:3], spine_time="at")

        assert_pit_equal(joined, expected)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        spark.conf.set("spark.sql.shuffle.partitions", "2")
