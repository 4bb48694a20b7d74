"""Of several rows with one key the one that became known last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.checks import require_columns, require_instant
from feature_store.errors import ContractError
from feature_store.names import quote
from feature_store.timeline import micros

__all__ = ["Versions"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST = "__newest"


@dataclass(frozen=True)
class Versions:
    """How rows and their corrections stand in one table, and as of when they are read.

    Args:
        keys: Columns that identify a row.
        known_time: Column (timestamp) of when a version of it became known.
        as_of: What became known later is left out, UTC.

    Raises:
        ContractError: No keys.
    """

    keys: tuple[str, ...]
    known_time: str
    as_of: datetime

    def __post_init__(self) -> None:
        if not self.keys:
            raise ContractError(f"the known time `{self.known_time}` without a row key", expected="columns that identify a row", mend="set row_key")

    def last(self, frame: DataFrame, what: str) -> DataFrame:
        """The rows known at the instant, without those of which a later version was known as well; lazy.

        Rows that share key and last known time all stay: none is known to be the right one. A row without a known
        time was never known; one with a null in its key has no other version.

        Args:
            what: The frame's part in the call, for the message.

        Raises:
            ContractError: A column is missing, or the known time is no instant.
        """
        require_columns(frame, (*self.keys, self.known_time), what)
        require_instant(frame.schema, self.known_time, f"the known time of {what},")
        known = F.unix_micros(F.col(quote(self.known_time)))
        rows = frame.where(known <= F.lit(micros(self.as_of - _EPOCH)))
        # Joined instead of ranked: keys and times alone are shuffled of rows that a later filter leaves out.
        named = [F.col(quote(name)).alias(f"__key_{index}") for index, name in enumerate(self.keys)]
        newest = rows.groupBy(*named).agg(F.max(known).alias(_NEWEST))
        same = [F.col(quote(name)) == F.col(f"__key_{index}") for index, name in enumerate(self.keys)]
        return rows.join(newest, reduce(Column.__and__, [*same, known < F.col(_NEWEST)]), "left_anti")
