"""Reading the files of a pinned snapshot inside a task: columns only, whole row groups, plain pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from feature_store.scan import Scan, ScanFile

__all__ = ["FileReader", "tasks_of"]

# Rows of a batch, and values of all its columns.
_ROWS, _VALUES = 1 << 17, 1 << 24
_PARTITION = "partition:"


def tasks_of(scan: Scan, where: Mapping[str, str]) -> pa.Table:
    """One row for each row group (or file, where the scan does not know them), ordered, with its partition's values.

    A file whose partition contradicts `where` is left out.
    """
    partitions = sorted({name for file in scan.files for name in file.partition})
    rows = [
        {"path": file.path, "group": group, **{_PARTITION + name: file.partition.get(name) for name in partitions}}
        for file in scan.files
        if _matches(file, where)
        for group in (range(len(file.row_groups)) if file.row_groups else [None])
    ]
    schema = pa.schema([("path", pa.string()), ("group", pa.int32()), *((_PARTITION + name, pa.string()) for name in partitions)])
    return pa.Table.from_pylist(rows, schema)


def _matches(file: ScanFile, where: Mapping[str, str]) -> bool:
    return all(file.partition[name] == value for name, value in where.items() if name in file.partition)


@dataclass(frozen=True)
class FileReader:
    """Reads the rows of some tasks.

    Args:
        schema: Arrow schema of the table.
        columns: What to return, in this order.
        where: Only rows with these values.
    """

    schema: pa.Schema
    columns: tuple[str, ...]
    where: Mapping[str, str]

    def __call__(self, tasks: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The rows of the tasks in order, in batches."""
        for task in tasks.to_pylist():
            partition = {name.removeprefix(_PARTITION): value for name, value in task.items() if name.startswith(_PARTITION)}
            yield from self._read(task["path"], task["group"], partition)

    def _read(self, path: str, group: int | None, partition: Mapping[str, str | None]) -> Iterator[pa.RecordBatch]:
        files, address = fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), path)
        conditions = {name: value for name, value in self.where.items() if name not in partition}
        wanted = list(dict.fromkeys([*self.columns, *conditions]))
        with files.open_input_file(address) as handle, pq.ParquetFile(handle) as parquet:
            stored = [name for name in wanted if name in parquet.schema_arrow.names]
            groups = None if group is None else [group]
            size = max(1, min(_ROWS, _VALUES // max(len(stored), 1)))
            for batch in parquet.iter_batches(size, row_groups=groups, columns=stored, use_threads=False):
                yield self._shaped(batch, partition, conditions)

    def _shaped(self, batch: pa.RecordBatch, partition: Mapping[str, str | None], conditions: Mapping[str, str]) -> pa.RecordBatch:
        """The wanted columns in the table's types; a column that the file does not have is its partition's value, or null."""
        columns = {name: self._column(batch, name, partition) for name in [*self.columns, *conditions]}
        shaped = pa.RecordBatch.from_pydict(columns)
        for name, value in conditions.items():
            kept = pc.equal(shaped.column(name), pa.scalar(value).cast(shaped.column(name).type))
            shaped = shaped.filter(pc.fill_null(kept, False))
        return shaped.select(list(self.columns))

    def _column(self, batch: pa.RecordBatch, name: str, partition: Mapping[str, Any]) -> pa.Array:
        kind = self.schema.field(name).type
        if name in batch.schema.names:
            return pc.cast(batch.column(name), kind, safe=False)
        value = partition.get(name)
        scalar = pa.scalar(None, kind) if value is None else pa.scalar(value).cast(kind)
        return pa.repeat(scalar, batch.num_rows)
