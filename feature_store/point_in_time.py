"""The point-in-time join: for every spine row, what was known of its entity at its time.

All lookups that share the spine's key columns are stacked with the spine into one union, which
one shuffle sorts by entity and by the instant from which a row counts, greatest(event time,
known time). A running maximum of (event time, known time, tie-break, values) then holds the
right row at every spine row: linear in the rows of an entity, however many lookups there are.

Source: the stacked timeline of feast-dev/feast#6057 with the union and running window of
databrickslabs/tempo, made bitemporal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from feature_store.checks import is_orderable, is_plain, refuse_clash, require_columns, require_instant, require_same_keys
from feature_store.errors import ContractError
from feature_store.lookup import Lookup
from feature_store.names import quote
from feature_store.timeline import EVENT, READER, known_micros, micros, orderable, spread

__all__ = ["Lookup", "known_micros", "point_in_time_join"]

_INSTANT = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"


@dataclass(frozen=True)
class _Source:
    """A lookup with its frame and features resolved; `hit` names its column on the way."""

    lookup: Lookup
    frame: DataFrame
    event_time: str
    features: tuple[str, ...]
    hit: str
    audit_name: str
    title: str

    @property
    def outputs(self) -> list[str]:
        return [self.lookup.prefix + name for name in self.features]

    @property
    def types(self) -> list[DataType]:
        return [self.frame.schema[name].dataType for name in self.features]

    @property
    def sortable(self) -> bool:
        """Whether Spark can order the values as they are."""
        return all(map(is_plain, self.types))

    @property
    def rank(self) -> str:
        """The column that decides between two rows, the greatest first choice."""
        return self.hit if self.sortable else f"rank_{self.hit}"


def point_in_time_join(
    spine: DataFrame, lookups: Sequence[Lookup], *, spine_time: str, audit: bool = False, tables: Mapping[str, DataFrame] | None = None
) -> DataFrame:
    """Join to each spine row the values that were known at its time; lazy, one shuffle per entity.

    Of a lookup's rows with the same keys, event time ≤ spine time (< where `exact_match` is off), known time ≤ spine
    time and event time ≥ spine time − ttl, the one with the greatest (event time, known time, tie-break columns) gives
    all features, nulls included. Rows that are equal in these are resolved by the order of their values (as Spark
    sorts them, nulls first; types without an order by their JSON), so that the result does not depend on partitioning.
    Every spine row comes out once; a null key or null spine time matches nothing.

    Args:
        spine: The rows to complete; duplicates are kept.
        lookups: What to add, in the order of the output columns.
        spine_time: The spine's column (timestamp) of the instant at which values must have been known.
        audit: Add `<name>__event_time` and `<name>__known_time` of each lookup after the features, where the name is the
            lookup's prefix, else its table's name, else `lookup<i>` (from 0); and fail the job that runs the result
            where a lookup's rows tie with different values, or where a value came from the future.
        tables: Frames of the registered names among the lookups.

    Returns:
        The spine's columns, then the features.

    Raises:
        ContractError: Before any job: a clash of names, missing columns, differing key types, a time that is no
            `timestamp`, or a registered name without a frame.
    """
    sources = tuple(_resolve(index, lookup, tables or {}) for index, lookup in enumerate(lookups))
    _check(spine, sources, spine_time, audit=audit)
    state = spine.select(F.struct(*(F.col(quote(name)) for name in spine.columns)).alias("spine"))
    for group in _groups(sources):
        state = _join(state, group, spine.schema, spine_time, audit=audit)
    columns = [F.col("spine").getField(name).alias(name) for name in spine.columns]
    columns += [F.col(source.hit)["value"].getField(name).alias(source.lookup.prefix + name) for source in sources for name in source.features]
    if audit:
        columns += [
            F.timestamp_micros(F.col(source.hit)[kind]).alias(f"{source.audit_name}__{kind}_time")
            for source in sources
            for kind in ("event", "known")
        ]
    return state.select(columns)


def _resolve(index: int, lookup: Lookup, tables: Mapping[str, DataFrame]) -> _Source:
    name = lookup.table if isinstance(lookup.table, str) else None
    frame = tables.get(name) if name is not None else lookup.table
    title = f"table `{name}`" if name is not None else f"the frame of lookup {index}"
    if not isinstance(frame, DataFrame):
        raise ContractError(
            f"{title} without a DataFrame", expected="a DataFrame", mend="use store.training_set for registered names, or pass tables={name: frame}"
        )
    if lookup.event_time is None:
        raise ContractError(f"no event_time for {title}", expected="the column that says since when a value holds", mend="set Lookup(event_time=...)")
    known = [lookup.known_time] if isinstance(lookup.known_time, str) else []
    used = [*(right for _, right in lookup.pairs), lookup.event_time, *known, *lookup.tie_break]
    features = lookup.features or tuple(column for column in frame.columns if column not in used)
    if not features:
        raise ContractError(
            f"{title} without a column beside keys and times", expected="at least one feature", mend="name features=, or leave out the lookup"
        )
    return _Source(lookup, frame, lookup.event_time, features, f"hit_{index}", lookup.prefix or name or f"lookup{index}", title)


def _check(spine: DataFrame, sources: Sequence[_Source], spine_time: str, *, audit: bool) -> None:
    require_columns(spine, [spine_time], "the spine")
    require_instant(spine.schema, spine_time, "spine time")
    for source in sources:
        lookup, schema = source.lookup, source.frame.schema
        times = [source.event_time, *([lookup.known_time] if isinstance(lookup.known_time, str) else [])]
        require_columns(spine, [left for left, _ in lookup.pairs], "the spine")
        require_columns(source.frame, [*(right for _, right in lookup.pairs), *times, *lookup.tie_break, *source.features], source.title)
        for name in times:
            require_instant(schema, name, "event time" if name == source.event_time else "known time")
        require_same_keys(spine.schema, schema, lookup.pairs, source.title)
    groups: dict[str, list[str]] = {"the spine": list(spine.columns)}
    for index, source in enumerate(sources):
        groups[f"lookup {index} ({source.title})"] = source.outputs + (
            [f"{source.audit_name}__{kind}_time" for kind in ("event", "known")] if audit else []
        )
    refuse_clash(groups)


def _groups(sources: Sequence[_Source]) -> Iterator[list[_Source]]:
    """Lookups that share the spine's key columns, in whatever order they name them."""
    groups: dict[tuple[str, ...], list[_Source]] = {}
    for source in sources:
        groups.setdefault(tuple(sorted(left for left, _ in source.lookup.pairs)), []).append(source)
    yield from groups.values()


