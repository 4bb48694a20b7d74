"""The memory in which a worker's rows lie, encoded and in the order of the data: all of them where they fit, else as many blocks as are open.

A block is read by a task that a thread runs; its rows are gathered from here once, into their batches. Blocks of different shards may be
read at the same time, those of one shard one after the other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from heapq import heappop, heappush
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from sparkml_ops.training.dealing import most_blocks
from sparkml_ops.training.group_reader import GroupReader, Rows
from sparkml_ops.training.plan import Block, Group, Piece, Plan

__all__ = ["Resident", "Source", "Streamed", "Submit", "source_of"]

#: Bytes of encoded rows that a worker keeps.
BUDGET = 256 * 1024**2
Submit: TypeAlias = "Callable[..., Future[Any]]"


class Source(Protocol):
    """Blocks of a worker. Its methods are called by one thread."""

    rows: Rows

    def begin(self, block: Block, submit: Submit) -> tuple[int, list[Future[Any]]]:
        """Have a block read: where in `rows` it begins, and what must be done before it is there."""

    def end(self, place: int, gathers: Sequence[Future[Any]]) -> None:
        """The block that begins at a place is not needed any more once all is done that gathers rows of it."""

    def close(self) -> None:
        """End an epoch, of which nothing is under way any more: no file stays open."""


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
    """All rows of a worker, each decoded when it is first needed.

    Args:
        plan: Which row is where.
        reader: Decodes and encodes.
        rows: The worker's.
    """

    def __init__(self, plan: Plan, reader: GroupReader, rows: Block) -> None:
        self._plan, self._reader, self._range, self.rows = plan, reader, rows, reader.empty(rows.stop - rows.start)
        self._read: dict[Group, Future[None]] = {}

    def begin(self, block: Block, submit: Submit) -> tuple[int, list[Future[Any]]]:
        """Read the row groups that were not read before."""
        row, needed = block.start, []
        for piece in self._plan.pieces(block):
            if (read := self._read.get(piece.group)) is None or _failed(read):
                read = self._read[piece.group] = submit(self._load, piece.group, row - piece.start)
            needed.append(read)
            row += piece.stop - piece.start
        return block.start - self._range.start, needed

    def end(self, place: int, gathers: Sequence[Future[Any]]) -> None:
        """Rows stay."""

    def close(self) -> None:
        """Nothing is open."""

    def _load(self, group: Group, first: int) -> None:
        table, mine = self._reader.read(group), self._range
        low, high = max(mine.start, first), min(mine.stop, first + table.num_rows)
        self._reader.fill(self.rows[low - mine.start : high - mine.start], table.slice(low - first, high - low))


class Streamed:
    """Blocks in places that are used again, read some pages at a time.

    A page is decoded twice only where a shard, or an epoch of it, begins inside a row group.

    Args:
        plan: Which row is where.
        reader: Decodes and encodes.
        shards: The worker's.
    """

    def __init__(self, plan: Plan, reader: GroupReader, shards: range) -> None:
        self._plan, self._reader, bounds = plan, reader, [plan.shard(shard) for shard in shards]
        self._starts, self._ends = [rows.start for rows in bounds], {rows.stop for rows in bounds}
        self._each = min(plan.block_rows, bounds[0].stop - bounds[0].start)
        # Memory is that of the places that were ever used, which are the first ones, about one for each shard.
        self._places = len(shards) * most_blocks(plan, shards, self._each)
        self.rows = reader.empty(self._places * self._each)
        # One for each shard, and where the epoch of a shard has ended one more, until all have.
        self._most = 2 * len(shards)
        self._cursors: OrderedDict[tuple[Group, int], _Cursor] = OrderedDict()
        self._begin_anew()

    def begin(self, block: Block, submit: Submit) -> tuple[int, list[Future[Any]]]:
        """Read a block into a place that is free, or will be when the rows that are there are gathered."""
        place = heappop(self._free)
        shard = bisect_right(self._starts, block.start)
        before = [*self._gathers.pop(place, ()), *([self._latest[shard]] if shard in self._latest else [])]
        self._latest[shard] = loaded = submit(self._load, block, place, before)
        return place, [loaded]

    def end(self, place: int, gathers: Sequence[Future[Any]]) -> None:
        """The place may be used again."""
        self._gathers[place] = gathers
        heappush(self._free, place)

    def close(self) -> None:
        """As at the end of an epoch."""
        while self._cursors:
            self._cursors.popitem()[1].close()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._free = [number * self._each for number in range(self._places)]
        self._gathers: dict[int, Sequence[Future[Any]]] = {}
        self._latest: dict[int, Future[Any]] = {}

    def _load(self, block: Block, place: int, before: Sequence[Future[Any]]) -> None:
        for task in before:
            task.result()
        pieces = list(self._plan.pieces(block))
        for piece in pieces:
            for table in self._pages(piece):
                self._reader.fill(self.rows[place : place + table.num_rows], table)
                place += table.num_rows
        if block.stop in self._ends and (left := self._cursors.pop((pieces[-1].group, pieces[-1].stop), None)) is not None:
            left.close()

    def _pages(self, piece: Piece) -> Iterator[pa.Table]:
        # Taken out while it is read: another thread neither moves nor closes it.
        cursor = self._cursors.pop((piece.group, piece.start), None) or _Cursor(self._reader.pages(piece.group))
        yield from cursor.read(piece)
        if piece.stop == piece.group.rows:
            cursor.close()
        else:
            self._cursors[piece.group, piece.stop] = cursor
        if len(self._cursors) > self._most:
            self._cursors.popitem(last=False)[1].close()


class _Cursor:
    """A place in a row group."""

    def __init__(self, pages: Iterator[pa.Table]) -> None:
        self._pages, self._rest, self._at = pages, pa.table({}), 0

    def read(self, piece: Piece) -> Iterator[pa.Table]:
        """Go on to a piece that begins here or later, and read it."""
        while self._at < piece.stop:
            if not self._rest.num_rows:
                self._rest = next(self._pages)
            begins, here = self._at, min(self._rest.num_rows, (piece.start if self._at < piece.start else piece.stop) - self._at)
            if begins >= piece.start:
                yield self._rest.slice(0, here)
            self._rest, self._at = self._rest.slice(here), begins + here

    def close(self) -> None:
        """Close the file."""
        self._rest = pa.table({})
        close = getattr(self._pages, "close", None)
        if close is not None:
            close()


def _failed(task: Future[Any]) -> bool:
    return task.cancelled() or (task.done() and task.exception() is not None)
