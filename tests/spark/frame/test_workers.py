"""Python workers of a local session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession


def test_workers_are_forked_with_torch_loaded(spark: SparkSession) -> None:
    """No worker spends seconds on the import."""

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode().split("\0")
        yield pa.RecordBatch.from_pydict({"parent": ["sparkml_ops.daemon" in parent], "torch": ["torch" in sys.modules]})

    rows = spark.range(0, 2, 1, 2).mapInArrow(look, "parent boolean, torch boolean").collect()

    assert [tuple(row) for row in rows] == [(True, True)] * 2
