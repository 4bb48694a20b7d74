"""Which rows of a looked-up table an instant inside a stretch of time can see at all.

A join sorts every row of a table by entity and time, and a month's spine sees a month of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.lookup import Lookup
from feature_store.names import quote

__all__ = ["Between", "held_between", "within_reach"]

Between = tuple[datetime, datetime]
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)  # of a feature table's times


def held_between(spine: DataFrame, time: str, between: Between) -> DataFrame:
    """The spine, of which a row outside its two instants fails the job: it would not see what it should; lazy."""
    column = F.col(quote(time))
    outside = ~column.between(*map(F.lit, between))
    said = F.concat(F.lit(f"a spine row at {time}="), column.cast("string"), F.lit(f" outside {between[0]} to {between[1]}"))
    return spine.withColumn(time, F.when(outside, F.raise_error(said)).otherwise(column))


def within_reach(frame: DataFrame, lookups: Sequence[Lookup], between: Between) -> DataFrame:
    """The rows of a table that some lookup could find from an instant between two; lazy, and no row more is lost.

    A row is found while event time ≤ spine time ≤ event time + ttl. Its known time is left to the join.

    Args:
        frame: The table's rows.
        lookups: All lookups of it, with event time and ttl filled in.
        between: The first and the last instant of the spine, both included.
    """
    first, last = between
    seen = [_seen(lookup, first, last) for lookup in lookups]
    wanted = seen[0]
    for condition in seen[1:]:
        wanted = wanted | condition
    return frame.where(wanted)


def _seen(lookup: Lookup, first: datetime, last: datetime) -> Column:
    event = F.col(quote(lookup.event_time or ""))
    before = event <= F.lit(last)
    if lookup.ttl is None or lookup.ttl > first - _EARLIEST:
        return before
    return before & (event >= F.lit(first - lookup.ttl))
