"""A first contract of a model's inputs, from what its training set was like: pure functions of a few facts about each column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import yaml

from feature_store.quality import Expectation

__all__ = ["ColumnFacts", "Severity", "WindowFacts", "learnt_rules", "to_yaml"]

Severity = Literal["fail", "quarantine", "warn"]
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_NUMBERS = (*_WHOLE, "float", "double")
# A share of nulls may be so much higher than it was; `drift` judges smaller rises against chance.
_MORE_NULLS = 0.05
_FEWER, _MORE, _LATER = 0.5, 2.0, 2.0
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class ColumnFacts:
    """One column of the training rows.

    Args:
        name: Its name.
        type: Spark's short form of its type.
        rows: Rows.
        nulls: Nulls.
        nan: NaN.
        low: Least number; None for other types or without one.
        high: Greatest number.
        values: All values of a text column; None where they are too many, personal, or no text.
        patterns: All patterns of a text column, runs of letters as `a` and of digits as `9`; None likewise.
    """

    name: str
    type: str
    rows: int
    nulls: int
    nan: int = 0
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    patterns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class WindowFacts:
    """The whole windows among the training rows.

    Args:
        fewest: Rows of the emptiest.
        most: Rows of the fullest.
        latest: Longest time from a window's newest row to its end.
    """

    fewest: int
    most: int
    latest: timedelta


def learnt_rules(
    columns: Sequence[ColumnFacts], windows: WindowFacts | None, *, margin: float = 0.1, otherwise: Severity = "warn"
) -> tuple[Expectation, ...]:
    """The rules that the training rows keep, each with some room.

    Of each column its type; that it is never null, or by how much more it may be; the range of a number, wider by a margin on either side and
    above zero where it never was below; the values of a text column, or its patterns where the values are many. Of a window its number of rows
    (half the fewest to twice the most) and the age of its newest row (twice the longest).

    Args:
        columns: What the training rows are like.
        windows: What whole windows of them are like; None: there is none.
        margin: Share of a range by which it may be left on either side.
        otherwise: What happens where a rule about rows does not hold. Rules about the table warn, but for types, which fail.

    >>> [rule.name for rule in learnt_rules([ColumnFacts("distance", "double", 100, 2, low=80.0, high=4980.0)], None)]
    ['distance of type double', 'at most 0.07 of distance missing', 'distance between 0.0 and 5470.0']
    """
    return tuple(rule for facts in columns for rule in _of_column(facts, margin, otherwise)) + tuple(_of_windows(windows))


def to_yaml(rules: Sequence[Expectation], learnt_from: str) -> str:
    """The rules as a file of the project's configuration, a line each."""
    head = "# What a window's rows keep to before they are scored; learnt, and yours to edit: `sparkml-ops contract check` tries it on a window.\n"
    lines = [yaml.safe_dump(_plain(rule.document()), default_flow_style=True, sort_keys=False, width=math.inf).strip() for rule in rules]
    origin = yaml.safe_dump({"learnt_from": learnt_from}, width=math.inf).strip()
    return f"{head}scoring:\n  contract:\n    {origin}\n    rules:\n" + "".join(f"      - {line}\n" for line in lines)


def _of_column(facts: ColumnFacts, margin: float, otherwise: Severity) -> Iterator[Expectation]:
    yield Expectation("type", facts.name, type=facts.type)
    missing = facts.nulls + facts.nan
    if not facts.rows:
        return
    if not missing:
        yield Expectation("not_null", facts.name, otherwise=otherwise)
    elif (most := math.ceil(round(100 * (missing / facts.rows + _MORE_NULLS), 6)) / 100) < 1:
        yield Expectation("nulls", facts.name, high=most, otherwise="warn")
    if facts.low is not None and facts.high is not None and facts.type in _NUMBERS:
        yield _range(facts, facts.low, facts.high, margin, otherwise)
    elif facts.values:
        yield Expectation("one_of", facts.name, values=facts.values, otherwise=otherwise)
    elif facts.patterns:
        yield Expectation("pattern", facts.name, pattern="|".join(map(_expression, facts.patterns)), otherwise=otherwise)


def _range(facts: ColumnFacts, low: float, high: float, margin: float, otherwise: Severity) -> Expectation:
    room = margin * (high - low)
    least = max(0.0, low - room) if low >= 0 else low - room
    whole = facts.type in _WHOLE
    limits: tuple[float, float] = (math.floor(least), math.ceil(high + room)) if whole else (_rounded(least), _rounded(high + room, up=True))
    if facts.nan:
        # NaN lies outside every range, and here it stands for a value that is not known.
        name = f"`{facts.name}`"
        said = f"isnan({name}) or ({name} >= {limits[0]} and {name} <= {limits[1]})"
        return Expectation("sql", sql=said, otherwise=otherwise, name=f"{facts.name} between {limits[0]} and {limits[1]}")
    return Expectation("between", facts.name, low=limits[0], high=limits[1], otherwise=otherwise)


def _rounded(value: float, *, up: bool = False) -> float:
    """To four digits, away from the range that it ends: nobody edits seventeen."""
    if not value or not math.isfinite(value):
        return value
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 3)
    return float(f"{(math.ceil if up else math.floor)(value / step) * step:.6g}")


def _expression(pattern: str) -> str:
    """A regular expression of a pattern, in what Python's and Java's have in common.

    >>> print(_expression("9 9"))
    [0-9]+ [0-9]+
    """
    parts = {"a": r"[A-Za-z\u0080-\uffff]+", "9": "[0-9]+"}
    return "".join(parts.get(sign) or (sign if sign.isalnum() or sign in " _" else f"\\{sign}") for sign in pattern)


def _of_windows(windows: WindowFacts | None) -> Iterator[Expectation]:
    if windows is not None:
        yield Expectation("rows", low=math.floor(_FEWER * windows.fewest), high=math.ceil(_MORE * windows.most), otherwise="warn")
        yield Expectation("fresh", within=max(_HOUR, timedelta(seconds=math.ceil(_LATER * windows.latest.total_seconds()))), otherwise="warn")


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without the name that words give it anyway."""
    named = document.get("rule") == "sql"
    return {name: value for name, value in document.items() if name != "name" or named}
