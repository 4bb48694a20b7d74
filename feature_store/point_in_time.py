"""The point-in-time join: for every spine row, what was known of its entity at its time.

The plans stand in `feature_store.joins`; all give the same rows. Without statistics every entity gets the one that is
linear in its rows and never far from the best (`joins.running`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.errors import ContractError
from feature_store.joins.buckets import Buckets
from feature_store.joins.plan import BUCKETS, INTERVAL, JoinPlan, choose
from feature_store.joins.running import join_running
from feature_store.joins.source import Source, check, groups, resolve
from feature_store.joins.statistics import JoinStatistics, measure_entity
from feature_store.joins.validity import join_validity
from feature_store.lookup import Lookup
from feature_store.names import quote
from feature_store.timeline import known_micros

__all__ = ["JoinPlan", "JoinStatistics", "Lookup", "explain_join", "join_statistics", "known_micros", "point_in_time_join"]


def point_in_time_join(
    spine: DataFrame,
    lookups: Sequence[Lookup],
    *,
    spine_time: str,
    audit: bool = False,
    tables: Mapping[str, DataFrame] | None = None,
    statistics: JoinStatistics | None = None,
) -> DataFrame:
    """Join to each spine row the values that were known at its time; lazy, one shuffle per entity.

    Of a lookup's rows with the same keys, event time ≤ spine time (< where `exact_match` is off), known time ≤ spine
    time and event time ≥ spine time − ttl, the one with the greatest (event time, known time, tie-break columns) gives
    all features, nulls included. Rows that are equal in these are resolved by the order of their values (as Spark
    sorts them, nulls first; types without an order by their JSON), so that the result does not depend on partitioning.
    Every spine row comes out once; a null key (NaN too) or null spine time matches nothing.

    Args:
        spine: The rows to complete; duplicates are kept.
        lookups: What to add, in the order of the output columns.
        spine_time: The spine's column (timestamp) of the instant at which values must have been known.
        audit: Add `<name>__event_time` and `<name>__known_time` of each lookup after the features, where the name is the
            lookup's prefix, else its table's name, else `lookup<i>` (from 0); and fail the job that runs the result
            where a lookup's rows tie with different values, or where a value came from the future.
        tables: Frames of the registered names among the lookups.
        statistics: What `join_statistics` counted of the same rows: by them hot keys are spread over tasks, and short
            ones compared without a sort. `explain_join` says what it comes to.

    Returns:
        The spine's columns, then the features.

    Raises:
        ContractError: Before any job: a clash of names, missing columns, differing key types, a time that is no
            `timestamp`, a default of another type, or a registered name without a frame.
    """
    sources = _checked(spine, lookups, spine_time, tables, audit=audit)
    state = spine.select(F.struct(*(F.col(quote(name)) for name in spine.columns)).alias("spine"))
    for names, group in groups(sources):
        known = statistics.entities.get(names) if statistics else None
        method = choose(names, group, known).method
        if method == INTERVAL:
            state = join_validity(state, group, names, spine_time)
        else:
            buckets = Buckets(known) if known and method == BUCKETS else None
            state = join_running(state, group, names, spine.schema, spine_time, buckets)
    columns = [F.col("spine").getField(name).alias(name) for name in spine.columns]
    columns += [column for source in sources for column in source.found(F.col(source.hit))]
    columns += [column for source in sources for column in source.found_times(F.col(source.hit))]
    return state.select(columns)


def explain_join(
    spine: DataFrame,
    lookups: Sequence[Lookup],
    *,
    spine_time: str,
    audit: bool = False,
    tables: Mapping[str, DataFrame] | None = None,
    statistics: JoinStatistics | None = None,
) -> JoinPlan:
    """Which plan `point_in_time_join` takes for each entity with the same arguments, why, and with how many shuffles; starts no job.

    Raises:
        ContractError: As the join.
    """
    sources = _checked(spine, lookups, spine_time, tables, audit=audit)
    known = statistics.entities if statistics else {}
    return JoinPlan(tuple(choose(names, group, known.get(names)) for names, group in groups(sources)))


def join_statistics(
    spine: DataFrame,
    lookups: Sequence[Lookup],
    *,
    spine_time: str,
    tables: Mapping[str, DataFrame] | None = None,
    task_rows: int = 4_000_000,
) -> JoinStatistics:
    """Count the rows that a join would bring together, by key: a job for each entity, and one more where keys are hot.

    It shuffles no more than a row for each key and task. Worth its cost where some keys may hold a good part of the rows.

    Args:
        spine: As for the join; its keys and times must be the same each time it is read.
        lookups: As for the join.
        spine_time: As for the join.
        tables: As for the join.
        task_rows: Rows of one key above which it is cut into tasks of about as many rows.

    Raises:
        ContractError: As the join; or less than one row a task.
    """
    if task_rows < 1:
        raise ContractError(f"task_rows={task_rows}", expected="1 or more", mend="leave it out")
    sources = _checked(spine, lookups, spine_time, tables)
    return JoinStatistics({names: measure_entity(spine, group, names, spine_time, task_rows) for names, group in groups(sources)})


def _checked(
    spine: DataFrame, lookups: Sequence[Lookup], spine_time: str, tables: Mapping[str, DataFrame] | None, *, audit: bool = False
) -> tuple[Source, ...]:
    sources = resolve(lookups, tables or {}, audit=audit)
    check(spine, sources, spine_time)
    return sources
