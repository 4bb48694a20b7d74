"""Flights: when they were to leave and arrive, when they did, and when that became known."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from flights_project.airports import airports, zones
from flights_project.local_time import add_minutes, clock_minutes, instant, local_day, local_time, minutes_between, next_instant
from flights_project.rule import Rule, between, clock, date, one_of, present
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
    return _identified(_actual(_scheduled(_zoned(spark)))).select(
        "flight_id",
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


def _zoned(spark: SparkSession) -> DataFrame:
    """The file's rows with the zones of both airports."""
    known = airports(spark).select("airport", "zone")
    rows = FLIGHTS.frame(spark)
    for end in ("origin", "dest"):
        zone = known.select(F.col("airport").alias(end), F.col("zone").alias(f"{end}_zone"))
        rows = rows.join(F.broadcast(zone), end, "left")
    return rows


def _scheduled(rows: DataFrame) -> DataFrame:
    """What the timetable says."""
    day = local_day(F.col("year"), F.col("month"), F.col("day"))
    leaving, arriving = clock_minutes(F.col("sched_dep_time")), clock_minutes(F.col("sched_arr_time"))
    arrival = next_instant(F.col("day_begin"), arriving, F.col("dest_zone"), F.col("scheduled_departure"))
    return (
        rows.withColumn("day_begin", day)
        .withColumn("leaving", local_time(F.col("day_begin"), leaving))
        .withColumn("scheduled_departure", instant(F.col("leaving"), F.col("origin_zone")))
        .withColumns({"scheduled_arrival": arrival, "prediction_time": add_minutes(F.col("scheduled_departure"), F.lit(_AHEAD))})
        .withColumns(
            {
                "scheduled_minutes": minutes_between(F.col("scheduled_departure"), F.col("scheduled_arrival")),
                "departure_hour": F.hour("leaving"),
                "departure_minute": F.hour("leaving") * 60 + F.minute("leaving"),
                "departure_weekday": F.weekday("leaving") + 1,
                "arrival_minute": arriving % (24 * 60),
            }
        )
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


def _identified(rows: DataFrame) -> DataFrame:
    """Identity and the traffic of the hour: one shuffle, since flights of one identity leave in one hour."""
    hour = [F.col("origin"), F.col("day_begin"), F.col("departure_hour")]
    same = Window.partitionBy(*hour, "carrier", "flight", "departure_minute").orderBy("dest", "tailnum", "dep_time", "arr_time")
    number = F.row_number().over(same)
    return (
        rows.withColumn("departures_same_hour", F.count(F.lit(1)).over(Window.partitionBy(*hour)).cast("int"))
        .withColumn("number", number)
        .withColumn("flight_id", F.concat(_name(), F.when(F.col("number") > 1, F.concat(F.lit("-"), F.col("number"))).otherwise(F.lit(""))))
    )


def _name() -> Column:
    """Carrier, number, origin and scheduled minute of UTC, whatever the session's zone."""
    epoch = F.make_timestamp_ntz(F.lit(1970), F.lit(1), F.lit(1), F.lit(0), F.lit(0), F.lit(0))
    utc = epoch + F.make_dt_interval(mins=F.floor(F.unix_seconds("scheduled_departure") / 60).cast("int"))
    parts = (F.year(utc), F.month(utc), F.dayofmonth(utc), F.hour(utc), F.minute(utc))
    return F.format_string("%s-%d-%s-%04d%02d%02dT%02d%02dZ", F.col("carrier"), F.col("flight"), F.col("origin"), *parts)
