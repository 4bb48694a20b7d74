"""Windowed aggregates, exact at every instant: counts, sums, extremes and order statistics of what was known.

An event with event time e that became known at n counts in the window of length w at g while
e <= g < e + w (`closed="right"`) or e < g <= e + w (`closed="left"`), n <= g, and no later version of its
row is known. That is one stretch of time for each event and window, so that every aggregate is a question
about the stretches that hold g. One shuffle brings the events of an entity together, sorted by the instant
at which they start to count; Python workers answer them in Arrow batches (`window_stream`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType, TimestampType

from feature_store.aggregate import FUNCTIONS, Aggregate, require_multiples
from feature_store.checks import Keys, is_orderable, key_pairs, refuse_clash, require_columns, require_instant, require_same_keys
from feature_store.duration import parse_duration
from feature_store.errors import ContractError
from feature_store.names import quote
from feature_store.timeline import known_micros, micros, orderable, spread
from feature_store.window_columns import WindowColumns, is_simple
from feature_store.window_stream import WindowPlan, window_batches

__all__ = ["FUNCTIONS", "Aggregate", "windows_at", "windows_every"]

Row = str | Sequence[str] | None


def windows_at(
    spine: DataFrame,
    events: DataFrame,
    aggregates: Sequence[Aggregate],
    *,
    keys: Keys,
    spine_time: str,
    event_time: str,
    known_time: str | timedelta | None = None,
    row_id: Row = None,
    closed: str = "right",
) -> DataFrame:
    """Aggregate at each spine row what was known of its entity at its time; lazy, one shuffle (one more with `row_id`).

    Every spine row comes out once, duplicates too. A null key (NaN too) or null spine time matches no event: its windows are empty.

    Args:
        spine: The rows to complete.
        events: What is aggregated; rows without keys, event time or known time never count.
        aggregates: The features.
        keys: Columns that spine and events share, or {spine column: events column}.
        spine_time: The spine's column (timestamp) of the instant at which windows are read.
        event_time: The events' column (timestamp).
        known_time: When an event became known: a column (timestamp), or a delay added to the event time; None: at the event time.
        row_id: Column or columns that identify a source row. Of its versions the last known one counts (of those known at
            one instant the greatest by event time, keys and values), even where it moved to another entity. A null
            is no identity.
        closed: "right" for (g - window, g], "left" for [g - window, g), in which an event at g does not count itself.

    Returns:
        The spine's columns, then one column for each aggregate.

    Raises:
        ContractError: Before any job: a clash of names, missing columns, differing key types, a time that is no
            `timestamp`, or a function that does not fit its column.
    """
    pairs = key_pairs(keys)
    names = tuple(right for _, right in pairs)
    source = _Source(events, tuple(aggregates), names, event_time, known_time, _row(row_id), closed)
    require_columns(spine, [*(left for left, _ in pairs), spine_time], "the spine")
    require_instant(spine.schema, spine_time, "spine time")
    columns = source.checked()
    require_same_keys(spine.schema, events.schema, pairs, "the events")
    refuse_clash({"the spine": spine.columns, **source.outputs})
    happened, read = source.happened(columns), _readers(spine, [left for left, _ in pairs], spine_time)
    layout = [*source.stream(columns), "spine"]
    kinds = {field.name: field.dataType for frame in (happened, read) for field in frame.schema.fields}

    def part(frame: DataFrame) -> DataFrame:
        return frame.select(*(name if name in frame.columns else F.lit(None).cast(kinds[name]).alias(name) for name in layout))

    whole = [F.col("spine")[0].getField(field.name) for field in spine.schema.fields if is_orderable(field.dataType)]
    together = part(happened).union(part(read)).repartition(*source.keyed, spread(_all_there(*source.keyed, "time"), whole))
    # At one instant events come before the rows that may see them.
    stream = together.sortWithinPartitions(*source.keyed, "time", F.col("spine").isNotNull())
    answered = stream.mapInArrow(_worker(source.plan(columns)), StructType([StructField("spine", spine.schema), *columns.fields]))
    own = [F.col("spine").getField(name).alias(name) for name in spine.columns]
    return answered.select(*own, *(F.col(quote(field.name)) for field in columns.fields))


def windows_every(
    events: DataFrame,
    aggregates: Sequence[Aggregate],
    *,
    keys: Keys,
    event_time: str,
    slide: str | timedelta,
    known_time: str | timedelta | None = None,
    row_id: Row = None,
    closed: str = "right",
    between: tuple[int, int] | None = None,
) -> DataFrame:
    """Aggregate at the instants of a grid what was known of each entity then; lazy, one shuffle (one more with `row_id`).

    The grid is the multiples of `slide` from 1970-01-01T00:00Z. An entity has a row at each grid instant at which any of
    the declared windows holds an event (whatever the aggregates' `where`), and at the first one after they have all
    emptied: there counts are 0 and values null, so that an as-of join onto the grid never carries a stale value.

    Args:
        events: What is aggregated; rows without keys, event time or known time never count.
        aggregates: The features.
        keys: Columns that identify the entity.
        event_time: The events' column (timestamp); the output's column of this name holds the grid instant.
        slide: Distance of grid instants, as "1h".
        known_time: As in `windows_at`.
        row_id: As in `windows_at`.
        closed: As in `windows_at`.
        between: Half-open stretch, in microseconds since 1970-01-01T00:00Z, of whose grid instants rows are made; None: all. Events before
            it count in it as they always do.

    Returns:
        The keys, the grid instant and one column for each aggregate; each key and instant once.

    Raises:
        ContractError: Before any job, as in `windows_at`; also a slide of zero or less, or one of which a window is no multiple.
    """
    step = parse_duration(slide)
    if step <= timedelta(0):
        raise ContractError(f"a slide of {step}", expected="more than zero", mend='set a distance such as "1h"')
    require_multiples(aggregates, step)
    names = tuple(right for _, right in key_pairs(keys))
    source = _Source(events, tuple(aggregates), names, event_time, known_time, _row(row_id), closed)
    columns = source.checked()
    refuse_clash({"the keys": names, "the grid": [event_time], **source.outputs})
    happened = source.happened(columns).select(source.stream(columns))
    stream = happened.repartition(*source.keyed).sortWithinPartitions(*source.keyed, "time")
    fields = [StructField(key, happened.schema[key].dataType) for key in source.keyed]
    schema = StructType([*fields, StructField("time", TimestampType()), *columns.fields])
    answered = stream.mapInArrow(_worker(replace(source.plan(columns), slide=micros(step), between=between)), schema)
    return answered.toDF(*names, event_time, *(field.name for field in columns.fields))


@dataclass(frozen=True)
class _Source:
    """The events of a call and how to read them."""

    events: DataFrame
    aggregates: tuple[Aggregate, ...]
    keys: tuple[str, ...]
    event_time: str
    known_time: str | timedelta | None
    row: tuple[str, ...]
    closed: str

    @property
    def keyed(self) -> list[str]:
        """The keys' columns in the stream."""
        return [f"key_{index}" for index in range(len(self.keys))]

    @property
    def outputs(self) -> dict[str, list[str]]:
        """Where the output's columns come from."""
        return {f"aggregate {index}": [aggregate.output] for index, aggregate in enumerate(self.aggregates)}

    @property
    def open_left(self) -> int:
        return int(self.closed == "left")

    @property
    def delay(self) -> int | None:
        """Microseconds from an event to when it is known; None where a column says it."""
        return None if isinstance(self.known_time, str) else micros(self.known_time or timedelta(0))

    def plan(self, columns: WindowColumns) -> WindowPlan:
        return WindowPlan(tuple(self.keyed), tuple(map(micros, columns.lengths)), self.open_left, columns.measures, delay=self.delay)

    def stream(self, columns: WindowColumns) -> list[str]:
        """Columns of the stream: what can be told from another one does not ride along."""
        return [*self.keyed, "time", *(() if self.delay is not None else ("event", "known")), *(("until",) if self.row else ()), *columns.names]

    def checked(self) -> WindowColumns:
        """The columns that the aggregates read, after all checks on the events."""
        if self.closed not in {"right", "left"}:
            raise ContractError(f"closed={self.closed!r}", expected='"right" or "left"', mend="correct it")
        if not self.aggregates:
            raise ContractError("no aggregates", expected="at least one", mend="declare one")
        known = [self.known_time] if isinstance(self.known_time, str) else []
        values = [item.column for item in self.aggregates if item.column is not None]
        require_columns(self.events, [*self.keys, self.event_time, *known, *self.row, *values], "the events")
        for name, what in ((self.event_time, "event time"), *((name, "known time") for name in known)):
            require_instant(self.events.schema, name, what)
        for key in self.keys:
            if not is_simple(kind := self.events.schema[key].dataType):
                raise ContractError(
                    f"key `{key}` of type {kind.simpleString()}", expected="a number, text (binary collation), date or timestamp", mend="cast it"
                )
        return WindowColumns(self.events.schema, self.aggregates)

    def happened(self, columns: WindowColumns) -> DataFrame:
        """Events on the timeline: `time` at which they start to count, `until` the next version of their row is known."""
        event = F.unix_micros(F.col(quote(self.event_time)))
        named = [F.col(quote(key)).alias(name) for key, name in zip(self.keys, self.keyed, strict=True)]
        rows = [F.col(quote(name)).alias(f"row_{index}") for index, name in enumerate(self.row)]
        frame = self.events.select(*named, event.alias("event"), known_micros(event, self.known_time).alias("known"), *columns.columns, *rows)
        frame = _superseded(frame, [f"row_{index}" for index in range(len(rows))]) if rows else frame.withColumn("until", F.lit(None).cast("long"))
        # Times are whole microseconds, so "event < g" is "event + 1 <= g".
        leaves = F.least(F.col("event") + F.lit(micros(columns.lengths[-1]) + self.open_left), F.col("until"))
        placed = frame.dropna(subset=[*self.keyed, "event", "known"])
        placed = placed.withColumn("time", F.greatest(F.col("event") + F.lit(self.open_left), "known"))
        return placed.where(F.col("time") < leaves)


def _worker(plan: WindowPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return window_batches(batches, plan)

    return work


def _row(row_id: Row) -> tuple[str, ...]:
    return () if row_id is None else (row_id,) if isinstance(row_id, str) else tuple(row_id)


def _superseded(frame: DataFrame, rows: Sequence[str]) -> DataFrame:
    """Add `until`: when the next version of a row became known, wherever it belongs."""
    identified = _all_there(*rows)
    scattered = [F.col(field.name) for field in frame.schema.fields if is_orderable(field.dataType)]
    decided = [orderable(F.col(field.name), field.dataType) for field in frame.schema.fields if field.name not in ("known", "event", *rows)]
    versions = Window.partitionBy(*rows, spread(identified, scattered)).orderBy("known", "event", *decided)
    return frame.withColumn("until", F.when(identified, F.lead("known").over(versions))).drop(*rows)


def _all_there(*names: str) -> Column:
    return reduce(Column.__and__, (F.col(name).isNotNull() for name in names))


def _readers(spine: DataFrame, keys: Sequence[str], spine_time: str) -> DataFrame:
    """Spine rows on the timeline, each with all its columns in one.

    That is a list of one, since Arrow has room for every field of a struct in every row: of a null list nothing rides along with events.
    """
    named = [F.col(quote(key)).alias(f"key_{index}") for index, key in enumerate(keys)]
    whole = F.array(F.struct(*(F.col(quote(name)) for name in spine.columns))).alias("spine")
    return spine.select(*named, F.unix_micros(F.col(quote(spine_time))).alias("time"), whole)
