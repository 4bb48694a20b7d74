"""Clocks on walls against Python's zoneinfo."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pyspark.sql import Column, Row, SparkSession
from pyspark.sql import functions as F

from flights_project.local_time import (
    add_minutes,
    clock_minutes,
    compact,
    hour_of,
    instant,
    minute_of_day,
    minutes_between,
    next_instant,
    wall,
    weekday,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = (
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/Anchorage",
    "Pacific/Honolulu",
    "America/St_Thomas",
)
# Winter, the skipped hour of spring and both its ends, summer, the doubled hour of autumn and both its ends, the last minute of the year.
TIMES = (
    (2013, 1, 1, 517),
    (2013, 3, 10, 159),
    (2013, 3, 10, 200),
    (2013, 3, 10, 230),
    (2013, 3, 10, 259),
    (2013, 3, 10, 300),
    (2013, 7, 4, 1200),
    (2013, 11, 3, 59),
    (2013, 11, 3, 100),
    (2013, 11, 3, 130),
    (2013, 11, 3, 200),
    (2013, 12, 31, 2359),
    (2013, 12, 31, 2400),
    (2013, 2, 28, 2400),
)


def _oracle(year: int, month: int, day: int, clock: int, zone: str) -> datetime:
    naive = datetime(year, month, day) + timedelta(hours=clock // 100, minutes=clock % 100)
    return naive.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def _read(spark: SparkSession, columns: dict[str, Column], rows: list[tuple[int, int, int, int]]) -> list[Row]:
    frame = spark.createDataFrame([(number, *row) for number, row in enumerate(rows)], "number int, y int, m int, d int, clock int")
    return frame.select("number", *(column.alias(name) for name, column in columns.items())).orderBy("number").collect()


def _wall() -> Column:
    return wall(F.col("y"), F.col("m"), F.col("d"), clock_minutes(F.col("clock")))


@pytest.mark.parametrize("session_zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_instants_are_those_of_zoneinfo(spark: SparkSession, session_zone: str) -> None:
    """In every zone and every session zone: skipped times count as unchanged, doubled ones are the first."""
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", session_zone)
    try:
        columns = {f"zone_{number}": F.unix_micros(instant(_wall(), lambda made, zone=zone: made(zone))) for number, zone in enumerate(ZONES)}
        found = _read(spark, columns, list(TIMES))
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)

    wrong = [
        (time, zone, _instant(row[f"zone_{number}"]))
        for time, row in zip(TIMES, found, strict=True)
        for number, zone in enumerate(ZONES)
        if _instant(row[f"zone_{number}"]) != _oracle(*time, zone)
    ]

    assert wrong == []


def test_parts_are_those_of_the_wall(spark: SparkSession) -> None:
    """Hour, minute of the day, weekday and text are the wall's own, midnight as 2400 included."""
    shown = [datetime(y, m, d) + timedelta(hours=c // 100, minutes=c % 100) for y, m, d, c in TIMES]

    found = _read(
        spark, {"hour": hour_of(_wall()), "minute": minute_of_day(_wall()), "weekday": weekday(_wall()), "text": compact(_wall())}, list(TIMES)
    )

    assert [(row["hour"], row["minute"], row["weekday"], row["text"]) for row in found] == [
        (time.hour, time.hour * 60 + time.minute, time.isoweekday(), time.strftime("%Y%m%dT%H%M")) for time in shown
    ]


def test_impossible_clocks_are_null(spark: SparkSession) -> None:
    """No clock shows 12:60, 24:01 or a negative time."""
    clocks = [0, 59, 60, 1260, 2359, 2400, 2401, -1]

    found = _read(spark, {"minutes": clock_minutes(F.col("clock"))}, [(2013, 1, 1, clock) for clock in clocks])

    assert [row["minutes"] for row in found] == [0, 59, None, None, 1439, 1440, None, None]


def test_an_arrival_is_the_first_such_time_after_the_departure(spark: SparkSession) -> None:
    """A red-eye arrives on the next day, also in the night in which that day has another length."""
    zone = {"east": "America/New_York", "west": "America/Los_Angeles"}
    rows = [
        (2013, 1, 1, 830, "2013-01-01 10:15:00+00:00", "2013-01-01 13:30:00+00:00"),
        (2013, 1, 1, 34, "2013-01-02 02:45:00+00:00", "2013-01-02 05:34:00+00:00"),
        (2013, 3, 9, 34, "2013-03-10 02:45:00+00:00", "2013-03-10 05:34:00+00:00"),
        (2013, 3, 9, 330, "2013-03-10 04:59:00+00:00", "2013-03-10 07:30:00+00:00"),
        (2013, 11, 2, 340, "2013-11-03 03:59:00+00:00", "2013-11-03 08:40:00+00:00"),
        (2013, 12, 31, 2400, "2014-01-01 02:00:00+00:00", "2014-01-01 05:00:00+00:00"),
    ]
    frame = spark.createDataFrame([row[:5] for row in rows], "y int, m int, d int, clock int, after string").withColumn(
        "after", F.col("after").cast("timestamp")
    )

    midnight = wall(F.col("y"), F.col("m"), F.col("d"), F.lit(0))
    east = next_instant(midnight, clock_minutes(F.col("clock")), lambda made: made(zone["east"]), F.col("after"))
    found = [_instant(row[0]) for row in frame.select(F.unix_micros(east)).collect()]

    assert found == [datetime.fromisoformat(row[5]) for row in rows]


def test_minutes_pass_across_a_change_of_clocks(spark: SparkSession) -> None:
    """A delay of an hour is an hour, whatever the clocks do; null stays null."""
    row = spark.sql("SELECT timestamp'2013-03-10 06:30:00Z' AS time, 90 AS minutes, CAST(NULL AS INT) AS none").select(
        F.unix_micros(add_minutes(F.col("time"), F.col("minutes"))).alias("later"),
        minutes_between(F.col("time"), add_minutes(F.col("time"), F.col("minutes"))).alias("passed"),
        add_minutes(F.col("time"), F.col("none")).alias("unknown"),
    )

    found = row.first()

    assert found is not None
    assert _instant(found["later"]) == datetime(2013, 3, 10, 8, 0, tzinfo=UTC)
    assert (found["passed"], found["unknown"]) == (90, None)
