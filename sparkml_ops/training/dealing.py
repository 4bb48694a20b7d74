"""Where in its batch each row of a worker belongs, for many steps at once: one by one they would cost a loop over the shards each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_ops.training.plan import Block, Plan

__all__ = ["Stretch", "most_blocks", "remaining", "stretches"]

# A worker's rows in the steps that are gathered at once: few enough for a core's cache, enough to hide what a step costs by itself.
_ROWS = 16_384
# Batches begin at a row of which so many are whole lines of the cache, with whatever step an epoch begins: elsewhere sums may differ in the last bit.
_ALIGNED = 16


@dataclass(frozen=True)
class Stretch:
    """A worker's rows in some steps, the steps one after the other with gaps between them.

    Args:
        steps: Numbers of the global batches.
        rows: [shards, steps] rows of each of the worker's shards in each step.

    >>> stretch = Stretch(range(2), np.array([[2, 1], [1, 2]]))
    >>> stretch.starts.tolist(), stretch.length
    ([0, 16], 32)
    >>> stretch.places().tolist()  # of the first shard's three rows, and of the second's
    [0, 1, 16, 2, 17, 18]
    """

    steps: range
    rows: npt.NDArray[np.int64]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """[steps] place of the first row of each step."""
        ends: npt.NDArray[np.int64] = np.cumsum(self._room)
        return ends - self._room

    @property
    def length(self) -> int:
        """Places of all steps."""
        return int(self._room.sum())

    def places(self) -> npt.NDArray[np.int64]:
        """[rows] the place of each row, where rows come shard by shard: in its step they do so too."""
        into = self.starts + np.cumsum(self.rows, axis=0) - self.rows
        counts = self.rows.ravel()
        before = np.cumsum(counts) - counts
        places: npt.NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(into.ravel() - before, counts)
        return places

    @property
    def _room(self) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = -(-self.rows.sum(axis=0) // _ALIGNED) * _ALIGNED
        return found


def stretches(plan: Plan, shards: range, first: int = 0) -> Iterator[Stretch]:
    """The steps of an epoch from `first` on.

    Args:
        plan: Which row is in which batch.
        shards: The worker's.
        first: A step.
    """
    each = _steps(plan, shards)
    for start in range(first, plan.steps, each):
        steps = range(start, min(start + each, plan.steps))
        yield Stretch(steps, plan.quotas(shards, steps))


def most_blocks(plan: Plan, shards: range, block_rows: int) -> int:
    """How many blocks of a shard the rows of a stretch can lie in: whole ones, two in part, and the three short ones that an epoch has."""
    return plan.most(shards[:1], _steps(plan, shards)) // block_rows + 5


def _steps(plan: Plan, shards: range) -> int:
    return max(1, _ROWS // max(1, plan.most(shards)))


def remaining(plan: Plan, shard: int, epoch: int, first: int) -> Iterator[tuple[Block, int]]:
    """Blocks of a shard that an epoch still needs from a step on, each with the rows at its start that were dealt before."""
    done = plan.dealt(shard, first)
    for block in plan.blocks(shard, epoch):
        if done < block.stop - block.start:
            yield block, done
        done = max(0, done - (block.stop - block.start))
