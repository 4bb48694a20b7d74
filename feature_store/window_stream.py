"""Windows over a stream of Arrow batches sorted by entity and time, in bounded memory.

Rows arrive sorted by key and by the instant from which an event counts; a chunk of them is answered
at once, all entities in it together, and of the entity that goes on only the events that still count
stay for the next chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.exact_sum import Ints
from feature_store.window_values import Events, Flags, Measure, Places, numbers, one_array

__all__ = ["WindowPlan", "window_batches"]

_ROWS = 1 << 17  # rows of a chunk and places of a block: what stays in a core's cache, roughly


@dataclass(frozen=True)
class WindowPlan:
    """What to compute from a stream of batches.

    The stream has the columns `keys`, `time` (microseconds at which an event starts to count, or at which
    windows are read), values and flags; `event` and `known`, but where there is a `delay`; `until`, where rows are
    corrected (the event counts before it; null: for ever). Windows are read on a grid of `slide` microseconds, or
    without `slide` at the rows whose column `spine`, a list of one row, is not null; that row is handed on.

    Args:
        keys: Columns that name the entity.
        windows: Lengths in microseconds.
        open_left: 0 where windows are (g - length, g], 1 where they are [g - length, g).
        measures: What to compute.
        slide: Distance of grid instants in microseconds.
        time: Output column of the grid instant.
        rows: Rows of a chunk, and places of a block.
        delay: Microseconds from each event to when it is known, of which `time` is the later one; None: a column says it.
        between: Half-open stretch in microseconds of which grid instants are read; None: all.
    """

    keys: tuple[str, ...]
    windows: tuple[int, ...]
    open_left: int
    measures: tuple[Measure, ...]
    slide: int | None = None
    time: str = "time"
    rows: int = _ROWS
    delay: int | None = None
    between: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Rest:
    """What a chunk leaves for the next one: events that still count, and the first grid instant not yet read."""

    table: pa.Table
    grid: int = 0


def window_batches(batches: Iterable[pa.RecordBatch], plan: WindowPlan) -> Iterator[pa.RecordBatch]:
    """Answer a stream; the whole of one entity's rows must lie in one stream.

    Args:
        batches: Sorted by keys and `time`, events before rows of the spine.
        plan: What to compute.
    """
    waiting: list[pa.RecordBatch] = []
    rest: _Rest | None = None
    for batch in batches:
        waiting.append(batch)
        # Twice the rest, so that a long window is not read again for every few new rows.
        if sum(map(len, waiting)) >= max(plan.rows, len(rest.table) if rest else 0):
            chunk = _Chunk(plan, waiting, rest, final=False)
            waiting, rest = [], None  # the chunk has its own copy
            yield from chunk.answers()
            rest = chunk.rest()
            del chunk
    if waiting or (rest and len(rest.table)):
        yield from _Chunk(plan, waiting, rest, final=True).answers()


class _Chunk:
    """Some consecutive rows of the stream, and the events before them that still count."""

    def __init__(self, plan: WindowPlan, waiting: Sequence[pa.RecordBatch], rest: _Rest | None, *, final: bool) -> None:
        self.plan, self.final = plan, final
        self.carried = rest.grid if rest and len(rest.table) else None
        parts = ([rest.table] if rest else []) + ([pa.Table.from_batches(waiting)] if waiting else [])
        self.table = pa.concat_tables(parts).combine_chunks()
        self.group = np.cumsum(_changes(self.table, plan.keys)) - 1
        self.time = numbers(self.table["time"])
        self.event = numbers(self.table["event"]) if plan.delay is None else self.time - max(plan.open_left, plan.delay)
        self.leaves = [self.event + window + plan.open_left for window in plan.windows]
        if "until" in self.table.column_names:
            until = np.asarray(pc.fill_null(one_array(self.table["until"]), np.iinfo(np.int64).max), dtype=np.int64)
            self.leaves = [np.minimum(leave, until) for leave in self.leaves]
        self.queries = np.asarray(one_array(self.table["spine"]).is_valid()) if plan.slide is None else np.zeros(len(self.table), dtype=bool)

    def answers(self) -> Iterator[pa.RecordBatch]:
        return self._at_rows() if self.plan.slide is None else self._on_grid(self.plan.slide)

    def rest(self) -> _Rest:
        """Events of the last entity that may count later."""
        slide, last = self.plan.slide, self.group == self.group[-1]
        leaves = np.max(self.leaves, axis=0)
        if slide is None:
            return _Rest(self.table.filter(pa.array(last & ~self.queries & (leaves > self.time[-1]))))
        # Up to and with the grid instant at which it has left, since that one tells that the window is empty.
        return _Rest(self.table.filter(pa.array(last & (_ceil(leaves, slide) >= self._limit(slide)))), self._limit(slide))

    def _limit(self, slide: int) -> int:
        """The first grid instant that later rows may still change: those before the last row's time are settled."""
        return int(_ceil(self.time[-1:], slide)[0])

    def _events(self, rows: Ints) -> Events:
        names = {name for item in self.plan.measures for name in (item.value, item.order, item.where) if name}
        known = numbers(self.table["known"]) if self.plan.delay is None else self.event + self.plan.delay
        return Events(self.table.select(sorted(names)).take(pa.array(rows)), self.group[rows], self.event[rows], known[rows])

    def _at_rows(self) -> Iterator[pa.RecordBatch]:
        events, asked = np.flatnonzero(~self.queries), np.flatnonzero(self.queries)
        if not len(asked):
            return
        instants = np.unique(self.time[asked])

        def first(group: Ints, time: Ints) -> Ints:
            """The first question of an entity at or after a time; after its last one, the next entity's first."""
            return group * len(instants) + np.searchsorted(instants, time)

        questions = first(self.group[asked], self.time[asked])
        starts = np.cumsum(self.queries)[events]  # the stream is in order: what stands before an event does not see it
        ends = tuple(np.searchsorted(questions, first(self.group[events], leave[events])) for leave in self.leaves)
        seen = starts < ends[-1]  # by a question, in the longest window
        places = Places(self._events(events[seen]), self.group[asked], starts[seen], tuple(end[seen] for end in ends))
        columns = {"spine": one_array(self.table["spine"]).take(pa.array(asked)).flatten()}
        yield _batch(columns, places, self.plan.measures)

    def _on_grid(self, slide: int) -> Iterator[pa.RecordBatch]:
        entered, left = _ceil(self.time, slide), [_ceil(leave, slide) for leave in self.leaves]
        low, high = entered, np.max(left, axis=0)
        rows = low < high
        if self.plan.between is not None:
            first, end = (-(-instant // slide) for instant in self.plan.between)
            low, high = np.maximum(low, first), np.minimum(high, end - 1)
        if self.carried is not None:
            low = np.where(self.group == self.group[0], np.maximum(low, self.carried), low)
        if not self.final:
            high = np.where(self.group == self.group[-1], np.minimum(high, self._limit(slide) - 1), high)
        rows = np.flatnonzero(rows & (low <= high))
        if not len(rows):
            return
        low, high, group = low[rows], high[rows], self.group[rows]
        stretches = _Stretches.of(group, low, high)
        starts = stretches.place(low)
        ends = [starts + np.clip(leave[rows], low, stretches.last[stretches.of_row] + 1) - low for leave in left]
        events, keys = self._events(rows), self.table.select(list(self.plan.keys))
        for begin in range(0, stretches.size, self.plan.rows):
            size = min(self.plan.rows, stretches.size - begin)
            groups, grid = stretches.read(begin, size)
            places = Places(events, groups, np.clip(starts - begin, 0, size), tuple(np.clip(end - begin, 0, size) for end in ends))
            owners = pa.array(np.searchsorted(self.group, groups))
            columns = {name: one_array(keys[name]).take(owners) for name in self.plan.keys}
            columns[self.plan.time] = pa.array(grid * slide).cast(pa.timestamp("us", "UTC"))
            yield _batch(columns, places, self.plan.measures)


@dataclass(frozen=True)
class _Stretches:
    """Runs of grid instants of one entity without a gap, laid one after the other.

    Args:
        group: Entity of each stretch.
        first: Its first grid instant.
        last: Its last one.
        offset: Place of its first one.
        of_row: Stretch of each event.
        size: Number of places.
    """

    group: Ints
    first: Ints
    last: Ints
    offset: Ints
    of_row: Ints
    size: int

    @classmethod
    def of(cls, group: Ints, low: Ints, high: Ints) -> _Stretches:
        """The union of [low, high], both included, over events sorted by group and low."""
        known, rank = np.unique(high, return_inverse=True)
        reach = known[np.maximum.accumulate(group * len(known) + rank) - group * len(known)]
        new = np.ones(len(group), dtype=bool)
        new[1:] = (group[1:] != group[:-1]) | (low[1:] > reach[:-1])
        heads = np.flatnonzero(new)
        first, last = low[heads], reach[np.append(heads[1:], len(group)) - 1]
        lengths = last - first + 1
        return cls(group[heads], first, last, np.cumsum(lengths) - lengths, np.cumsum(new) - 1, int(lengths.sum()))

    def place(self, low: Ints) -> Ints:
        """Place of the grid instant at which each event enters."""
        return self.offset[self.of_row] + low - self.first[self.of_row]

    def read(self, begin: int, size: int) -> tuple[Ints, Ints]:
        """Entity and grid instant of some places."""
        places = np.arange(begin, begin + size)
        stretch = np.searchsorted(self.offset, places, side="right") - 1
        return self.group[stretch], self.first[stretch] + places - self.offset[stretch]


def _batch(columns: dict[str, pa.Array], places: Places, measures: Sequence[Measure]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({**columns, **{measure.name: places.values(measure) for measure in measures}})


def _ceil(micros: Ints, slide: int) -> Ints:
    return -(-micros // slide)


def _changes(table: pa.Table, keys: Sequence[str]) -> Flags:
    """Rows that begin an entity; a null key is an entity of its own in every row."""
    new = np.zeros(len(table), dtype=bool)
    new[:1] = True
    for name in keys:
        column = one_array(table[name])
        before, after = column.slice(0, len(column) - 1), column.slice(1)
        differs = pc.fill_null(pc.not_equal(after, before), True)
        if pa.types.is_floating(column.type):
            differs = pc.and_(differs, pc.invert(pc.fill_null(pc.and_(pc.is_nan(after), pc.is_nan(before)), False)))
        new[1:] |= np.asarray(differs)
    return new
