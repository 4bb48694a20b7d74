"""Doubled row keys of a window, found by 64-bit hashes of the key columns alone.

Rows with one key have one hash, so a window whose hashes all differ has no doubled key: that is the usual window, and this proof of it
is exact. Where two hashes agree, the keys themselves are asked, by Spark (checks.py): hashes of different keys may meet.
A hash is eight bytes a row, and they travel as a few long values of bytes, not as rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.arrow_pass import in_arrow
from feature_store.names import quote
from feature_store.pieces import Piece, piece_rows

__all__ = ["DoubledKeys", "KeyCounts", "count_frame_keys", "count_keys", "key_hashes"]

Hashes = npt.NDArray[np.uint64]

_BATCH = 1 << 17
# Hashes that one task compares: 32 MiB.
_BUCKET = 1 << 22
_SHIPPED = "bucket int, hashes binary, rows bigint, null_key bigint, null_time bigint, doubled boolean"
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class KeyCounts:
    """Rows of a window, as their key and time columns show them.

    Args:
        rows: All rows.
        null_key: Rows with a null in their key.
        null_time: Other rows without a spine time.
        doubled: Whether two rows may share a key; False is certain.
    """

    rows: int
    null_key: int
    null_time: int
    doubled: bool


@dataclass(frozen=True)
class _Keys:
    """Ships the hashes of a task's keys.

    Args:
        row_key: Columns that identify a row.
        spine_time: Column of its time.
        buckets: Into which hashes are dealt.
        single: Whether there is no other task: then it compares by itself.
    """

    row_key: tuple[str, ...]
    spine_time: str
    buckets: int
    single: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.row_key, self.spine_time)))

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """A row for each bucket of hashes; the first one has the task's counts."""
        found: list[Hashes] = [np.empty(0, np.uint64)]
        rows = null_key = null_time = 0
        for batch in batches:
            held = [batch.column(name).is_valid().to_numpy(zero_copy_only=False) for name in self.row_key if batch.column(name).null_count]
            whole = reduce(np.logical_and, held) if held else None
            keys = batch if whole is None else batch.filter(pa.array(whole))
            found.append(key_hashes([keys.column(name) for name in self.row_key]))
            rows, null_key = rows + batch.num_rows, null_key + batch.num_rows - keys.num_rows
            null_time += keys.column(self.spine_time).null_count
        hashes = np.concatenate(found)
        parts = [hashes] if self.buckets == 1 else _split(hashes, self.buckets)
        counts = zip(*[(rows, null_key, null_time), *[(0, 0, 0)] * (self.buckets - 1)], strict=True)
        doubled = [self.single and repeated(part) for part in parts]
        shipped = [b"" if self.single else part.tobytes() for part in parts]
        arrays = [pa.array(range(self.buckets), pa.int32()), pa.array(shipped, pa.binary()), *(pa.array(item, pa.int64()) for item in counts)]
        names = ["bucket", "hashes", "rows", "null_key", "null_time", "doubled"]
        yield pa.RecordBatch.from_arrays([*arrays, pa.array(doubled)], names=names)


@dataclass(frozen=True)
class _PieceKeys:
    """The same of the pieces of a task."""

    tasks: tuple[tuple[Piece, ...], ...]
    schema: pa.Schema
    keys: _Keys

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield from self.keys(piece_rows(self.tasks[task], self.schema, self.keys.columns, _BATCH))


def count_keys(spark: SparkSession, tasks: tuple[tuple[Piece, ...], ...], schema: pa.Schema, *, row_key: Sequence[str], spine_time: str) -> KeyCounts:
    """Read the key columns of all tasks' pieces, once.

    Args:
        tasks: The pieces of each task.
        schema: Arrow schema of the table.
        row_key: Columns that identify a row.
        spine_time: Column of its time.
    """
    if not tasks:
        return KeyCounts(0, 0, 0, doubled=False)
    single = len(tasks) == 1
    keys = _Keys(tuple(row_key), spine_time, _buckets(sum(piece.rows for pieces in tasks for piece in pieces)), single)
    shipped = spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(_PieceKeys(tasks, schema, keys), _SHIPPED)
    return _counts(shipped if single else shipped.groupBy("bucket").applyInArrow(_compared, _SHIPPED))


