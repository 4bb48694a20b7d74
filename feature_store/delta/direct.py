"""Rows of chosen files of a table, read as the Parquet that they are.

For each version that is read and each condition that skips files, Delta runs jobs over the table's state: half a CPU second however few
rows are asked for. The log tells the same without a job, where no feature of Delta's changes what stands in the files.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import deltalake
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from feature_store.delta.changes import added, instant_micros
from feature_store.delta.log import ERASED, TableReader
from feature_store.records import Snapshot

__all__ = ["Files", "readable"]

_READABLE_FEATURES = frozenset(
    {"appendOnly", "invariants", "checkConstraints", "changeDataFeed", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}
)
_MOST = 32  # files; from more on Spark lists them in a job of its own
_PATTERN = re.compile(r"[][{}*?\\]")  # which a list of paths would take for more than a name
_FAR = 2**63


class Files:
    """The files of a pinned version of a table.

    Args:
        tables: Where it lies.
        snapshot: The version.
    """

    def __init__(self, tables: TableReader, snapshot: Snapshot) -> None:
        self._tables, self._snapshot = tables, snapshot
        self._log = deltalake.DeltaTable(tables.location(snapshot.table), version=snapshot.version)
        self._actions = pa.table(self._log.get_add_actions(flatten=True))

    def near(self, column: str, start: int, end: int) -> frozenset[str] | None:
        """Paths of the files in which a stretch of time may lie.

        Args:
            column: A timestamp column.
            start: Microseconds, the stretch's first.
            end: What lies after its last.

        Returns:
            None where the log says nothing of the column.
        """
        found = self._ranges(column)
        return None if found is None else frozenset(path for path, (first, last) in found.items() if first < end and last > start)

    def span(self, paths: frozenset[str], column: str) -> tuple[int, int] | None:
        """The half-open stretch of time, in microseconds, in which all rows of some files lie; None where the log does not tell."""
        found = self._ranges(column) or {}
        ranges = [found.get(path, (-_FAR, _FAR)) for path in paths]
        first, last = min((first for first, _ in ranges), default=-_FAR), max((last for _, last in ranges), default=_FAR)
        return None if first == -_FAR or last == _FAR else (first, last)

    def added_since(self, version: int) -> frozenset[str] | None:
        """Paths of the files that came after an earlier version; None where another thing happened than that rows came."""
        return added(self._tables, self._snapshot.table, version, self._snapshot.version)

    def rows(self, paths: frozenset[str]) -> DataFrame | None:
        """The rows of some files, with the columns of this version; None where only Delta can read them, or has the easier way."""
        tables, log = self._tables, self._log
        if not 0 < len(paths) <= _MOST or tables.warehouse.catalog is not None or not _plain(log):
            return None
        tables._check_format(self._snapshot.table, log)
        root = tables.warehouse.path(self._snapshot.table).rstrip("/")
        places = [f"{root}/{path}" for path in sorted(paths)]
        if any(_PATTERN.search(place) for place in places) or any("://" in path or path.startswith("/") for path in paths):
            return None
        return tables.spark.read.schema(StructType.fromJson(json.loads(log.schema().to_json()))).parquet(*places)

    def _ranges(self, column: str) -> dict[str, tuple[int, int]] | None:
        """Path to the half-open stretch of a file's times; of one without statistics, all time."""
        names = ["path", "num_records", f"min.{column}", f"max.{column}"]
        if column not in {field.name for field in self._log.schema().fields} or set(names) - set(self._actions.column_names):
            return None
        rows = zip(*(self._actions.column(name).to_pylist() for name in names), strict=True)
        return {unquote(path): _range(count, least, greatest) for path, count, least, greatest in rows}


def readable(log: deltalake.DeltaTable) -> bool:
    """Whether a version's files hold its rows and columns as they are: no deletion vectors, other names or other types."""
    protocol, settings = log.protocol(), log.metadata().configuration
    if settings.get("delta.columnMapping.mode", "none") != "none" or settings.get("delta.enableDeletionVectors") == "true":
        return False
    return protocol.min_reader_version < 3 or set(protocol.reader_features or ()) <= _READABLE_FEATURES


def _plain(log: deltalake.DeltaTable) -> bool:
    """Whether Spark reads a version's files as it would read the table; columns with a collation or a length of their own are not plain."""
    metadata = log.metadata()
    if metadata.partition_columns or ERASED in metadata.configuration or not readable(log):
        return False
    return not any(set(field.metadata) - {"comment"} for field in log.schema().fields)


def _range(count: Any, least: Any, greatest: Any) -> tuple[int, int]:
    if count == 0:
        return 0, 0
    if not isinstance(least, datetime) or not isinstance(greatest, datetime):
        return -_FAR, _FAR
    # They are cut off to the millisecond.
    return instant_micros(least), instant_micros(greatest) + 1_000
