"""The clock of a verb: `as_of`, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from sparkml_ops.window import instant

__all__ = ["resolve", "wall"]


def wall() -> datetime:
    """The wall clock: only for the times of a run itself, never for what was known."""
    return datetime.now(UTC)


def resolve(as_of: datetime | str | None) -> datetime:
    """The instant as of which a verb works: the given one, or now."""
    return wall() if as_of is None else instant(as_of)
