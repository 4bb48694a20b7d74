"""Scored rows before they are committed: written once, counted on their way."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from feature_store import hooks
from sparkml_ops.scoring.engines import REASON
from sparkml_ops.scoring.reason import Reason
from sparkml_ops.storage import Storage

__all__ = ["Staged", "staging"]

_EXAMPLES = 5


@dataclass(frozen=True)
class Staged:
    """Rows of one attempt.

    Args:
        frame: The rows; reads the staged files.
        rows: How many there are.
        reasons: Rows to quarantine by kind of reason.
    """

    frame: DataFrame
    rows: int
    reasons: Mapping[str, int]

    def examples(self) -> list[str]:
        """The most frequent reasons with their counts, for a message."""
        counts = self.frame.where(F.col(REASON).isNotNull()).groupBy(REASON).agg(F.count(F.lit(1)).alias("rows"))
        top = counts.orderBy(F.col("rows").desc(), F.col(REASON)).limit(_EXAMPLES).collect()
        return [f"{row['rows']} {row[REASON]}" for row in top]


@contextmanager
def staging(spark: SparkSession, storage: Storage, place: str, rows: DataFrame, schema: StructType) -> Iterator[Staged]:
    """Write rows to a folder of this attempt, which goes away at the end.

    The counts are exact: Spark adds a task's numbers once, when it succeeds, and the pass is the last stage.

    Args:
        place: Object name of all attempts at the same work.
        rows: Of the pass.
        schema: Of the rows.
    """
    folder = f"{place}/{uuid.uuid4().hex}"
    observed = Observation()
    kinds = {f"kind_{index}": reason for index, reason in enumerate(Reason)}
    counts = (F.count(F.when(F.col(REASON).startswith(reason.value), 1)).alias(name) for name, reason in kinds.items())
    try:
        with hooks.passing("scoring.stage"):
            rows.observe(observed, F.count(F.lit(1)).alias("rows"), *counts).write.parquet(storage.spark_path(folder))
        found = observed.get
        reasons = {reason.value: int(found[name]) for name, reason in kinds.items() if found[name]}
        yield Staged(spark.read.schema(schema).parquet(storage.spark_path(folder)), int(found["rows"]), reasons)
    finally:
        storage.remove(folder)
