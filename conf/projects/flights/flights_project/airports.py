"""Airports and their time zones."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from flights_project.local_time import Zone
from flights_project.register import since
from flights_project.rule import present
from flights_project.source_file import SourceFile

__all__ = ["ADDED", "AIRPORTS", "airports", "zone_of", "zones"]

AIRPORTS = SourceFile(
    "airports.csv",
    {"faa": "string", "name": "string", "lat": "double", "lon": "double", "alt": "int", "tzone": "string"},
    lambda: (present("faa"), present("name")),
    key=("faa",),
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
    names = [field.name for field in rows.schema.fields]
    listed = F.array(*(F.struct(*(F.lit(value).alias(name) for name, value in zip(("airport", "name", "zone"), row, strict=True))) for row in ADDED))
    more = spark.range(1).select(F.explode(listed).alias("row")).select("row.*", F.lit(True).alias("added"))
    missing = more.join(F.broadcast(rows.select("airport")), "airport", "left_anti")
    return rows.unionByName(missing, allowMissingColumns=True).select(*names, since().alias("valid_from"))


def zone_of(column: str, among: Collection[str]) -> Zone:
    """The zone of each row's airport, null where none is known.

    Args:
        column: The column that holds the airport's code.
        among: The codes that occur in it.
    """
    # A set of codes for each zone, and no join: Spark reads a zone's rules once when its name is a constant.
    known = {code: zone for code, zone in zones().items() if code in among}
    codes = {name: sorted(code for code, its in known.items() if its == name) for name in sorted(set(known.values()))}
    airport = F.col(column)

    def choose(made: Callable[[str], Column]) -> Column:
        first, *others = codes
        chosen = F.when(airport.isin(codes[first]), made(first))
        for name in others:
            chosen = chosen.when(airport.isin(codes[name]), made(name))
        return chosen

    return choose


def zones() -> dict[str, str]:
    """Airport to IANA zone, of all airports with a known one."""
    table = pq.read_table(AIRPORTS.checked(), columns=["faa", "tzone"])
    found = {name: zone for name, zone in zip(*table.to_pydict().values(), strict=True) if zone is not None}
    return {name: zone for name, _, zone in ADDED} | found
