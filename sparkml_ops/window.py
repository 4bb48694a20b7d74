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
        return self._at(self.end)

    def previous(self) -> Window:
        """The window of the same size that ends where this one begins.

        >>> Window.parse("2014-01").previous().label
        '2013-12'
        """
        return self._at(self.start - timedelta(hours=1))

    def ago(self, span: Literal["week", "year"]) -> Window:
        """The same window a week or a year ago.

        >>> Window.parse("2013-07-14T05").ago("week").label, Window.parse("2013-07").ago("year").label
        ('2013-07-07T05', '2012-07')

        Raises:
            ContractError: There is none: a month has no week ago, and 29 February has no year ago.
        """
        if span == "week" and self.size != "month":
            return self._at(self.start - timedelta(days=7))
        if span == "year" and (self.start.month, self.start.day, self.size != "month") != (2, 29, True):
            return self._at(self.start.replace(year=self.start.year - 1))
        raise ContractError(f"{self.label} a {span} ago", expected="a window that there was", mend="compare with another window")

    def _at(self, start: datetime) -> Window:
        return Window.parse(start.strftime({"month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}[self.size]))


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
    except (TypeError, ValueError):
        raise ContractError(f"the instant {text!r}", expected="ISO 8601, as 2013-07-01 or 2013-07-01T05:00:00Z", mend="correct it") from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
