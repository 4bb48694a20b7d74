"""Batches of a worker: row groups read by one thread ahead of need, encoded once, sliced.

Memory does not grow with the data: one shuffled block for each shard of the worker, two ahead, and encoded row groups
up to a fixed budget, which spare small data a second reading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from sparkml_ops.training.group_reader import GroupReader, Rows
from sparkml_ops.training.plan import Block, Plan

__all__ = ["Batch", "Loader"]

_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """This worker's part of a global batch, perhaps without rows.

    Args:
        step: Number of the global batch in its epoch.
        numeric, categories, label, position, weight: The rows, shard by shard, as in `Rows`.
        shards: Shard and its number of rows, in the order of the rows.
        rows: Rows of the whole global batch: what a sum of losses is divided by.
    """

    step: int
    numeric: torch.Tensor
    categories: torch.Tensor
    label: torch.Tensor
    position: torch.Tensor
    weight: torch.Tensor
    shards: tuple[tuple[int, int], ...]
    rows: int

    def cut(self, parts: int) -> list[Batch]:
        """So many parts of this worker's rows, one after the other; what they are divided by stays."""
        whole = (self.numeric, self.categories, self.label, self.position, self.weight)
        cut = zip(*(torch.tensor_split(tensor, parts) for tensor in whole), strict=True)
        return [
            Batch(self.step, numeric, categories, label, position, weight, self.shards, self.rows)
            for numeric, categories, label, position, weight in cut
        ]


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
        parts_of = (rows.numeric, rows.categories, rows.label, rows.position, rows.weight)
        numeric, categories, label, position, weight = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts_of)
        return Batch(step, numeric, categories, label, position, weight, shards, self.plan.batch_rows(step))

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
