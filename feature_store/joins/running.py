"""One shuffle an entity: spine and tables stacked on one timeline, and a running last row.

All lookups that share the spine's key columns are stacked with the spine into one union, which one shuffle sorts by
entity and by the instant from which a row counts, greatest(event time, known time). The last row seen, or where
corrections may arrive late the greatest by (event time, known time, tie-break, values), is what was known at every
spine row: linear in the rows of an entity, however many lookups there are.

A hot entity is one task so. Where its rows are cut into buckets of time, each bucket is a task of its own and begins
with a row that carries in what the buckets before it have left behind.

Source: the stacked timeline of feast-dev/feast#6057 with the union and running window of
databrickslabs/tempo, made bitemporal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from feature_store.checks import is_orderable
from feature_store.joins.audit import audited
from feature_store.joins.buckets import CARRIED, Buckets
from feature_store.joins.source import Source
from feature_store.joins.stand_in import stand_in
from feature_store.joins.timeline_order import in_order
from feature_store.timeline import EVENT, READER, micros

__all__ = ["alive", "join_running"]

_PLACED = ("time", "side")


def join_running(
    state: DataFrame, group: Sequence[Source], names: Sequence[str], spine: StructType, spine_time: str, buckets: Buckets | None = None
) -> DataFrame:
    """Add one column `hit_<i>` for each lookup of an entity: the row that matched, or null.

    Args:
        state: Column `spine`, a struct of the spine's columns, and the hits of entities that are joined already.
        group: The entity's lookups.
        names: The spine's key columns.
        spine: The spine's schema.
        spine_time: Its time column.
        buckets: How hot entities are cut; None: not at all.
    """
    keys = [f"key_{index}" for index in range(len(names))]
    stacked = _stack(state, group, names, keys, spine, spine_time, buckets)
    audit = group[0].audited
    stacked, place = in_order(stacked, [*keys, *(["bucket"] if buckets else [])])
    timeline = Window.partitionBy(*place).orderBy("time", "side", *_deciders(group, audit=audit))
    wanted = [_running(source, timeline).alias(f"best_{source.hit}") for source in group]
    if audit:
        wanted += [F.lag(source.rank).over(timeline).alias(f"before_{source.hit}") for source in group]
    matched = stacked.select("*", *wanted).where(audited(group, names, keys) if audit else F.col("side") >= READER)
    keyed = F.col("side") == READER
    hits = [F.when(keyed, alive(source, F.col(f"best_{source.hit}"), F.col("time"))).alias(source.hit) for source in group]
    return matched.select(_unpacked(spine, names, keys, spine_time), *(name for name in state.columns if name != "spine"), *hits)


def alive(source: Source, best: Column, time: Column) -> Column:
    """The matched row, null where it is older than the ttl.

    After the match is early enough: any row younger than the ttl would have the greater event time.
    """
    if source.lookup.ttl is None:
        return best
    return F.when(F.try_subtract(time, best["event"]) <= F.lit(micros(source.lookup.ttl)), best)


def _deciders(group: Sequence[Source], *, audit: bool) -> list[str]:
    """What orders rows of one instant: a running last needs it to be sure of the last one, an audit to have ties side by side."""
    return [source.rank for source in group if audit or source.newest_wins]


def _running(source: Source, timeline: WindowSpec) -> Column:
    so_far = timeline.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    if source.newest_wins:
        return F.last(source.hit, ignorenulls=True).over(so_far)
    return (F.max(source.hit) if source.sortable else F.max_by(source.hit, source.rank)).over(so_far)


def _stack(
    state: DataFrame, group: Sequence[Source], names: Sequence[str], keys: Sequence[str], spine: StructType, spine_time: str, buckets: Buckets | None
) -> DataFrame:
    """The union of the spine's rows and every lookup's, with the columns of all."""
    read = _readers(state, names, keys, spine, spine_time)
    rows = {source.hit: source.rows(names, keys) for source in group}
    kinds = {
        name: frame.schema[name].dataType for frame in (read, *rows.values()) for name in frame.columns if name not in _PLACED and name not in keys
    }
    # A cast costs a call to the JVM each, and there are lookups times lookups of them.
    filled: dict[str, Column] = {name: F.lit(None).cast(kind).alias(name) for name, kind in kinds.items()}
    filled["side"] = F.lit(EVENT).cast("long").alias("side")
    layout = [*keys, *_PLACED, *kinds]

    def part(frame: DataFrame) -> DataFrame:
        own = set(frame.columns)
        return frame.select(*(name if name in own else filled[name] for name in layout))

    stacked = reduce(DataFrame.union, map(part, (read, *rows.values())))
    if buckets is None:
        return stacked
    carried = {source.hit: buckets.carried(rows[source.hit], source, keys).withColumn("side", F.lit(CARRIED).cast("long")) for source in group}
    layout.append("bucket")
    return reduce(DataFrame.union, map(part, carried.values()), buckets.placed(stacked, keys).select(layout))


def _readers(state: DataFrame, names: Sequence[str], keys: Sequence[str], spine: StructType, spine_time: str) -> DataFrame:
    """The spine's rows on the timeline; what stands there as key or time is not carried a second time.

    A row without a time stands before all that happened to its entity. One without a key stands with some entity, and
    its side is READER plus a bit for each key that is missing: splitting such rows off before the shuffle instead would
    read the spine twice for each entity, and lose or double rows where its plan is not deterministic.
    """
    values = [F.col("spine").getField(name) for name in names]
    hashed = F.xxhash64(*(F.col("spine").getField(field.name) for field in spine.fields if is_orderable(field.dataType)))
    placed = [F.coalesce(value, stand_in(spine[name].dataType, hashed)) for name, value in zip(names, values, strict=True)]
    lacking = [F.when(value.isNull(), _bit(index)).otherwise(F.lit(0).cast("long")) for index, value in enumerate(values)]
    side = reduce(Column.__add__, lacking, F.lit(READER).cast("long")).alias("side")
    time = F.unix_micros(F.col("spine").getField(spine_time)).alias("time")
    rest = [F.col("spine").getField(name).alias(name) for name in _carried(spine, names, spine_time)]
    whole = [F.struct(*rest).alias("spine")] if rest else []
    others = [name for name in state.columns if name != "spine"]
    return state.select(*(value.alias(key) for value, key in zip(placed, keys, strict=True)), time, side, *whole, *others)


def _unpacked(spine: StructType, names: Sequence[str], keys: Sequence[str], spine_time: str) -> Column:
    """The spine's row again, from the timeline."""
    own: Mapping[str, Column] = {
        **{name: F.col("spine").getField(name) for name in _carried(spine, names, spine_time)},
        spine_time: F.timestamp_micros(F.col("time")),
        **{name: F.when(F.col("side").bitwiseAND(_bit(index)) == 0, F.col(keys[index])) for index, name in enumerate(names)},
    }
    return F.struct(*(own[name].alias(name) for name in spine.names)).alias("spine")


def _bit(index: int) -> Column:
    """What the side of a spine row says of a key that it lacks."""
    return F.lit(2 * READER << index).cast("long")


def _carried(spine: StructType, names: Sequence[str], spine_time: str) -> list[str]:
    return [name for name in spine.names if name != spine_time and name not in names]
