"""Registers without a history: what they say holds for the whole year."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import Column
from pyspark.sql import functions as F

__all__ = ["since"]

_START = datetime(2013, 1, 1, tzinfo=UTC)


def since() -> Column:
    """The instant from which a register's rows hold: the beginning of 2013, before the first prediction."""
    return F.lit(_START)
