"""Airlines and their codes."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from flights_project.register import since
from flights_project.rule import present
from flights_project.source_file import SourceFile

__all__ = ["AIRLINES", "airlines"]

AIRLINES = SourceFile("airlines.csv", {"carrier": "string", "name": "string"}, lambda: (present("carrier"), present("name")), key=("carrier",))


def airlines(spark: SparkSession) -> DataFrame:
    """One row for each airline: carrier (code of two signs), name, valid_from."""
    return AIRLINES.frame(spark).select("carrier", "name", since().alias("valid_from"))
