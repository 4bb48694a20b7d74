"""The join as an interval join: each row of a table holds from one instant until the next.

The rows of a key that is short are compared one by one with the spine's, inside Spark's own equi-join: a table that is
small as a whole is broadcast by it, and the spine is not shuffled at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from feature_store.joins.running import alive
from feature_store.joins.source import Source

__all__ = ["join_validity"]


def join_validity(state: DataFrame, group: Sequence[Source], names: Sequence[str], spine_time: str) -> DataFrame:
    """Add one column `hit_<i>` for each lookup of an entity, as `running.join_running` does.

    Args:
        state: Column `spine`, a struct of the spine's columns, and the hits of entities that are joined already.
        group: The entity's lookups.
        names: The spine's key columns.
        spine_time: Its time column.
    """
    for source in group:
        keys = [f"{source.hit}_key_{index}" for index in range(len(names))]
        held = _held(source, names, keys)
        time = F.unix_micros(F.col("spine").getField(spine_time))
        same = [F.col("spine").getField(name) == F.col(key) for name, key in zip(names, keys, strict=True)]
        begun = F.col(f"{source.hit}_from") <= time
        lasting = F.col(f"{source.hit}_until").isNull() | (time < F.col(f"{source.hit}_until"))
        joined = state.join(held, [*same, begun, lasting], "left")
        hit = alive(source, F.col(source.hit), time).alias(source.hit)
        state = joined.select(*state.columns, hit)
    return state


def _held(source: Source, names: Sequence[str], keys: Sequence[str]) -> DataFrame:
    """The rows that are ever the one to take, each with the time from which and until which it is; no two hold at one instant."""
    rows = source.rows(names, keys)
    order = ["time", *([source.rank] if source.newest_wins else [])]
    timeline = Window.partitionBy(*keys).orderBy(*order)
    until = F.lead("time").over(timeline)
    best = _best(source).over(timeline.rowsBetween(Window.unboundedPreceding, Window.currentRow)) if not source.newest_wins else F.col(source.hit)
    named = rows.select(*keys, F.col("time").alias(f"{source.hit}_from"), until.alias(f"{source.hit}_until"), best.alias(source.hit))
    return named.where(F.col(f"{source.hit}_until").isNull() | (F.col(f"{source.hit}_from") < F.col(f"{source.hit}_until")))


def _best(source: Source) -> Column:
    return F.max(source.hit) if source.sortable else F.max_by(source.hit, source.rank)
