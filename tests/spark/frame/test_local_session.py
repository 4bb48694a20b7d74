"""What a local session shares to start sooner: Java's archive of classes, and a Python with its libraries loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
from pyspark.sql import SparkSession

from sparkml_ops import session


def test_java_reads_sparks_classes_from_the_archive_of_the_set_up(spark: SparkSession) -> None:
    """It would start without a word, and slower, with an archive that does not fit its Java, its jars or their order."""
    java = next(child for child in psutil.Process().children(recursive=True) if child.name() == "java")

    assert str(session.class_archive()) in {mapped.path for mapped in java.memory_maps()}


def test_workers_are_forked_with_torch_loaded(spark: SparkSession) -> None:
    """No worker spends seconds on the import."""

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode().split("\0")
        yield pa.RecordBatch.from_pydict({"parent": ["sparkml_ops.daemon" in parent], "torch": ["torch" in sys.modules]})

    rows = spark.range(0, 2, 1, 2).mapInArrow(look, "parent boolean, torch boolean").collect()

    assert [tuple(row) for row in rows] == [(True, True)] * 2
