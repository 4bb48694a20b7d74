"""Row groups of a pinned snapshot's files, dealt to tasks by bytes, and their rows as a task reads them: columns only, plain pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from feature_store.scan import Scan, ScanFile

__all__ = ["Piece", "deal", "piece_rows"]


@dataclass(frozen=True)
class Piece:
    """Row groups of one file that a task reads.

    Args:
        path: Absolute path or address.
        groups: Which row groups; None: all.
        partition: Values of the file's partition columns.
        rows: How many these are.
        size: Bytes, about.
    """

    path: str
    groups: tuple[int, ...] | None
    partition: Mapping[str, str | None]
    rows: int
    size: int


def deal(scan: Scan, *, most_bytes: int, most_rows: int) -> tuple[tuple[Piece, ...], ...]:
    """The pieces of each task: neighbours, until the next one would be beyond a limit; a row group is never cut.

    >>> from feature_store.records import Snapshot
    >>> files = tuple(ScanFile(path, 10, 100, {}, groups) for path, groups in {"a": (4, 6), "b": (), "c": ()}.items())
    >>> tasks = deal(Scan(Snapshot("t", 0), pa.schema([]), files), most_bytes=1000, most_rows=20)
    >>> [[(piece.path, piece.groups) for piece in task] for task in tasks]
    [[('a', (0, 1)), ('b', None)], [('c', None)]]
    """
    tasks: list[list[Piece]] = []
    rows = size = 0
    for piece in (piece for file in scan.files for piece in _cut(file, most_bytes, most_rows)):
        if not tasks or rows + piece.rows > most_rows or size + piece.size > most_bytes:
            tasks.append([])
            rows = size = 0
        tasks[-1].append(piece)
        rows, size = rows + piece.rows, size + piece.size
    return tuple(map(tuple, tasks))


def _cut(file: ScanFile, most_bytes: int, most_rows: int) -> Iterator[Piece]:
    """A file as it is, or its row groups where it is too large for one task."""
    if len(file.row_groups) < 2 or (file.rows <= most_rows and file.size <= most_bytes):
        yield Piece(file.path, tuple(range(len(file.row_groups))) or None, file.partition, file.rows, file.size)
        return
    for index, rows in enumerate(file.row_groups):
        yield Piece(file.path, (index,), file.partition, rows, file.size * rows // max(file.rows, 1))


def piece_rows(pieces: Sequence[Piece], schema: pa.Schema, columns: Sequence[str], most: int, most_bytes: int = 1 << 26) -> Iterator[pa.RecordBatch]:
    """The rows of some pieces, in order.

    Args:
        pieces: Of one task.
        schema: Arrow schema of the table.
        columns: Which of its columns, in this order and in its types; one that a file does not have is its partition's value, or null.
        most: Rows of a batch.
        most_bytes: Bytes of a batch, by what the file says of its columns; one row at least.
    """
    shape = pa.schema([schema.field(name) for name in columns])
    for piece in pieces:
        files, address = fs.FileSystem.from_uri(piece.path) if "://" in piece.path else (fs.LocalFileSystem(), piece.path)
        with files.open_input_file(address) as handle, pq.ParquetFile(handle, coerce_int96_timestamp_unit="us") as parquet:
            stored = [name for name in columns if name in parquet.schema_arrow.names]
            rows = max(1, min(most, most_bytes // _width(parquet.metadata, set(stored), most_bytes)))
            # One thread: Spark runs a task a core already.
            for batch in parquet.iter_batches(rows, row_groups=piece.groups, columns=stored, use_threads=False):
                yield pa.RecordBatch.from_arrays([_column(batch, field, piece.partition) for field in shape], schema=shape)


def _width(footer: pq.FileMetaData, columns: Set[str], most_bytes: int) -> int:
    """Bytes of a row in some columns, as they are before compression: on average, or in the widest row group that fills a batch alone; at least one."""
    total = widest = 0
    for group in (footer.row_group(index) for index in range(footer.num_row_groups)):
        chunks = (group.column(index) for index in range(group.num_columns))
        size = sum(int(chunk.total_uncompressed_size) for chunk in chunks if chunk.path_in_schema.partition(".")[0] in columns)
        total += size
        if size > most_bytes:
            widest = max(widest, size // max(int(group.num_rows), 1))
    return max(1, widest, total // max(int(footer.num_rows), 1))


def _column(batch: pa.RecordBatch, field: pa.Field, partition: Mapping[str, str | None]) -> pa.Array:
    if field.name in batch.schema.names:
        column = batch.column(field.name)
        return column if column.type == field.type else pc.cast(column, field.type, safe=False)
    value = partition.get(field.name)
    return pa.repeat(pa.scalar(None, field.type) if value is None else pa.scalar(value).cast(field.type), batch.num_rows)
