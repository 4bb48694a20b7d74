"""Columns that place rows of several frames on one timeline, in whole microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from feature_store.checks import is_plain
from feature_store.names import quote

__all__ = ["EVENT", "READER", "known_micros", "micros", "orderable", "spread"]

EVENT, READER = 0, 1  # at one instant what happened sorts before the rows that may see it


def micros(length: timedelta) -> int:
    """A length of time in microseconds.

    >>> micros(timedelta(seconds=2))
    2000000
    """
    return length // timedelta(microseconds=1)


def known_micros(event: Column, known_time: str | timedelta | None) -> Column:
    """Microseconds since the epoch at which a row became known; null is never.

    Args:
        event: Its event time in microseconds.
        known_time: A column, a delay added to the event time, or None for the event time.
    """
    if known_time is None:
        return event
    if isinstance(known_time, timedelta):
        return F.try_add(event, F.lit(micros(known_time)))
    return F.unix_micros(F.col(quote(known_time)))


def orderable(value: Column, kind: DataType) -> Column:
    """What a value is ordered by: itself, or its JSON where its type has no order, or one in which unlike values tie."""
    return value if is_plain(kind) else F.to_json(F.struct(value.alias("value")))


def spread(complete: Column, hashable: Iterable[Column]) -> Column:
    """A column beside the keys that scatters rows which can match nothing; zero for all others.

    They would meet in one task otherwise. Splitting them off before the shuffle instead would read the
    spine twice for each entity, and lose or double rows where its plan is not deterministic.
    """
    return F.when(complete, F.lit(0).cast("long")).otherwise(F.xxhash64(*hashable))
