"""Which row is trained on when, as data: the same for any number of workers and any cut into files.

The usable rows of a split, in order of `row_position`, are numbered 0 to n-1 and cut into a fixed number of
shards. In each epoch a shard puts its rows into an order of its own, and the rows of all shards are dealt in
turn: the k-th row of the epoch is row k // shards of shard k % shards, and belongs to step k // batch_size.
So the rows of a global batch are known without a word between workers, and (epoch, step) is a place to resume.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparkml_ops.errors import ContractError

if TYPE_CHECKING:  # a rank imports this module, and Spark's classes would cost it a second
    from feature_store.scan import Scan

__all__ = ["POSITION", "SPLIT", "WEIGHT", "Block", "Group", "Piece", "Plan", "completed", "open_parquet", "plan_groups", "usable"]

SPLIT = "split"
POSITION = "row_position"
WEIGHT = "sample_weight"
_BLOCK_ROWS = 32_768


@dataclass(frozen=True)
class Group:
    """A Parquet row group.

    Args:
        path: Its file.
        index: Its number in the file.
        rows: Its usable rows of one split.
        constants: Name, value and type of each partition column: they stand in the log, and not in the file.
    """

    path: str
    index: int
    rows: int
    constants: tuple[tuple[str, Any, pa.DataType], ...] = ()


@dataclass(frozen=True)
class Block:
    """Rows start to stop of a split: what is shuffled in memory at once."""

    start: int
    stop: int


@dataclass(frozen=True)
class Piece:
    """Usable rows start to stop of one row group."""

    group: Group
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The rows of a split and their order in each epoch.

    Args:
        groups: Row groups with usable rows, in order of `row_position`.
        shards: Logical parts, whatever the number of workers.
        batch_size: Rows of a global batch; the last one of an epoch may be smaller.
        seed: Of the order.
        shuffle: False keeps each shard in order of `row_position` (validation).
        block_rows: Most rows that are shuffled in memory at once.

    >>> plan = Plan((Group("a", 0, 3), Group("b", 0, 4)), shards=2, batch_size=4, seed=1)
    >>> plan.rows, plan.steps, [plan.quota(shard, 1) for shard in range(2)]
    (7, 2, [2, 1])
    """

    groups: tuple[Group, ...]
    shards: int
    batch_size: int
    seed: int
    shuffle: bool = True
    block_rows: int = _BLOCK_ROWS

    @cached_property
    def rows(self) -> int:
        """Usable rows of the split."""
        return sum(group.rows for group in self.groups)

    @property
    def steps(self) -> int:
        """Global batches of an epoch."""
        return -(-self.rows // self.batch_size)

    def batch_rows(self, step: int) -> int:
        """Rows of a global batch, all workers together."""
        return min(self.rows, (step + 1) * self.batch_size) - step * self.batch_size

    def shards_of(self, rank: int, size: int) -> range:
        """The shards that a worker reads."""
        return range(self.shards * rank // size, self.shards * (rank + 1) // size)

    def shard(self, shard: int) -> Block:
        """The rows of a shard: a contiguous range, equal in size up to one row."""
        each, more = divmod(self.rows, self.shards)
        return Block(shard * each + min(shard, more), (shard + 1) * each + min(shard + 1, more))

    def dealt(self, shard: int, step: int) -> int:
        """How many rows of a shard lie before a step."""
        return (min(step * self.batch_size, self.rows) - shard + self.shards - 1) // self.shards

    def quota(self, shard: int, step: int) -> int:
        """How many rows of a shard are in a step."""
        return self.dealt(shard, step + 1) - self.dealt(shard, step)

    def quotas(self, shards: range, steps: range) -> npt.NDArray[np.int64]:
        """[shards, steps] how many rows of each shard are in each step: the same as `quota`, of many at once."""
        ends = np.minimum(np.arange(steps.start, steps.stop + 1) * self.batch_size, self.rows)
        dealt = (ends - np.array(shards, np.int64).reshape(-1, 1) + self.shards - 1) // self.shards
        found: npt.NDArray[np.int64] = np.diff(dealt, axis=1)
        return found

    def most(self, shards: range, steps: int = 1) -> int:
        """How many rows of some shards of a worker so many steps hold at most."""
        return -(-steps * self.batch_size * len(shards) // self.shards)

    def blocks(self, shard: int, epoch: int) -> tuple[Block, ...]:
        """The blocks of a shard in the order of an epoch.

        Rows lie in the order of a hash already: a start that is drawn each epoch, and a new order inside each block,
        mix them again, while row groups are read one after the other. First blocks differ in size, so that shards need
        their next ones in turn, and not all at once: reading goes on beside the steps.
        """
        whole = self.shard(shard)
        rows = whole.stop - whole.start
        if rows <= self.block_rows:
            return (whole,) if rows else ()
        first = whole.start + (int(np.random.default_rng((self.seed, epoch, shard)).integers(rows)) if self.shuffle else 0)
        second = min(first + max(1, self.block_rows * (shard + 1) // self.shards), whole.stop)
        return (Block(first, second), *self._cut(second, whole.stop), *self._cut(whole.start, first))

    def _cut(self, start: int, stop: int) -> Iterator[Block]:
        for begins in range(start, stop, self.block_rows):
            yield Block(begins, min(begins + self.block_rows, stop))

    def order(self, block: Block, epoch: int) -> npt.NDArray[np.int64]:
        """The order of a block's rows in an epoch, counted from its start."""
        if not self.shuffle:
            return np.arange(block.stop - block.start)
        return np.random.default_rng((self.seed, epoch, block.start, block.stop)).permutation(block.stop - block.start)

    def pieces(self, block: Block) -> Iterator[Piece]:
        """The parts of row groups that make up a block, in order."""
        starts = self._starts
        for index in range(bisect_right(starts, block.start) - 1, len(self.groups)):
            first, group = starts[index], self.groups[index]
            if first >= block.stop:
                return
            low, high = max(block.start - first, 0), min(block.stop - first, group.rows)
            if low < high:
                yield Piece(group, low, high)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(group.rows for group in self.groups)][:-1]


def plan_groups(scan: Scan, *, label: str, splits: Sequence[str]) -> dict[str, tuple[Group, ...]]:
    """Count the usable rows of each split in each row group, reading the split and the label only.

    Args:
        scan: The training set's files.
        label: Column of the label; rows without one are pending and not usable.
        splits: Splits to count.

    Raises:
        ContractError: A column is missing, or the files are not in order of `row_position`.
    """
    if missing := [column for column in (SPLIT, POSITION, label) if column not in scan.schema.names]:
        raise ContractError(f"`{scan.snapshot.table}` without {missing}", expected="split, row_position and the label", mend="build it anew")
    found = [measured for file in scan.files for measured in _measure(file.path, _constants(file.partition, scan.schema), label, splits)]
    found.sort(key=lambda measured: measured[0])
    for (_, last, _, _), (first, _, group, _) in pairwise(found):
        if first <= last:
            raise ContractError(
                f"row_position {first} in {group.path} after {last}", expected="row groups in its order", mend="build the training set anew"
            )
    return {split: tuple(replace(group, rows=counts[split]) for _, _, group, counts in found if counts[split]) for split in splits}


def _constants(partition: Mapping[str, str | None], schema: pa.Schema) -> tuple[tuple[str, Any, pa.DataType], ...]:
    """Partition values, which the log keeps as text, as what their columns hold."""
    types = {name: schema.field(name).type for name in partition}
    return tuple((name, pa.scalar(value, pa.string()).cast(types[name]).as_py(), types[name]) for name, value in partition.items())


def _measure(
    path: str, constants: tuple[tuple[str, Any, pa.DataType], ...], label: str, splits: Sequence[str]
) -> Iterator[tuple[int, int, Group, dict[str, int]]]:
    """First and last position, place and usable rows of each row group of a file."""
    stored = [column for column in (SPLIT, label) if column not in {name for name, *_ in constants}] or [POSITION]
    with open_parquet(path) as file:
        for index in range(file.num_row_groups):
            if file.metadata.row_group(index).num_rows:
                table = completed(file.read_row_group(index, columns=stored, use_threads=False), constants)
                counts = {split: int(pc.sum(usable(table, split, label)).as_py() or 0) for split in splits}
                yield (*_bounds(file, index), Group(path, index, 0, constants), counts)


def completed(rows: pa.Table, constants: Sequence[tuple[str, Any, pa.DataType]]) -> pa.Table:
    """Rows of a file with the columns that only the log has."""
    for name, value, kind in constants:
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, kind), rows.num_rows))
    return rows


def _bounds(file: pq.ParquetFile, index: int) -> tuple[int, int]:
    """First and last position of a row group: from the footer, or from the column where the writer left them out."""
    group = file.metadata.row_group(index)
    chunk = next(column for column in map(group.column, range(group.num_columns)) if column.path_in_schema == POSITION)
    if chunk.statistics is not None and chunk.statistics.has_min_max:
        return int(chunk.statistics.min), int(chunk.statistics.max)
    bounds = pc.min_max(file.read_row_group(index, columns=[POSITION], use_threads=False).column(0)).as_py()
    return int(bounds["min"]), int(bounds["max"])


def usable(table: pa.Table, split: str, label: str) -> pa.ChunkedArray:
    """Which rows belong to a split and have a label."""
    return pc.fill_null(pc.and_(pc.equal(table.column(SPLIT), pa.scalar(split)), pc.is_valid(table.column(label))), False)


@contextmanager
def open_parquet(path: str, **options: Any) -> Iterator[pq.ParquetFile]:
    """A Parquet file by path or address.

    Args:
        path: A local path, or an address that fsspec opens.
        options: Of `pq.ParquetFile`; a store far away is read in as few calls as there can be, whatever they say.
    """
    if "://" not in path:
        with _local({"source": path, "pre_buffer": True} | options) as file:
            yield file
        return
    with fsspec.open(path, "rb") as source, pq.ParquetFile(source, pre_buffer=True) as file:
        yield file


def _local(options: dict[str, Any]) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(**options)
    except OSError:
        if not options.get("memory_map"):
            raise
        # There are mounts of stores whose files can be read and not mapped.
        return pq.ParquetFile(**options | {"memory_map": False})
