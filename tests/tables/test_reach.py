"""A spine of some days joins only what can be seen from them, and gets what the whole tables would give it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import feature_store as fs
from feature_store.generators import EVENTS, SPINE, START, event_rows, spine_rows, to_spark
from feature_store.reach import held_between, within_reach
from feature_store.testing import assert_pit_equal

KEYS = ("customer", "shop")
LOOKUPS = (
    fs.Lookup("events", KEYS, ("amount", "items"), event_time="happened", known_time="known", ttl="6h", prefix="late_"),
    fs.Lookup("events", KEYS, ("amount",), event_time="happened", ttl="1h", exact_match=False, tie_break=("number",), prefix="short_"),
    fs.Lookup("events", ("shop",), ("items",), event_time="happened", known_time=timedelta(hours=2), prefix="ever_"),
)


@pytest.mark.parametrize("lookups", [LOOKUPS[:2], LOOKUPS], ids=["each with a ttl", "one without"])
def test_rows_out_of_reach_change_nothing(spark: SparkSession, lookups: tuple[fs.Lookup, ...]) -> None:
    """Late, tied and corrected rows, and several lookups of one table; and fewer rows are joined."""
    events = to_spark(spark, event_rows(seed=5, rows=200), EVENTS)
    first, last = START + timedelta(hours=30), START + timedelta(hours=40)
    spine = to_spark(spark, spine_rows(seed=6), SPINE).where(F.col("at").isNull() | F.col("at").between(F.lit(first), F.lit(last)))

    near = within_reach(events, lookups, (first, last))

    assert spine.count() > 5
    assert near.count() < events.count()
    assert_pit_equal(joined(spine, near, lookups), joined(spine, events, lookups))


def joined(spine: DataFrame, events: DataFrame, lookups: tuple[fs.Lookup, ...]) -> DataFrame:
    return fs.point_in_time_join(spine, lookups, spine_time="at", tables={"events": events})


def test_a_ttl_longer_than_time_has_no_lower_limit(spark: SparkSession) -> None:
    """There is no instant that long before."""
    events = to_spark(spark, event_rows(seed=5, rows=20, nulls=0), EVENTS)
    forever = replace(LOOKUPS[0], ttl=timedelta.max)

    assert within_reach(events, [forever], (START, START + timedelta(days=999))).count() == 20


@pytest.mark.parametrize("instant", [START - timedelta(microseconds=1), START + timedelta(hours=1, microseconds=1)])
def test_a_row_outside_its_instants_fails_the_job(spark: SparkSession, instant: datetime) -> None:
    """Its features would be missing; a null time matches nothing anyway, and both ends are inside."""
    between = START, START + timedelta(hours=1)
    rows = spark.createDataFrame([(between[0],), (between[1],), (None,)], "at timestamp")

    assert held_between(rows, "at", between).collect() == rows.collect()
    with pytest.raises(Exception, match="a spine row at at=2024-0"):
        held_between(rows.union(spark.createDataFrame([(instant,)], "at timestamp")), "at", between).collect()
