"""A pass of Python over the Arrow batches of a frame, whatever its columns are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

__all__ = ["in_arrow"]


def in_arrow(frame: DataFrame, work: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]], schema: StructType | str) -> DataFrame:
    """`frame.mapInArrow(work, schema)`, where PySpark reads the dot of a name `a.b` as a field's and stumbles over a backtick."""
    names = frame.columns
    if not any("." in name or "`" in name for name in names):
        return frame.mapInArrow(work, schema)

    def renamed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return work(batch.rename_columns(names) for batch in batches)

    return frame.toDF(*(f"column_{place}" for place in range(len(names)))).mapInArrow(renamed, schema)
