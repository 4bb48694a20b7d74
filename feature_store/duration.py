"""Lengths of time as people write them: `7d`, `90m`; a day is 24 hours in every zone."""

from __future__ import annotations

import re
from datetime import timedelta

from feature_store.errors import ContractError

__all__ = ["duration_text", "is_duration", "parse_duration"]

_TEXT = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)")
_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


def is_duration(text: object) -> bool:
    """Whether a text reads as a length of time."""
    return isinstance(text, str) and _TEXT.fullmatch(text) is not None


def parse_duration(text: str | timedelta) -> timedelta:
    """A length of time from text; a timedelta stays what it is.

    Args:
        text: A whole number and a unit: w, d, h, m (minutes), s or ms.

    Raises:
        ContractError: The text is no length of time.

    >>> parse_duration("90m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(text, timedelta):
        return text
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ContractError(f"the duration {text!r}", expected="a whole number and w, d, h, m, s or ms, as `7d` or `90m`", mend="correct it")
    return int(found[1]) * _UNITS[found[2]]


def duration_text(length: timedelta) -> str:
    """The shortest text of a length of time; equal lengths have equal texts.

    Raises:
        ContractError: It is finer than a millisecond.

    >>> duration_text(parse_duration("48h"))
    '2d'
    """
    for unit in ("d", "h", "m", "s", "ms"):
        if length % _UNITS[unit] == timedelta(0):
            return f"{length // _UNITS[unit]}{unit}"
    raise ContractError(f"the duration {length}", expected="whole milliseconds", mend="round it")
