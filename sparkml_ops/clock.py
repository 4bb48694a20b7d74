"""The clock of a verb: `as_of`, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sparkml_ops.window import instant

__all__ = ["is_stale", "resolve", "spoken", "wall"]


def wall() -> datetime:
    """The wall clock: only for the times of a run itself, never for what was known."""
    return datetime.now(UTC)


def resolve(as_of: datetime | str | None) -> datetime:
    """The instant as of which a verb works: the given one, or now."""
    return wall() if as_of is None else instant(as_of)


def is_stale(age: float | None, freshness: float | None) -> bool:
    """Whether something is older than promised, or not there at all.

    Args:
        age: Seconds; None: there is nothing.
        freshness: Most seconds that were promised; None: there is no promise.

    >>> is_stale(None, 60.0), is_stale(61.0, 60.0), is_stale(None, None)
    (True, True, False)
    """
    return freshness is not None and (age is None or age > freshness)


def spoken(seconds: float) -> str:
    """A length of time for people: `31d 4h`, `4h`, `12m`.

    >>> spoken(2_692_800.0), spoken(59.0)
    ('31d 4h', '0m')
    """
    days, rest = divmod(timedelta(seconds=seconds), timedelta(days=1))
    hours, minutes = divmod(rest, timedelta(hours=1))
    if days:
        return f"{days}d {hours}h" if hours else f"{days}d"
    return f"{hours}h" if hours else f"{minutes // timedelta(minutes=1)}m"
