"""Windows give what the oracle gives: every function, both closed sides, late, corrected and null rows."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import SparkSession

from feature_store.testing import assert_pit_equal, generators, window_oracle
from feature_store.windows import Aggregate, windows_at, windows_every

KEYS = ("customer", "shop")
POSITIVE = "items > 0"
AGGREGATES = [
    Aggregate("count", None, "36h"),
    Aggregate("count", "amount", "12h"),
    Aggregate("sum", "amount", "36h"),
    Aggregate("sum", "items", "2d"),
    Aggregate("sum", "price", "36h"),
    Aggregate("mean", "price", "12h"),
    Aggregate("mean", "amount", "2d"),
    Aggregate("min", "amount", "36h"),
    Aggregate("max", "city", "36h"),
    Aggregate("std", "items", "36h"),
    Aggregate("std", "amount", "2d"),
    Aggregate("variance", "price", "36h"),
    Aggregate("first", "amount", "36h"),
    Aggregate("last", "city", "36h"),
    Aggregate("last_k", "items", "2d", k=3),
    Aggregate("distinct", "city", "2d"),
    Aggregate("distinct", "amount", "2d"),
    Aggregate("approx_distinct", "city", "2d"),
    Aggregate("approx_distinct", "items", "12h"),
    Aggregate("quantile", "items", "2d", q=0.3),
    Aggregate("quantile", "amount", "36h", q=0.5),
    Aggregate("sum", "items", "36h", where=POSITIVE, name="gains"),
    Aggregate("last", "happened", "36h", where=POSITIVE, name="gained_at"),
]
WHERE = dict.fromkeys(("gains", "gained_at"), lambda row: row["items"] is not None and row["items"] > 0)
TIMES: dict[str, Any] = {"keys": KEYS, "event_time": "happened", "known_time": "known"}


@pytest.mark.parametrize(("closed", "row_id"), [("right", None), ("left", "row")])
def test_windows_at_equal_oracle(spark: SparkSession, closed: str, row_id: str | None) -> None:
    """At every spine row: event time in the window, known by then, corrected rows once, duplicates and null keys kept."""
    spine, events = generators.spine_rows(1, 100), generators.event_rows(1, 200)

    found = windows_at(
        generators.to_spark(spark, spine, generators.SPINE),
        generators.to_spark(spark, events, generators.EVENTS, partitions=3),
        AGGREGATES,
        spine_time="at",
        row_id=row_id,
        closed=closed,
        **TIMES,
    )

    assert_pit_equal(found, window_oracle(events, AGGREGATES, spine=spine, spine_time="at", row_id=row_id, closed=closed, where=WHERE, **TIMES))


@pytest.mark.parametrize(("closed", "row_id"), [("right", "row"), ("left", None)])
def test_windows_every_equal_oracle(spark: SparkSession, closed: str, row_id: str | None) -> None:
    """On the grid: a row wherever a window holds an event, and one when the last window has emptied."""
    events = generators.event_rows(2, 120, hours=120)

    found = windows_every(generators.to_spark(spark, events, generators.EVENTS), AGGREGATES, slide="4h", row_id=row_id, closed=closed, **TIMES)

    assert_pit_equal(found, window_oracle(events, AGGREGATES, slide="4h", row_id=row_id, closed=closed, where=WHERE, **TIMES))


def test_session_zone_plays_no_part(spark: SparkSession) -> None:
    """A day is 24 hours and the grid is UTC's, also over the night in which New York's clocks change (10 March 2024)."""
    spine, events = generators.spine_rows(4, hours=336), generators.event_rows(4, hours=336)
    wanted = AGGREGATES[2:9]
    try:
        spark.conf.set("spark.sql.session.timeZone", "America/New_York")
        spark.conf.set("spark.sql.shuffle.partitions", "3")
        table = generators.to_spark(spark, events, generators.EVENTS, partitions=4)
        at = windows_at(generators.to_spark(spark, spine, generators.SPINE), table, wanted, spine_time="at", **TIMES)
        grid = windows_every(table, wanted, slide="12h", **TIMES)

        assert_pit_equal(at, window_oracle(events, wanted, spine=spine, spine_time="at", **TIMES))
        assert_pit_equal(grid, window_oracle(events, wanted, slide="12h", **TIMES))
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        spark.conf.set("spark.sql.shuffle.partitions", "2")
