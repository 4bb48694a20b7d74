"""Where a worker's blocks come from: rows that fit into memory are decoded once and stay, of more rows each shard has a place in its row group.

Each block is made in two stages, `fetch` (decoding, which leaves the interpreter's lock) and `shuffled` (encoding), so that two threads can
work on two blocks. `fetch` is called by one thread at a time, `shuffled` by one other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_ops.training.group_reader import GroupReader, Rows
from sparkml_ops.training.plan import Block, Group, Piece, Plan

__all__ = ["Resident", "Source", "Streamed", "source_of"]

#: Bytes of encoded rows that a worker keeps.
BUDGET = 256 * 1024**2


class Source(Protocol):
    """Blocks of a worker. What `shuffled` returns has a length, and `join` makes rows of parts of it."""

    def fetch(self, block: Block) -> Any:
        """Read what a block needs."""

    def shuffled(self, fetched: Any, block: Block, order: npt.NDArray[np.int64]) -> Any:
        """The block's rows in an order."""

    def join(self, parts: Sequence[tuple[Any, int, int]]) -> Rows:
        """Parts of blocks (block, start, stop), one after the other."""

    def close(self) -> None:
        """Leave no file open."""


def source_of(plan: Plan, reader: GroupReader, shards: range, budget: int = BUDGET) -> Source:
    """The source of a worker's shards.

    Args:
        plan: Which row is where.
        reader: Decodes and encodes.
        shards: The worker's.
        budget: Bytes of encoded rows up to which all of them stay in memory.
    """
    rows = Block(plan.shard(shards.start).start, plan.shard(shards[-1]).stop) if shards else Block(0, 0)
    if (rows.stop - rows.start) * reader.empty(1).bytes <= budget:
        return Resident(plan, reader, rows)
    return Streamed(plan, reader, shards)


class Resident:
    """All rows of a worker in their order, each decoded when it is first needed; a block is the places of its rows.

    Args:
        plan: Which row is where.
        reader: Decodes and encodes.
        rows: The worker's.
    """

    def __init__(self, plan: Plan, reader: GroupReader, rows: Block) -> None:
        self._plan, self._reader, self._range, self._rows = plan, reader, rows, reader.empty(rows.stop - rows.start)
        self._read: set[Group] = set()

    def fetch(self, block: Block) -> list[tuple[int, pa.Table]]:
        """Row groups that were not read before, each with the number of its first row."""
        row, fetched = block.start, []
        for piece in self._plan.pieces(block):
            if piece.group not in self._read:
                fetched.append((row - piece.start, self._reader.read(piece.group)))
                self._read.add(piece.group)
            row += piece.stop - piece.start
        return fetched

    def shuffled(self, fetched: list[tuple[int, pa.Table]], block: Block, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places of the block's rows."""
        for first, table in fetched:
            low, high = max(self._range.start, first), min(self._range.stop, first + table.num_rows)
            self._reader.fill(self._rows[low - self._range.start : high - self._range.start], table.slice(low - first, high - low))
        return order + (block.start - self._range.start)

    def join(self, parts: Sequence[tuple[npt.NDArray[np.int64], int, int]]) -> Rows:
        """One gathering for all shards of the worker."""
        return self._rows.take(np.concatenate([places[start:stop] for places, start, stop in parts]))

    def close(self) -> None:
        """Nothing is open."""


class Streamed:
    """Blocks read some pages at a time. A page is decoded twice only where a shard, or an epoch of it, begins inside a row group.

    Args:
        plan: Which row is where.
        reader: Decodes and encodes.
        shards: The worker's.
    """

    def __init__(self, plan: Plan, reader: GroupReader, shards: range) -> None:
        self._plan, self._reader, self._ends = plan, reader, {plan.shard(shard).stop for shard in shards}
        # One for each shard, and where the epoch of a shard has ended one more, until all have.
        self._most = 2 * len(shards)
        self._cursors: OrderedDict[tuple[Group, int], _Cursor] = OrderedDict()
        self._scratch = reader.empty(0)

    def fetch(self, block: Block) -> list[pa.Table]:
        """The block's rows in their order."""
        pieces = list(self._plan.pieces(block))
        found = [part for piece in pieces for part in self._pages(piece)]
        if block.stop in self._ends and (left := self._cursors.pop((pieces[-1].group, pieces[-1].stop), None)) is not None:
            left.close()
        return found

    def shuffled(self, fetched: list[pa.Table], block: Block, order: npt.NDArray[np.int64]) -> Rows:
        """The block's rows."""
        if len(self._scratch) < block.stop - block.start:  # one for all blocks, since new memory costs more than what is done in it
            self._scratch = self._reader.empty(block.stop - block.start)
        start = 0
        for table in fetched:
            self._reader.fill(self._scratch[start : start + table.num_rows], table)
            start += table.num_rows
        return self._scratch.take(order)

    def join(self, parts: Sequence[tuple[Rows, int, int]]) -> Rows:
        """Each part copied once."""
        cut = ([column[start:stop] for column in block.columns] for block, start, stop in parts)
        return Rows(*[np.concatenate(columns) for columns in zip(*cut, strict=True)])

    def close(self) -> None:
        """End what is open, as at the end of an epoch."""
        while self._cursors:
            self._cursors.popitem()[1].close()

    def _pages(self, piece: Piece) -> list[pa.Table]:
        cursor = self._cursors.pop((piece.group, piece.start), None) or _Cursor(self._reader.pages(piece.group))
        found = cursor.read(piece)
        if piece.stop == piece.group.rows:
            cursor.close()
        else:
            self._cursors[piece.group, piece.stop] = cursor
        if len(self._cursors) > self._most:
            self._cursors.popitem(last=False)[1].close()
        return found


class _Cursor:
    """A place in a row group."""

    def __init__(self, pages: Iterator[pa.Table]) -> None:
        self._pages, self._rest, self._at = pages, pa.table({}), 0

    def read(self, piece: Piece) -> list[pa.Table]:
        """Go on to a piece that begins here or later, and read it."""
        parts = []
        while self._at < piece.stop:
            if not self._rest.num_rows:
                self._rest = next(self._pages)
            begins, here = self._at, min(self._rest.num_rows, (piece.start if self._at < piece.start else piece.stop) - self._at)
            if begins >= piece.start:
                parts.append(self._rest.slice(0, here))
            self._rest, self._at = self._rest.slice(here), begins + here
        return parts

    def close(self) -> None:
        """Close the file."""
        self._rest = pa.table({})
        close = getattr(self._pages, "close", None)
        if close is not None:
            close()
