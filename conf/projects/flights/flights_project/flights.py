"""Flights: when they were to leave and arrive, when they did, and when that became known."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from flights_project.airports import zone_of, zones
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
from flights_project.rule import Rule, between, clock, date, one_of, present, together
from flights_project.source_file import SourceFile

__all__ = ["FLIGHTS", "LATE", "flights"]

LATE = 15  # minutes; a flight that arrives later than this is late
_AHEAD = -120  # minutes from the scheduled departure to the prediction

_FACTS = ("carrier", "flight", "tailnum", "origin", "dest", "distance", "air_time", "dep_delay", "arr_delay")


def _rules() -> tuple[Rule, ...]:
    identity = ("year", "month", "day", "sched_dep_time", "sched_arr_time", "carrier", "flight", "origin", "dest", "distance")
    known = tuple(zones())
    return (
        *(present(name) for name in identity),
        together("dep_time", "dep_delay"),
        date("year", "month", "day"),
        *(clock(name) for name in ("sched_dep_time", "sched_arr_time", "dep_time", "arr_time")),
        *(one_of(name, known, "airport with a known time zone") for name in ("origin", "dest")),
        between("distance", 1, 12_500, "miles"),
        # Nobody leaves before the prediction: such a row would know its own departure.
        between("dep_delay", _AHEAD, 7 * 24 * 60, "minutes"),
        between("arr_delay", -24 * 60, 7 * 24 * 60, "minutes"),
    )


FLIGHTS = SourceFile(
    "flights.csv.zip",
    {
        "year": "int",
        "month": "int",
        "day": "int",
        "dep_time": "int",
        "sched_dep_time": "int",
        "dep_delay": "int",
        "arr_time": "int",
        "sched_arr_time": "int",
        "arr_delay": "int",
        "carrier": "string",
        "flight": "int",
        "tailnum": "string",
        "origin": "string",
        "dest": "string",
        "air_time": "int",
        "distance": "int",
    },
    _rules,
    key=("carrier", "flight", "origin", "year", "month", "day", "sched_dep_time"),
)


def flights(spark: SparkSession) -> DataFrame:
    """One row for each of the 336,776 flights.

    * `flight_id`: carrier, number, origin and scheduled minute (UTC), as `UA-1545-EWR-20130101T1015Z`.
    * Instants (UTC): `scheduled_departure`, `scheduled_arrival`, `prediction_time` (two hours before the scheduled departure), `departed_at`,
      `arrived_at` (null where that did not happen), `departure_known` (when it was known whether and when the flight left: at the departure, and
      for a cancelled flight at the scheduled one), `arrival_known` (at the arrival; null where there was none).
    * `cancelled` (never left), `diverted` (left, and has no arrival delay), `dep_delay`, `arr_delay`, `air_time` (minutes), `late`: 1.0 where the
      flight arrived more than 15 minutes late, 0.0 where not, null where it was cancelled or diverted.
    * Timetable: `distance` (miles), `scheduled_minutes`, `departure_hour`, `departure_minute`, `arrival_minute` (of the local day), `departure_weekday`
      (1 is Monday), `departures_same_hour` (flights that are to leave the same airport in the same local hour).
    """
    rows = _actual(_scheduled(FLIGHTS.frame(spark)))
    traffic = rows.groupBy("origin", "local_hour").agg(F.count(F.lit(1)).cast("int").alias("departures_same_hour"))
    return rows.join(F.broadcast(traffic), ["origin", "local_hour"], "left").select(
        _identity().alias("flight_id"),
        *_FACTS[:6],
        "scheduled_departure",
        "scheduled_arrival",
        "prediction_time",
        "departed_at",
        "arrived_at",
        "departure_known",
        "arrival_known",
        "cancelled",
        "diverted",
        *_FACTS[6:],
        "late",
        "scheduled_minutes",
        "departure_hour",
        "departure_minute",
        "departure_weekday",
        "arrival_minute",
        "departures_same_hour",
    )


def _scheduled(rows: DataFrame) -> DataFrame:
    """What the timetable says."""
    leaving, arriving = clock_minutes(F.col("sched_dep_time")), clock_minutes(F.col("sched_arr_time"))
    arrival = next_instant(F.col("day_begin"), F.col("arriving"), zone_of("dest", FLIGHTS.values("dest")), F.col("scheduled_departure"))
    return (
        rows.withColumns({"day_begin": wall(F.col("year"), F.col("month"), F.col("day"), F.lit(0)), "leaving": leaving, "arriving": arriving})
        .withColumn("leaving", F.col("day_begin") + F.col("leaving"))
        .withColumns(
            {
                "scheduled_departure": instant(F.col("leaving"), zone_of("origin", FLIGHTS.values("origin"))),
                "departure_hour": hour_of(F.col("leaving")),
                "departure_minute": minute_of_day(F.col("leaving")),
                "departure_weekday": weekday(F.col("leaving")),
                "arrival_minute": minute_of_day(F.col("arriving")),
                "local_hour": F.floor(F.col("leaving") / 60),
            }
        )
        .withColumns({"scheduled_arrival": arrival, "prediction_time": add_minutes(F.col("scheduled_departure"), F.lit(_AHEAD))})
        .withColumn("scheduled_minutes", minutes_between(F.col("scheduled_departure"), F.col("scheduled_arrival")))
    )


def _actual(rows: DataFrame) -> DataFrame:
    """What happened.

    Delays, and not the clocks of departure and arrival, tell the instants: a clock does not say of which day it is.
    """
    cancelled = F.col("dep_time").isNull()
    departed = F.when(~cancelled, add_minutes(F.col("scheduled_departure"), F.col("dep_delay")))
    arrived = F.when(~cancelled, add_minutes(F.col("scheduled_arrival"), F.col("arr_delay")))
    return rows.withColumns({"cancelled": cancelled, "departed_at": departed, "arrived_at": arrived}).withColumns(
        {
            "diverted": ~cancelled & F.col("arrived_at").isNull(),
            "departure_known": F.when(cancelled, F.col("scheduled_departure")).otherwise(F.col("departed_at")),
            "arrival_known": F.col("arrived_at"),
            "late": F.when(F.col("arrived_at").isNotNull(), (F.col("arr_delay") > LATE).cast("double")),
        }
    )


def _identity() -> Column:
    """Carrier, number, origin and scheduled minute of UTC, whatever the session's zone; unique, since the file's own key is."""
    minute = F.concat(compact(F.floor(F.unix_seconds("scheduled_departure") / 60)), F.lit("Z"))
    return F.concat_ws("-", "carrier", F.col("flight").cast("string"), "origin", minute)
