"""Both ways to keep tables: below a folder, and in a schema of the session's catalog."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from feature_store.delta import Tables
from feature_store.names import Warehouse

__all__ = ["WAYS", "opened"]

WAYS = ("path", "catalog")


@contextmanager
def opened(way: str, spark: SparkSession, folder: Path) -> Iterator[Tables]:
    """The tables of an empty warehouse.

    Args:
        way: One of `WAYS`.
        folder: Where those below a folder lie.
    """
    if way == "path":
        yield Tables(spark, Warehouse(root=str(folder / "warehouse")))
        return
    schema = f"s{uuid.uuid4().hex}"
    spark.sql(f"CREATE SCHEMA {schema}")
    yield Tables(spark, Warehouse(catalog=f"spark_catalog.{schema}"))
    spark.sql(f"DROP SCHEMA {schema} CASCADE")
