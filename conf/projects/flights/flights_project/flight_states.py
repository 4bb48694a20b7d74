"""What was known of each flight, and since when: the source of all trailing windows."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from flights_project.flights import LATE, flights

__all__ = ["flight_states"]

_VALUES = ("dep_late", "arr_late", "cancelled", "overdue")


def flight_states(spark: SparkSession) -> DataFrame:
    """One row for each flight and state of knowledge, at most three a flight.

    A later state of a flight repeats what the earlier one knew, so that the last state known at an instant is all that was known then:

    | state       | known_at            | dep_late | arr_late | cancelled | overdue |
    |-------------|---------------------|----------|----------|-----------|---------|
    | `overdue`   | scheduled departure |          |          |           | 1       |
    | `departed`  | departure           | 0 or 1   |          | 0         | 0       |
    | `arrived`   | arrival             | 0 or 1   | 0 or 1   | 0         | 0       |
    | `cancelled` | scheduled departure |          |          | 1         | 0       |

    A flight that leaves early or on time was never overdue, and one that leaves early is known before its event time, the scheduled departure.
    `dep_late` and `arr_late` are 1 above 15 minutes. That a flight is cancelled is said to be known at its scheduled departure: the source has
    no earlier time, and at that minute the board shows it.
    """
    rows = flights(spark)
    nothing = F.lit(None).cast("double")
    departed = F.col("departed_at").isNotNull()
    left_late = F.when(departed, (F.col("dep_delay") > LATE).cast("double"))
    states = F.array(
        _state(
            "overdue", departed & (F.col("departed_at") > F.col("scheduled_departure")), "scheduled_departure", nothing, nothing, nothing, F.lit(1.0)
        ),
        _state("departed", departed, "departed_at", left_late, nothing, F.lit(0.0), F.lit(0.0)),
        _state("arrived", F.col("arrived_at").isNotNull(), "arrived_at", left_late, F.col("late"), F.lit(0.0), F.lit(0.0)),
        _state("cancelled", F.col("cancelled"), "scheduled_departure", nothing, nothing, F.lit(1.0), F.lit(0.0)),
    )
    return (
        rows.select("flight_id", "origin", "carrier", "dest", "scheduled_departure", F.explode(states).alias("state"))
        .where(F.col("state").isNotNull())
        .select("flight_id", "origin", "carrier", "dest", "scheduled_departure", "state.*")
    )


def _state(name: str, holds: Column, known: str, *values: Column) -> Column:
    parts = [value.alias(column) for column, value in zip(_VALUES, values, strict=True)]
    return F.when(holds, F.struct(F.col(known).alias("known_at"), F.lit(name).alias("state"), *parts))