def _join(state: DataFrame, group: Sequence[_Source], spine: StructType, spine_time: str, *, audit: bool) -> DataFrame:
    """Add one column `hit_<i>` for each lookup of an entity: the row that matched, or null."""
    names = sorted(left for left, _ in group[0].lookup.pairs)
    keys = [f"key_{index}" for index in range(len(names))]
    carried = state.columns
    stacked = _stack(state, group, names, keys, _place(spine, spine_time, names))
    timeline = Window.partitionBy(*keys, "spread").orderBy("time", "side", *((source.rank for source in group) if audit else ()))
    running = timeline.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    best = {source.hit: F.max(source.hit) if source.sortable else F.max_by(source.hit, source.rank) for source in group}
    wanted = [column.over(running).alias(f"best_{hit}") for hit, column in best.items()]
    if audit:
        wanted += [F.lag(source.rank).over(timeline).alias(f"before_{source.hit}") for source in group]
    matched = stacked.select("*", *wanted).where(_audited(group, names, keys) if audit else F.col("side") == READER)
    return matched.select(*carried, *(_alive(source).alias(source.hit) for source in group))


def _stack(state: DataFrame, group: Sequence[_Source], names: Sequence[str], keys: Sequence[str], place: Mapping[str, Column]) -> DataFrame:
    """The union of the spine's rows and every lookup's, with the columns of all."""
    rows = {source.hit: _feature_rows(source, names, keys) for source in group}
    kinds = {name: frame.schema[name].dataType for frame in (state, *rows.values()) for name in frame.columns if name not in (*keys, "time")}
    # A cast costs a call to the JVM each, and there are lookups times lookups of them.
    empty = {name: F.lit(None).cast(kind).alias(name) for name, kind in kinds.items()}
    feature = {"side": F.lit(EVENT).alias("side"), "spread": F.lit(0).cast("long").alias("spread")}
    layout = [*keys, "time", "side", "spread", *kinds]
    parts = [state.select(*(place.get(name, name if name in state.columns else empty.get(name, name)) for name in layout))]
    for frame in rows.values():
        own = set(frame.columns)
        parts.append(frame.select(*(name if name in own else feature.get(name, empty.get(name, name)) for name in layout)))
    return reduce(DataFrame.union, parts)


