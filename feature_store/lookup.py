"""What one lookup of a point-in-time join takes from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from feature_store.checks import Keys, key_pairs
from feature_store.duration import parse_duration
from feature_store.errors import ContractError

__all__ = ["Lookup"]


@dataclass(frozen=True)
class Lookup:
    """Features of one table for a spine.

    Args:
        table: A registered name, or a DataFrame.
        keys: Columns that the spine and the table share, or {spine column: table column}. A null matches nothing, and neither does
            a NaN, which is how a missing number arrives from pandas: all that lack a key would be one entity otherwise.
        features: Columns to take; None takes all but keys, event time, known time and tie-break columns.
        event_time: The table's column (timestamp) of when a value holds from; a registered table declares its own.
        known_time: When a value became known: a column (timestamp), or a delay added to the event time;
            None says at the event time.
        ttl: Age in event time beyond which a value no longer counts (a timedelta, or text such as "7d"); None: never.
        exact_match: Whether a value whose event time is the spine time counts.
        tie_break: Columns that decide between rows of equal event and known time; the greatest wins.
        prefix: Set before the names of the features.
        defaults: Feature to the value that it has where no row matches; a null of a matched row stays null.

    Raises:
        ContractError: No keys, no features, a ttl of zero or less, or a delay that is neither column nor timedelta.

    >>> Lookup("weather", ("origin",), ("wind_speed",), ttl="3h").ttl
    datetime.timedelta(seconds=10800)
    """

    table: Any  # a str or a DataFrame of either kind; the oracle of feature_store.testing takes pandas frames
    keys: Keys
    features: tuple[str, ...] | None = None
    event_time: str | None = None
    known_time: str | timedelta | None = None
    ttl: timedelta | None = None
    exact_match: bool = True
    tie_break: tuple[str, ...] = ()
    prefix: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key_pairs(self.keys)
        if not isinstance(self.keys, Mapping):
            object.__setattr__(self, "keys", (self.keys,) if isinstance(self.keys, str) else tuple(self.keys))
        for name in ("features", "tie_break"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if self.features == ():
            raise ContractError("a lookup without features", expected="at least one", mend="name features, or leave out the lookup")
        if not (self.known_time is None or isinstance(self.known_time, str | timedelta)):
            raise ContractError(f"known_time {self.known_time!r}", expected="a column's name, a timedelta or None", mend="correct it")
        if self.ttl is not None:
            object.__setattr__(self, "ttl", parse_duration(self.ttl))
            if self.ttl <= timedelta(0):
                raise ContractError(f"a ttl of {self.ttl}", expected="more than zero", mend="set a positive ttl, or None for no limit")

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Keys as (spine column, table column)."""
        return key_pairs(self.keys)
