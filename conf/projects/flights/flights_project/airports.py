"""Airports and their time zones."""

from __future__ import annotations

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from flights_project.register import since
from flights_project.rule import present
from flights_project.source_file import SourceFile

__all__ = ["ADDED", "AIRPORTS", "airports", "zones"]

AIRPORTS = SourceFile(
    "airports.csv",
    {"faa": "string", "name": "string", "lat": "double", "lon": "double", "alt": "int", "tzone": "string"},
    lambda: (present("faa"), present("name")),
)

# Destinations of flights that the file lacks: airport, name, IANA zone. Neither island changes its clocks (UTC-4 all year).
ADDED = (
    ("BQN", "Rafael Hernández Airport, Aguadilla", "America/Puerto_Rico"),
    ("PSE", "Mercedita Airport, Ponce", "America/Puerto_Rico"),
    ("SJU", "Luis Muñoz Marín Airport, San Juan", "America/Puerto_Rico"),
    ("STT", "Cyril E. King Airport, Saint Thomas", "America/St_Thomas"),
)


def airports(spark: SparkSession) -> DataFrame:
    """One row for each airport: airport, name, latitude and longitude (degrees), altitude (feet), zone (IANA, null where unknown), added, valid_from.

    `added` marks the four rows of `ADDED`, which the file lacks.
    """
    rows = AIRPORTS.frame(spark).select(
        F.col("faa").alias("airport"),
        "name",
        F.col("lat").alias("latitude"),
        F.col("lon").alias("longitude"),
        F.col("alt").alias("altitude"),
        F.col("tzone").alias("zone"),
        F.lit(False).alias("added"),
    )
    more = spark.createDataFrame([(*row, True) for row in ADDED], "airport string, name string, zone string, added boolean")
    missing = more.join(F.broadcast(rows.select("airport")), "airport", "left_anti")
    return rows.unionByName(missing, allowMissingColumns=True).withColumn("valid_from", since())


def zones() -> dict[str, str]:
    """Airport to IANA zone, of all airports with a known one."""
    table = pq.read_table(AIRPORTS.checked(), columns=["faa", "tzone"])
    found = {name: zone for name, zone in zip(*table.to_pydict().values(), strict=True) if zone is not None}
    return {name: zone for name, _, zone in ADDED} | found