def _place(spine: StructType, spine_time: str, names: Sequence[str]) -> dict[str, Column]:
    """Where a spine row stands on the timeline."""
    time = F.unix_micros(F.col("spine").getField(spine_time))
    values = [F.col("spine").getField(name) for name in names]
    complete = reduce(Column.__and__, [value.isNotNull() for value in values], time.isNotNull())
    hashable = [F.col("spine").getField(field.name) for field in spine.fields if is_orderable(field.dataType)]
    columns = {
        "time": time,
        "side": F.lit(READER),
        "spread": spread(complete, hashable),
        **{f"key_{index}": value for index, value in enumerate(values)},
    }
    return {name: column.alias(name) for name, column in columns.items()}


def _feature_rows(source: _Source, names: Sequence[str], keys: Sequence[str]) -> DataFrame:
    """A table's rows on the timeline: keys, the time from which they count, and one struct."""
    lookup, pairs = source.lookup, dict(source.lookup.pairs)
    event = F.unix_micros(F.col(quote(source.event_time)))
    known = known_micros(event, lookup.known_time)
    # Times are whole microseconds, so "event time < spine time" is "event time + 1 <= spine time".
    starts = event if lookup.exact_match else F.try_add(event, F.lit(1))
    ties = [orderable(F.col(quote(name)), source.frame.schema[name].dataType).alias(f"tie_{index}") for index, name in enumerate(lookup.tie_break)]
    values = [F.col(quote(name)) for name in source.features]
    times = [event.alias("event"), known.alias("known")]
    columns = [F.struct(*times, *ties, F.struct(*values).alias("value")).alias(source.hit)]
    if not source.sortable:
        order = [orderable(value, kind).alias(f"order_{index}") for index, (value, kind) in enumerate(zip(values, source.types, strict=True))]
        columns.append(F.struct(*times, *ties, *order).alias(source.rank))
    columns += [F.col(quote(pairs[name])).alias(key) for name, key in zip(names, keys, strict=True)]
    # greatest() skips nulls, and a row whose event or known time is null never counts.
    time = F.when(starts.isNotNull() & known.isNotNull(), F.greatest(starts, known)).alias("time")
    return source.frame.select(*columns, time).dropna(subset=[*keys, "time"])


def _ties(source: _Source) -> list[str]:
    return [f"tie_{index}" for index in range(len(source.lookup.tie_break))]


def _alive(source: _Source) -> Column:
    """The matched row, null where it is older than the ttl.

    After the join is early enough: any row younger than the ttl would have the greater event time.
    """
    best, ttl = F.col(f"best_{source.hit}"), source.lookup.ttl
    if ttl is None:
        return best
    return F.when(F.try_subtract(F.col("time"), best["event"]) <= F.lit(micros(ttl)), best)


def _audited(group: Sequence[_Source], names: Sequence[str], keys: Sequence[str]) -> Column:
    """The spine rows; raises at a tie with different values, and at a match from the future."""
    entity = F.to_json(F.struct(*(F.col(key).alias(name) for key, name in zip(keys, names, strict=True))))
    keep = F.col("side") == READER
    for source in group:
        rank, before, best = F.col(source.rank), F.col(f"before_{source.hit}"), F.col(f"best_{source.hit}")
        same = [rank[name].eqNullSafe(before[name]) for name in ("event", "known", *_ties(source))]
        tied = reduce(Column.__and__, same, rank.isNotNull() & before.isNotNull()) & ~rank.eqNullSafe(before)
        late = best["event"] > F.col("time") if source.lookup.exact_match else best["event"] >= F.col("time")
        keep = F.when(tied, F.raise_error(_tie_message(source, entity, rank))).otherwise(keep)
        future = F.concat(F.lit(f"{source.title} gave a value from the future to the entity "), entity)
        keep = F.when((F.col("side") == READER) & (late | (best["known"] > F.col("time"))), F.raise_error(future)).otherwise(keep)
    return keep


def _tie_message(source: _Source, entity: Column, rank: Column) -> Column:
    times = (F.date_format(F.timestamp_micros(rank[name]), _INSTANT) for name in ("event", "known"))
    event, known = times
    mend = "; expected one; name a column that decides in tie_break=, or correct the table"
    return F.concat(
        F.lit(f"found rows of {source.title} with different values for "),
        entity,
        F.lit(" at event time "),
        event,
        F.lit(", known "),
        known,
        F.lit(mend),
    )
