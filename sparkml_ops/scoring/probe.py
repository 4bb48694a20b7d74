"""What the function that scoring uses says of a few rows, and what it takes: evidence for a release."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import LongType, StructType

from feature_store.names import quote
from sparkml_ops.scoring.engines import struct_udf
from sparkml_ops.scoring.published import PublishedModel

__all__ = ["measure", "sample"]

_PEAK = "__peak"
_MIB = 1 << 20


def sample(model: PublishedModel, rows: DataFrame, position: str, count: int) -> tuple[pa.Table, pa.Table]:
    """The first rows by their position, with the function's predictions.

    Args:
        model: Published to the executors.
        rows: With the model's inputs and the position.
        position: Column that orders rows and tells them apart.
        count: Of rows, at most.

    Returns:
        [rows] inputs and position, and [rows] outputs and `reason`, in the same order.
    """
    names = [field.name for field in model.inputs]
    first = rows.orderBy(quote(position)).limit(count)
    inputs = list(dict.fromkeys([*names, position]))
    scored = struct_udf(model, model.inputs, cast=False)(F.struct(*map(quote, names))).alias("scored")
    found = first.select(*map(quote, inputs), scored).sort(quote(position)).toArrow()
    return found.select(inputs), pa.Table.from_struct_array(found.column("scored"))


def measure(model: PublishedModel, rows: DataFrame) -> dict[str, float]:
    """Score rows twice, the first time for warmth.

    Args:
        model: Published to the executors.
        rows: With the model's inputs.

    Returns:
        `rows`, `rows_per_second` of the second pass, its planning and reading among it, and `peak_memory`: MiB of the largest Python
        worker so far, whatever it did before.
    """
    names = [field.name for field in model.inputs]
    function = struct_udf(model, model.inputs, cast=False)
    watched: Any = pandas_udf  # its stubs know no iterator of frames without the deprecated function type
    udf = watched(_watching(function.func), StructType([*function.returnType.fields, *StructType().add(_PEAK, LongType()).fields]))
    scored = rows.select(udf(F.struct(*map(quote, names))).alias("scored"))
    for _ in range(2):
        started = time.perf_counter()
        row = scored.agg(F.count(F.lit(1)).alias("rows"), F.max(f"scored.{_PEAK}").alias("peak")).first()
        seconds = time.perf_counter() - started
    assert row is not None
    return {"rows": float(row["rows"]), "rows_per_second": row["rows"] / seconds, "peak_memory": float(row["peak"] or 0) / _MIB}


def _watching(function: Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    def watch(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for scored in function(batches):
            # Linux counts in KiB.
            yield scored.assign(**{_PEAK: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})

    return watch
