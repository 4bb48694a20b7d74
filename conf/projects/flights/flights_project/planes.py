"""Planes, from the register of the Federal Aviation Administration."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from flights_project.register import since
from flights_project.rule import between, present
from flights_project.source_file import SourceFile

__all__ = ["PLANES", "planes"]

PLANES = SourceFile(
    "planes.csv",
    {
        "tailnum": "string",
        "year": "int",
        "type": "string",
        "manufacturer": "string",
        "model": "string",
        "engines": "int",
        "seats": "int",
        "engine": "string",
    },
    lambda: (present("tailnum"), between("year", 1903, 2013, "(year of manufacture)"), between("seats", 1, 1000, "seats")),
    key=("tailnum",),
)


def planes(spark: SparkSession) -> DataFrame:
    """One row for each plane: tailnum, built (year), plane_type, manufacturer, model, engines, seats, engine, valid_from.

    The register is one extract of 2013 without a history; it does not know 52,606 flights' planes.
    """
    return PLANES.frame(spark).select(
        "tailnum",
        F.col("year").alias("built"),
        F.col("type").alias("plane_type"),
        "manufacturer",
        "model",
        "engines",
        "seats",
        "engine",
        since().alias("valid_from"),
    )
