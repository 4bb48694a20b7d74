"""How a feature table is cut into the parts that rows of its source touch.

A table of windows is cut into cells, an entity over a stretch of time each: an event is read at grid instants of a few
of them, and a cell is computed from the events of a few before it. So both are equal joins, at any skew. In a table
without windows a part is a row's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from feature_store.names import quote
from feature_store.table import FeatureTable
from feature_store.timeline import known_micros, micros

__all__ = ["FILE_ROWS", "SINCE", "Bounds", "Reach", "Rows", "Windows", "region_of", "within"]

#: Most rows of a file of a table that is laid by time: what changed then touches few files, and a file is still worth opening.
FILE_ROWS = 250_000

#: Of a changed row: microseconds before which it changes nothing.
SINCE = "__since"
_CELL = "__cell"
_CELLS = 4  # of the longest window: more follow closer what is touched, and take more rows to name it


@dataclass(frozen=True)
class Bounds:
    """A half-open stretch of event times in microseconds."""

    start: int
    end: int

    @property
    def stretch(self) -> tuple[int, int]:
        """As a pair."""
        return self.start, self.end

    def holds(self, event_time: str) -> Column:
        """Whether a column lies in it, in a form that skips files by their statistics."""
        column = F.col(quote(event_time))
        return (column >= F.timestamp_micros(F.lit(self.start))) & (column < F.timestamp_micros(F.lit(self.end)))


@dataclass(frozen=True)
class Reach:
    """What changed rows of windows reach, without a part being named.

    Args:
        bounds: The grid instants.
        parts: About how many parts: as many for each entity as one row touches.
    """

    bounds: Bounds
    parts: int


@dataclass(frozen=True)
class Rows:
    """A table without windows: a part is the identity of a row.

    Args:
        table: The feature table.
    """

    table: FeatureTable

    def touched(self, changed: DataFrame) -> DataFrame:
        """The parts that changed rows touch, each once."""
        return changed.select(*map(quote, self.table.merge_keys)).distinct()

    def sources(self, touched: DataFrame) -> DataFrame:
        """The parts in which the source rows lie that are needed."""
        return touched

    def bounds(self) -> tuple[Column, Column]:
        """Aggregates over parts: the least event time in them, and what lies after the greatest."""
        event = F.unix_micros(F.col(quote(self.table.event_time)))
        return F.min(event), F.max(event) + 1

    def source_bounds(self, bounds: Bounds) -> Bounds:
        """Event times of the source rows that are needed."""
        return bounds

    def inside(self, frame: DataFrame, parts: DataFrame, *, small: bool) -> DataFrame:
        """The rows of a frame that lie in some parts."""
        names = self.table.merge_keys
        return within(frame, parts, [F.col(quote(name)) for name in names], names, small=small)

    def rows_in(self, parts: int) -> int:
        """How many rows of the table so many parts hold at most."""
        return parts

    def rows_of(self, rows: int) -> int:
        """How many rows of the table so many of its source make at most."""
        return rows


@dataclass(frozen=True)
class Windows:
    """A table of windows: a part is an entity in a cell of time, named by the cell's first microsecond.

    Args:
        table: The feature table.
    """

    table: FeatureTable

    @property
    def slide(self) -> int:
        """Microseconds between grid instants."""
        assert self.table.slide is not None
        return micros(self.table.slide)

    @property
    def reach(self) -> int:
        """Microseconds after an event before which the grid has said that it left the longest window."""
        return max(micros(item.length) for item in self.table.aggregates) + self._open_left + self.slide

    @property
    def width(self) -> int:
        """Microseconds of a cell, a multiple of the slide."""
        return self.slide * -(-self.reach // (self.slide * _CELLS))

    def touched(self, changed: DataFrame) -> DataFrame:
        """The parts that changed rows touch, each once; a column `__since` cuts off what lies before."""
        begins, ends = self._counts(*([F.col(SINCE)] if SINCE in changed.columns else []))
        first, last = self._cell(begins), self._cell(ends)
        reached = changed.withColumns({"__first": first, "__last": last}).where(F.col("__first") <= F.col("__last"))
        return self._cells(reached, F.col("__first"), F.col("__last"))

    def sources(self, touched: DataFrame) -> DataFrame:
        """The parts in which the source rows lie that are needed: those before a touched one that still count in it."""
        back = F.lit(self.width * -(-self.reach // self.width))
        return self._cells(touched, F.col(_CELL) - back, F.col(_CELL))

    def bounds(self) -> tuple[Column, Column]:
        """Aggregates over parts: the first instant in them, and what lies after the last."""
        return F.min(_CELL), F.max(_CELL) + F.lit(self.width)

    def reached(self) -> dict[str, Column]:
        """Aggregates over changed rows, for `reach_of`."""
        begins, ends = self._counts()
        entities = F.approx_count_distinct(F.xxhash64(*(F.col(quote(key)) for key in self.table.keys)))
        return {"__begins": F.min(F.when(begins < ends, begins)), "__ends": F.max(F.when(begins < ends, ends)), "__entities": entities}

    def reach_of(self, found: Row) -> Reach | None:
        """What `reached` found; None: no instant."""
        if found["__begins"] is None:
            return None
        bounds = Bounds(found["__begins"] // self.slide * self.slide, found["__ends"])
        return Reach(bounds, found["__entities"] * (self.reach // self.width + 1))

    def source_bounds(self, bounds: Bounds) -> Bounds:
        """Event times of the source rows that are needed."""
        return Bounds(bounds.start - self.reach, bounds.end)

    def inside(self, frame: DataFrame, parts: DataFrame, *, small: bool) -> DataFrame:
        """The rows of a frame that lie in some parts."""
        cell = self._cell(F.unix_micros(F.col(quote(self.table.event_time))))
        return within(frame, parts, [*(F.col(quote(key)) for key in self.table.keys), cell], [*self.table.keys, _CELL], small=small)

    def rows_in(self, parts: int) -> int:
        """How many rows of the table so many parts hold at most."""
        return parts * (self.width // self.slide)

    def rows_of(self, rows: int) -> int:
        """How many rows of the table so many of its source make at most."""
        return rows * -(-self.reach // self.slide)

    def laid(self, made: DataFrame) -> DataFrame:
        """The rows of the table, those of a stretch of time together in each task, for files of some rows each."""
        # Spark sorts by a single number without comparing, and leaves rows of one cell in their order: an entity's, one like the other.
        return made.sortWithinPartitions(self._cell(F.unix_micros(F.col(quote(self.table.event_time)))))

    @property
    def _open_left(self) -> int:
        return int(self.table.closed == "left")

    def _counts(self, *later: Column) -> tuple[Column, Column]:
        """Microseconds from which a source row may count, which is not before some others, and those at which the grid has said that it left."""
        event = F.unix_micros(F.col(quote(self.table.event_time)))
        # A row without a known time counts nowhere; `greatest` passes over the null, as over that of a row without `__since`.
        begins = F.greatest(event + F.lit(self._open_left), known_micros(event, self.table.known_time), *later)
        return begins, event + F.lit(self.reach)

    def _cells(self, frame: DataFrame, first: Column, last: Column) -> DataFrame:
        cells = F.sequence(first, last, F.lit(self.width).cast("long"))
        return frame.select(*map(quote, self.table.keys), F.explode(cells).alias(_CELL)).distinct()

    def _cell(self, time: Column) -> Column:
        return time - F.pmod(time, F.lit(self.width))


def region_of(table: FeatureTable) -> Rows | Windows:
    """How a table is cut into parts."""
    return Windows(table) if table.aggregates else Rows(table)


def within(frame: DataFrame, others: DataFrame, values: Sequence[Column], names: Sequence[str], *, small: bool) -> DataFrame:
    """The rows of a frame whose values stand in another frame.

    Args:
        values: Of the frame's rows.
        names: Columns of the other frame, in the same order.
        small: Whether every task gets the whole other frame; the rows then stay where they are.
    """
    # Under names of their own, so that no column stands on both sides.
    named = others.select(*(F.col(quote(name)).alias(f"__part_{index}") for index, name in enumerate(names)))
    same = [value == F.col(f"__part_{index}") for index, value in enumerate(values)]
    return frame.join(F.broadcast(named) if small else named, same, "left_semi")
