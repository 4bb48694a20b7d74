"""Batches of a worker: blocks decoded by one thread ahead of need, encoded and shuffled by another, dealt from all shards at once.

A batch mixes as many blocks as the worker has shards, each from another place of the data. Memory does not grow with the data: one shuffled
block for each shard and two ahead; small data stays in memory, encoded, and is read once (`sources.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch

from sparkml_ops.training.group_reader import GroupReader
from sparkml_ops.training.plan import Block, Plan
from sparkml_ops.training.sources import BUDGET, source_of

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


@dataclass
class _Queue:
    """Blocks of a shard whose rows are yet to be dealt.

    Args:
        blocks: In the order of the epoch.
        at: Rows of the first one that are dealt already.
    """

    blocks: deque[Any] = field(default_factory=deque)
    at: int = 0

    def take(self, most: int) -> tuple[Any, int, int]:
        """The next rows of the first block: block, start and stop."""
        head, start = self.blocks[0], self.at
        stop = min(start + most, len(head))
        self.at = stop
        if stop == len(head):
            self.blocks.popleft()
            self.at = 0
        return head, start, stop


class Loader:
    """The batches of one worker.

    Args:
        plan: Which row is in which batch.
        reader: Where rows come from.
        rank: This worker.
        size: Number of workers.
        budget: Bytes of encoded rows up to which this worker keeps all of its rows in memory.
    """

    def __init__(self, plan: Plan, reader: GroupReader, *, rank: int, size: int, budget: int = BUDGET) -> None:
        self.plan, self._reader, self._shards = plan, reader, plan.shards_of(rank, size)
        self._source = source_of(plan, reader, self._shards, budget)

    def batches(self, epoch: int, first: int = 0) -> Generator[Batch]:
        """This worker's part of each global batch of an epoch, from step `first` on."""
        queued = {shard: _Queue() for shard in self._shards}
        with self._blocks(epoch, first) as blocks:
            for step in range(first, self.plan.steps):
                yield self._batch(step, blocks, queued)

    def _batch(self, step: int, blocks: Iterator[tuple[int, Any]], queued: Mapping[int, _Queue]) -> Batch:
        parts: list[tuple[Any, int, int]] = []
        shards = self.plan.quotas(self._shards, step)
        for shard, quota in shards:
            wanted = quota
            while wanted:
                while not queued[shard].blocks:
                    # Blocks come in the order in which shards run out of rows.
                    owner, block = next(blocks)
                    queued[owner].blocks.append(block)
                parts.append(part := queued[shard].take(wanted))
                wanted -= part[2] - part[1]
        rows = self._source.join(parts) if parts else self._reader.empty(0)
        numeric, categories, label, position, weight = (torch.from_numpy(np.ascontiguousarray(column)) for column in rows.columns)
        return Batch(step, numeric, categories, label, position, weight, tuple(shards), self.plan.batch_rows(step))

    @contextmanager
    def _blocks(self, epoch: int, first: int) -> Iterator[Iterator[tuple[int, Any]]]:
        """Shuffled blocks with their shard, in the order of need."""
        # One thread for each stage: decoding leaves the interpreter's lock, and more would only fight for this worker's core.
        with ThreadPoolExecutor(1, "training-decoder") as decoder, ThreadPoolExecutor(1, "training-encoder") as encoder:
            needs = iter(self._needs(epoch, first))
            pending: deque[Future[tuple[int, Any]]] = deque()

            def ask(count: int) -> None:
                for shard, block, skip in islice(needs, count):
                    fetched = decoder.submit(self._source.fetch, block)
                    pending.append(encoder.submit(self._shuffled, fetched, shard, block, skip, epoch))

            def arrive() -> Iterator[tuple[int, Any]]:
                ask(_AHEAD)
                while pending:
                    loaded = pending.popleft().result()
                    ask(1)
                    yield loaded

            try:
                yield arrive()
            finally:
                # The blocks that are on their way are finished: what stays in memory counts on them.
                decoder.submit(self._source.close)

    def _shuffled(self, fetched: Future[Any], shard: int, block: Block, skip: int, epoch: int) -> tuple[int, Any]:
        return shard, self._source.shuffled(fetched.result(), block, self.plan.order(block, epoch)[skip:])

    def _needs(self, epoch: int, first: int) -> list[tuple[int, Block, int]]:
        """(shard, block, rows to leave out at its start), by the step and shard that ask first."""
        needs: list[tuple[int, int, int, Block, int]] = []
        for shard in self._shards:
            done, offset = self.plan.dealt(shard, first), 0
            for block in self.plan.blocks(shard, epoch):
                rows = block.stop - block.start
                if offset + rows > done:
                    skip = max(0, done - offset)
                    needs.append((self.plan.asked(shard, offset + skip), shard, offset, block, skip))
                offset += rows
        return [(shard, block, skip) for _, shard, _, block, skip in sorted(needs, key=lambda need: need[:3])]