def count_frame_keys(frame: DataFrame, *, row_key: Sequence[str], spine_time: str, most_rows: int) -> KeyCounts:
    """The same of a frame, whose key columns go through Spark.

    Args:
        most_rows: That it may have.
    """
    keys = _Keys(tuple(row_key), spine_time, _buckets(most_rows))
    columns = [F.col(quote(name)) for name in keys.columns]
    return _counts(in_arrow(frame.select(*columns), keys, _SHIPPED).groupBy("bucket").applyInArrow(_compared, _SHIPPED))


def _buckets(rows: int) -> int:
    return -(-rows // _BUCKET) or 1


def _counts(shipped: DataFrame) -> KeyCounts:
    found = shipped.drop("hashes").collect()
    rows, null_key, null_time = (sum(int(row[name]) for row in found) for name in ("rows", "null_key", "null_time"))
    return KeyCounts(rows, null_key, null_time, any(row["doubled"] for row in found))


@dataclass(frozen=True)
class DoubledKeys:
    """The keys that more than one row has; few.

    Args:
        keys: Values of the key columns.
        hashes: Of these, sorted.
    """

    keys: frozenset[tuple[object, ...]]
    hashes: Hashes

    @classmethod
    def of(cls, table: pa.Table) -> DoubledKeys:
        """The keys of a table that has their columns alone."""
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return cls(frozenset(rows), np.sort(key_hashes([column.combine_chunks() for column in table.columns])))

    def among(self, columns: Sequence[pa.Array]) -> npt.NDArray[np.bool_]:
        """True at the rows that have one of these keys; keys are compared where their hashes agree."""
        like = np.flatnonzero(np.isin(key_hashes(columns), self.hashes))
        found = np.zeros(len(columns[0]), bool)
        taken = zip(*(column.take(pa.array(like)).to_pylist() for column in columns), strict=True)
        found[[row for row, key in zip(like.tolist(), taken, strict=True) if key in self.keys]] = True
        return found


def key_hashes(columns: Sequence[pa.Array]) -> Hashes:
    """A hash for each row's key; equal keys have equal ones. A single whole number is its own, so that no two meet.

    >>> key_hashes([pa.array([3, 4])]).tolist()
    [3, 4]
    >>> one, other, again = key_hashes([pa.array([3, 4, 3]), pa.array(["a", "a", "a"])])
    >>> bool(one == again), bool(one == other)
    (True, False)
    """
    hashed = _hashes(columns[0])
    for column in columns[1:]:
        hashed = _mixed(hashed) + _hashes(column)
    return hashed


def repeated(hashes: Hashes) -> bool:
    """Whether a value is there twice.

    >>> repeated(np.array([3, 1, 2], np.uint64)), repeated(np.array([3, 1, 3], np.uint64))
    (False, True)
    """
    if len(hashes) < 2 or bool((hashes[1:] > hashes[:-1]).all()):
        return False
    ordered = np.sort(hashes)
    return bool((ordered[1:] == ordered[:-1]).any())


def _compared(group: pa.Table) -> pa.Table:
    """All hashes of a bucket, whatever task they came from."""
    hashes = np.concatenate([np.frombuffer(part.as_buffer() or b"", np.uint64) for part in group.column("hashes")])
    sums = {name: [int(np.sum(group.column(name).to_numpy()))] for name in ("rows", "null_key", "null_time")}
    row = {"bucket": [group.column("bucket")[0].as_py()], "hashes": [b""], **sums, "doubled": [repeated(hashes)]}
    kinds = {"bucket": pa.int32(), "hashes": pa.binary(), **dict.fromkeys(sums, pa.int64()), "doubled": pa.bool_()}
    return pa.table(row, schema=pa.schema(kinds))


def _split(hashes: Hashes, buckets: int) -> list[Hashes]:
    place = _mixed(hashes) % np.uint64(buckets)
    return [hashes[place == bucket] for bucket in range(buckets)]


def _hashes(column: pa.Array) -> Hashes:
    """Of one column; that of null is any."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    elif not pa.types.is_integer(kind):
        return _text_hashes(column.cast(pa.string()))
    whole: Hashes = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False).view(np.uint64)
    return whole


def _text_hashes(column: pa.Array) -> Hashes:
    texts = column.fill_null("").dictionary_encode()
    known = pd.util.hash_array(texts.dictionary.to_numpy(zero_copy_only=False).astype(object), categorize=False)
    found: Hashes = known.astype(np.uint64)[texts.indices.to_numpy(zero_copy_only=False)]
    return found


def _mixed(values: Hashes) -> Hashes:
    """Bits of each value spread over all of it (the finaliser of SplitMix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = values + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        return mixed ^ (mixed >> np.uint64(31))
