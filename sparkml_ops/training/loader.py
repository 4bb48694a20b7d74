"""Batches of a worker: row groups read by one thread ahead of need, encoded once, sliced.

Memory does not grow with the data: one shuffled block for each shard of the worker, two ahead, and encoded row groups
up to a fixed budget, which spare small data a second reading.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.training.plan import POSITION, SPLIT, Block, Group, Piece, Plan, open_parquet, usable

__all__ = ["Batch", "GroupReader", "Loader", "Rows"]

_AHEAD = 2
_BUDGET = 256 * 1024**2


@dataclass(frozen=True)
class Rows:
    """Encoded rows.

    Args:
        numeric: [rows, numbers] of the training's dtype.
        categories: [rows, categories] int32.
        label: [rows] 0 or 1, of the training's dtype.
        position: [rows] int64 `row_position`.
    """

    numeric: npt.NDArray[Any]
    categories: npt.NDArray[np.int32]
    label: npt.NDArray[Any]
    position: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def bytes(self) -> int:
        """Memory that the rows take."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> Rows:
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def join(cls, parts: Iterable[Rows]) -> Rows:
        """Rows one after the other."""
        whole = list(parts)
        return whole[0] if len(whole) == 1 else cls(*(np.concatenate([getattr(part, field.name) for part in whole]) for field in fields(cls)))


@dataclass(frozen=True)
class Batch:
    """This worker's part of a global batch, perhaps without rows.

    Args:
        step: Number of the global batch in its epoch.
        numeric, categories, label, position: The rows, shard by shard, as in `Rows`.
        shards: Shard and its number of rows, in the order of the rows.
        rows: Rows of the whole global batch: what a sum of losses is divided by.
    """

    step: int
    numeric: torch.Tensor
    categories: torch.Tensor
    label: torch.Tensor
    position: torch.Tensor
    shards: tuple[tuple[int, int], ...]
    rows: int


class GroupReader:
    """Reads and encodes the usable rows of row groups.

    Args:
        spec: Inputs and their preprocessing.
        label: Column of the label.
        split: The rows of this split are read.
        dtype: Of numbers and labels.
        budget: Bytes of encoded row groups to keep; others are read again when needed.
    """

    def __init__(self, spec: ModelSpec, *, label: str, split: str, dtype: npt.DTypeLike, budget: int = _BUDGET) -> None:
        self._encoder, self._label, self._split, self._dtype, self._budget = Encoder(spec), label, split, np.dtype(dtype), budget
        self._columns = list(dict.fromkeys([*(name for name, _ in spec.inputs), label, SPLIT, POSITION]))
        self._kept: OrderedDict[Group, Rows] = OrderedDict()

    def nothing(self) -> Rows:
        """No rows, of the right widths."""
        spec = self._encoder.spec
        numeric, categories = np.empty((0, spec.numeric_width), self._dtype), np.empty((0, len(spec.categorical)), np.int32)
        return Rows(numeric, categories, np.empty(0, self._dtype), np.empty(0, np.int64))

    def read(self, piece: Piece) -> Rows:
        """The rows of a piece of a row group."""
        rows = self._kept.pop(piece.group, None)
        if rows is None:
            rows = self._decode(piece.group)
        # Least recently used first: of small data all stays, of large data what the shards are in the middle of.
        self._kept[piece.group] = rows
        while sum(kept.bytes for kept in self._kept.values()) > self._budget:
            self._kept.popitem(last=False)
        return rows[piece.start : piece.stop]

    def _decode(self, group: Group) -> Rows:
        with open_parquet(group.path) as file:
            table = file.read_row_group(group.index, columns=self._columns, use_threads=False)
        table = table.filter(usable(table, self._split, self._label)).combine_chunks()
        encoded = self._encoder.encode(table, self._dtype)
        label = table.column(self._label).to_numpy().astype(self._dtype)
        return Rows(encoded.numeric, encoded.categories, label, table.column(POSITION).to_numpy().astype(np.int64))


class Loader:
    """The batches of one worker.

    Args:
        plan: Which row is in which batch.
        reader: Where rows come from.
        rank: This worker.
        size: Number of workers.
    """

    def __init__(self, plan: Plan, reader: GroupReader, *, rank: int, size: int) -> None:
        self.plan, self._reader, self._shards = plan, reader, plan.shards_of(rank, size)

    def batches(self, epoch: int, first: int = 0) -> Generator[Batch]:
        """This worker's part of each global batch of an epoch, from step `first` on."""
        queued: dict[int, deque[Rows]] = {shard: deque() for shard in self._shards}
        with self._blocks(epoch, first) as blocks:
            for step in range(first, self.plan.steps):
                yield self._batch(step, blocks, queued)

    def _batch(self, step: int, blocks: Iterator[tuple[int, Rows]], queued: Mapping[int, deque[Rows]]) -> Batch:
        parts: list[Rows] = []
        shards = tuple((shard, quota) for shard in self._shards if (quota := self.plan.quota(shard, step)))
        for shard, quota in shards:
            wanted = quota
            while wanted:
                while not queued[shard]:
                    # Blocks come in the order in which shards run out of rows.
                    owner, block = next(blocks)
                    queued[owner].append(block)
                head = queued[shard].popleft()
                parts.append(head[:wanted])
                if len(head) > wanted:
                    queued[shard].appendleft(head[wanted:])
                wanted -= len(parts[-1])
        rows = Rows.join(parts) if parts else self._reader.nothing()
        parts_of = (rows.numeric, rows.categories, rows.label, rows.position)
        numeric, categories, label, position = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts_of)
        return Batch(step, numeric, categories, label, position, shards, self.plan.batch_rows(step))

    @contextmanager
    def _blocks(self, epoch: int, first: int) -> Iterator[Iterator[tuple[int, Rows]]]:
        """Shuffled blocks with their shard, in the order of need, read ahead by one thread."""
        # One thread: decoding leaves the interpreter's lock, and a second one would only fight for this worker's core.
        with ThreadPoolExecutor(1, "training-loader") as pool:
            needs = iter(self._needs(epoch, first))
            pending: deque[Future[tuple[int, Rows]]] = deque(pool.submit(self._load, *need) for need in islice(needs, _AHEAD))

            def arrive() -> Iterator[tuple[int, Rows]]:
                while pending:
                    loaded = pending.popleft().result()
                    pending.extend(pool.submit(self._load, *need) for need in islice(needs, 1))
                    yield loaded

            try:
                yield arrive()
            finally:
                for future in pending:
                    future.cancel()

    def _needs(self, epoch: int, first: int) -> list[tuple[int, Block, int, int]]:
        """(shard, block, rows to leave out at its start, epoch), by the step and shard that ask first."""
        needs: list[tuple[int, int, int, Block, int]] = []
        for shard in self._shards:
            done, offset = self.plan.dealt(shard, first), 0
            for block in self.plan.blocks(shard, epoch):
                rows = block.stop - block.start
                if offset + rows > done:
                    skip = max(0, done - offset)
                    step = ((offset + skip) * self.plan.shards + shard) // self.plan.batch_size
                    needs.append((step, shard, offset, block, skip))
                offset += rows
        return [(shard, block, skip, epoch) for _, shard, _, block, skip in sorted(needs, key=lambda need: need[:3])]

    def _load(self, shard: int, block: Block, skip: int, epoch: int) -> tuple[int, Rows]:
        rows = Rows.join([self._reader.read(piece) for piece in self.plan.pieces(block)])
        return shard, rows[self.plan.order(block, epoch)[skip:]]
