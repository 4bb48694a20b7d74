"""Hourly weather at the three airports of departure."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from flights_project.rule import present
from flights_project.source_file import SourceFile

__all__ = ["WEATHER", "weather"]

WEATHER = SourceFile(
    "weather.csv",
    {
        "origin": "string",
        "temp": "double",
        "dewp": "double",
        "humid": "double",
        "wind_dir": "double",
        "wind_speed": "double",
        "wind_gust": "double",
        "precip": "double",
        "pressure": "double",
        "visib": "double",
        "time_hour": "timestamp",
    },
    lambda: (present("origin"), present("time_hour")),
    key=("origin", "time_hour"),
)

# 1,048 mph on 12 February at EWR is a slip of the instrument; the strongest wind measured on Earth is 253 mph (WMO).
_STRONGEST_WIND = 253.0


def weather(spark: SparkSession) -> DataFrame:
    """One row for each airport and hour, under the file's own instant: the local hour names two of them in the night of 3 November.

    `origin`, `observed_at`, then `temperature` and `dew_point` (°F), `humidity` (%), `wind_direction` (degrees), `wind_speed` and `wind_gust` (mph),
    `precipitation` (inches), `pressure` (mbar), `visibility` (miles).
    """
    return WEATHER.frame(spark).select(
        "origin",
        F.col("time_hour").alias("observed_at"),
        F.col("temp").alias("temperature"),
        F.col("dewp").alias("dew_point"),
        F.col("humid").alias("humidity"),
        F.col("wind_dir").alias("wind_direction"),
        _possible_wind("wind_speed"),
        _possible_wind("wind_gust"),
        F.col("precip").alias("precipitation"),
        "pressure",
        F.col("visib").alias("visibility"),
    )


def _possible_wind(name: str) -> Column:
    return F.when(F.col(name).between(0.0, _STRONGEST_WIND), F.col(name)).alias(name)
