"""The proof of an erasure: every file that is left is read, on the executors, and none may tell of the entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import functions as F

from feature_store.delta import LeftFile, Purge, left_files
from feature_store.delta.folder import CHANGE, CHECKPOINT, DATA, LOG
from feature_store.erasure.decode import Sought, inspect
from feature_store.erasure.entity import Entity
from feature_store.erasure.report import Proof
from feature_store.erasure.walk import Place

__all__ = ["Evidence", "proof_of", "search"]

# A task reads so many files or bytes at most, whichever is less work.
_FILES, _BYTES = 200, 1 << 30
_MADE = pa.schema([("table", pa.string()), ("kind", pa.string()), ("rows", pa.int64()), ("hits", pa.int64()), ("file", pa.string())])


@dataclass(frozen=True)
class Evidence:
    """What a search read and found in the files of one table and kind.

    Args:
        table: The table.
        kind: One of `feature_store.delta.folder`.
        files: How many were read.
        rows: Rows or entries in them.
        found: Files that tell of the entity.
        examples: Names of some of these, without their folders, whose names may hold the key.
    """

    table: str
    kind: str
    files: int
    rows: int
    found: int
    examples: tuple[str, ...]


def search(purge: Purge, places: Sequence[Place], entity: Entity) -> list[Evidence]:
    """Read every file of some tables, live, stale or in the log, in one job; nothing but counts comes back."""
    files = [(place.table, file) for place in places for file in left_files(purge.location(place.table))]
    if not files:
        return []
    sought = {place.table: place.sought(entity) for place in places}

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pylist([_read(row, sought) for row in batch.to_pylist()], schema=_MADE)

    rows = [(table, file.path, file.name, file.kind) for table, file in files]
    listed = purge.spark.createDataFrame(rows, "table string, path string, name string, kind string").repartition(_tasks(files))
    made = listed.mapInArrow(read, "table string, kind string, rows bigint, hits bigint, file string")
    counts = made.groupBy("table", "kind").agg(
        F.count("*").alias("files"),
        F.sum("rows").alias("rows"),
        F.count_if(F.col("hits") > 0).alias("found"),
        F.slice(F.sort_array(F.collect_set(F.when(F.col("hits") > 0, F.col("file")))), 1, 5).alias("examples"),
    )
    return [Evidence(row["table"], row["kind"], row["files"], row["rows"], row["found"], tuple(row["examples"])) for row in counts.collect()]


def proof_of(evidence: Sequence[Evidence]) -> Proof:
    """The evidence of all tables in five numbers."""
    data = [item for item in evidence if item.kind in (DATA, CHANGE)]
    log = [item for item in evidence if item.kind in (LOG, CHECKPOINT)]
    return Proof(
        data_files=sum(item.files for item in data),
        rows=sum(item.rows for item in data),
        log_files=sum(item.files for item in log),
        entries=sum(item.rows for item in log),
        findings=sum(item.found for item in evidence),
    )


def _read(row: Mapping[str, str], sought: Mapping[str, Sought]) -> dict[str, object]:
    rows, hits = inspect(row["path"], row["name"], row["kind"], sought[row["table"]])
    return {"table": row["table"], "kind": row["kind"], "rows": rows, "hits": hits, "file": row["name"].rsplit("/", 1)[-1]}


def _tasks(files: Sequence[tuple[str, LeftFile]]) -> int:
    return max(1, -(-len(files) // _FILES), -(-sum(file.size for _, file in files) // _BYTES))
