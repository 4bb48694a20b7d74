"""Windows of work: half-open UTC intervals with a label."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sparkml_ops.errors import ContractError

__all__ = ["Size", "Window", "instant"]

Size = Literal["month", "day", "hour"]
_SIZES: dict[int, Size] = {7: "month", 10: "day", 13: "hour"}
_LABEL = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2})(?:T(\d{2}))?)?")


@dataclass(frozen=True)
class Window:
    """A half-open interval [start, end) of UTC instants: a month, a day or an hour.

    >>> Window.parse("2013-07").end.isoformat()
    '2013-08-01T00:00:00+00:00'
    >>> Window.parse("2013-12-31T23").next().label
    '2014-01-01T00'
    """

    label: str
    start: datetime
    end: datetime

    @classmethod
    def parse(cls, label: str) -> Window:
        """Read a label: `2013-07`, `2013-07-14` or `2013-07-14T05`.

        Raises:
            ContractError: No such label, or no such date.
        """
        found = _LABEL.fullmatch(label)
        expected = "a month `2013-07`, a day `2013-07-14` or an hour `2013-07-14T05`, in UTC"
        if not found:
            raise ContractError(f"the window {label!r}", expected=expected, mend="correct --window")
        year, month, day, hour = (int(part) if part else None for part in found.groups())
        try:
            start = datetime(year or 0, month or 0, day or 1, hour or 0, tzinfo=UTC)
        except ValueError as error:
            raise ContractError(f"the window {label!r} ({error})", expected=expected, mend="correct --window") from None
        if hour is not None:
            return cls(label, start, start + timedelta(hours=1))
        if day is not None:
            return cls(label, start, start + timedelta(days=1))
        return cls(label, start, _next_month(start))

    @property
    def size(self) -> Size:
        """How long it is."""
        return _SIZES[len(self.label)]

    def next(self) -> Window:
        """The window of the same size that begins where this one ends."""
        form = {7: "%Y-%m", 10: "%Y-%m-%d", 13: "%Y-%m-%dT%H"}[len(self.label)]
        return Window.parse(self.end.strftime(form))


def _next_month(start: datetime) -> datetime:
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def instant(text: str | datetime) -> datetime:
    """An instant in UTC from ISO 8601 text; a date is its midnight, text without a zone is UTC.

    Raises:
        ContractError: The text is no instant.

    >>> instant("2013-07-01").isoformat()
    '2013-07-01T00:00:00+00:00'
    """
    try:
        value = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except ValueError:
        raise ContractError(f"the instant {text!r}", expected="ISO 8601, as 2013-07-01 or 2013-07-01T05:00:00Z", mend="correct it") from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
