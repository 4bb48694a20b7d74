"""Batches of a worker: threads read and encode blocks ahead of need, and gather the rows of many steps at once from all shards.

A batch mixes as many blocks as the worker has shards, each from another place of the data. Memory does not grow with the data: about one
block for each shard; small data stays in memory, encoded, and is read once (`sources.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparkml_ops.training.dealing import Stretch, remaining, stretches
from sparkml_ops.training.group_reader import GroupReader, Rows
from sparkml_ops.training.plan import Block, Plan
from sparkml_ops.training.sources import BUDGET, Source, Submit, source_of

__all__ = ["Batch", "Loader"]

# Stretches of steps that are on their way while one is dealt.
_AHEAD = 2
# Decoding, arithmetic and gathering leave the interpreter's lock; on one core the second thread changes nothing.
_THREADS = 2


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
class _Open:
    """A block whose rows are yet to be dealt.

    Args:
        place: Where its rows begin in the source.
        needed: What must be done before they are there.
        order: Places of its rows in their order, once that is drawn.
        rows: How many there are, those that were dealt before left out.
        at: How many of them are dealt.
    """

    place: int
    needed: list[Future[Any]]
    order: Future[npt.NDArray[np.int64]]
    rows: int
    at: int = 0


#: Rows of an order that are dealt together.
_Part = tuple[_Open, int, int]


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
        threads = ThreadPoolExecutor(_THREADS, "training-loader")
        try:
            dealer = _Dealer(self.plan, self._source, self._shards, epoch, first, threads.submit)
            asked = ((stretch, *self._ask(dealer, stretch)) for stretch in stretches(self.plan, self._shards, first))
            pending = deque(islice(asked, _AHEAD))
            while pending:
                stretch, tensors, gathered = pending.popleft()
                pending.extend(islice(asked, 1))
                gathered.result()
                yield from self._cut(stretch, tensors)
        finally:
            threads.shutdown(cancel_futures=True)
            self._source.close()

    def _ask(self, dealer: _Dealer, stretch: Stretch) -> tuple[list[torch.Tensor], Future[None]]:
        """Memory for the rows of some steps, and what fills it."""
        # Torch's own memory begins at a line of the cache.
        like = (torch.from_numpy(column) for column in self._reader.empty(0).columns)
        tensors = [torch.empty((stretch.length, *column.shape[1:]), dtype=column.dtype) for column in like]
        return tensors, dealer.deal(stretch, Rows(*[tensor.numpy() for tensor in tensors]))

    def _cut(self, stretch: Stretch, tensors: list[torch.Tensor]) -> Iterator[Batch]:
        for step, start, rows in zip(stretch.steps, stretch.starts.tolist(), stretch.rows.T.tolist(), strict=True):
            numeric, categories, label, position, weight = (tensor[start : start + sum(rows)] for tensor in tensors)
            shards = tuple((shard, count) for shard, count in zip(self._shards, rows, strict=True) if count)
            yield Batch(step, numeric, categories, label, position, weight, shards, self.plan.batch_rows(step))


class _Dealer:
    """Has an epoch's rows gathered, stretch by stretch, and its blocks read in time.

    A task waits for tasks that were handed in before it, and never for a later one: with any number of threads one of them can go on.
    """

    def __init__(self, plan: Plan, source: Source, shards: range, epoch: int, first: int, submit: Submit) -> None:
        self._plan, self._source, self._epoch, self._submit = plan, source, epoch, submit
        self._blocks = {shard: remaining(plan, shard, epoch, first) for shard in shards}
        self._open: dict[int, _Open] = {}
        # What may be under way: one stretch is asked for as another arrives.
        self._gathers: deque[Future[None]] = deque(maxlen=_AHEAD + 1)

    def deal(self, stretch: Stretch, into: Rows) -> Future[None]:
        """Have the rows of some steps put into their places."""
        wanted = zip(self._blocks, stretch.rows.sum(axis=1).tolist(), strict=True)
        parts = [part for shard, rows in wanted for part in self._parts(shard, rows)]
        gathered: Future[None] = self._submit(_gather, self._source.rows, stretch, parts, into)
        self._gathers.append(gathered)
        for block, _, stop in parts:
            if stop == block.rows:
                # The one before may take longer, and had rows of it too.
                self._source.end(block.place, tuple(self._gathers))
        return gathered

    def _parts(self, shard: int, rows: int) -> Iterator[_Part]:
        """The next rows of a shard."""
        while rows:
            block = self._open.get(shard)
            if block is None or block.at == block.rows:
                block = self._open[shard] = self._begin(*next(self._blocks[shard]))
            start = block.at
            block.at = min(start + rows, block.rows)
            rows -= block.at - start
            yield block, start, block.at

    def _begin(self, block: Block, skip: int) -> _Open:
        place, needed = self._source.begin(block, self._submit)
        order = self._submit(lambda: self._plan.order(block, self._epoch)[skip:] + place)
        return _Open(place, needed, order, block.stop - block.start - skip)


def _gather(rows: Rows, stretch: Stretch, parts: list[_Part], into: Rows) -> None:
    """Put the rows of some steps into their places; between steps stands any row."""
    if not parts:
        return
    for block, _, _ in parts:
        for task in block.needed:
            task.result()
    ordered = np.concatenate([block.order.result()[start:stop] for block, start, stop in parts])
    found = np.full(stretch.length, ordered[0])
    found[stretch.places()] = ordered
    rows.gather(found, into)
