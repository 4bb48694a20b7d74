"""What a team expects of a feature table's rows, declared beside its features."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal

from feature_store.duration import duration_text, parse_duration
from feature_store.errors import ContractError
from feature_store.expressions import check, columns_of
from feature_store.nearest import did_you_mean

__all__ = ["RULES", "SEVERITIES", "Expectation", "check_expectations"]

# Each rule: what it needs, and what it may have besides.
RULES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "not_null": (frozenset({"column"}), frozenset()),
    "between": (frozenset({"column"}), frozenset({"low", "high"})),
    "one_of": (frozenset({"column", "values"}), frozenset()),
    "pattern": (frozenset({"column", "pattern"}), frozenset()),
    "unique": (frozenset({"columns"}), frozenset()),
    "sql": (frozenset({"sql"}), frozenset()),
    "type": (frozenset({"column", "type"}), frozenset()),
    "nulls": (frozenset({"column", "high"}), frozenset()),
    "rows": (frozenset(), frozenset({"low", "high"})),
    "fresh": (frozenset({"within"}), frozenset()),
    "change": (frozenset({"of", "by"}), frozenset({"column"})),
}
SEVERITIES = ("fail", "quarantine", "warn")
_OF_TABLE = frozenset({"type", "nulls", "rows", "fresh", "change"})
_LIMITED = frozenset({"between", "rows"})
_MEASURES = ("rows", "mean", "nulls")
_NUMBERS = frozenset({"tinyint", "smallint", "int", "bigint", "float", "double"})


@dataclass(frozen=True)
class Expectation:
    """One rule about the rows that are written to a feature table, and what happens where it does not hold.

    | rule | holds where | needs |
    |---|---|---|
    | `not_null` | the column is not null | `column` |
    | `between` | `low` ≤ the number ≤ `high`; NaN is outside | `column`, one limit or both |
    | `one_of` | the value is one of `values` | `column`, `values` |
    | `pattern` | the whole text matches a regular expression | `column`, `pattern` |
    | `unique` | no other row of the table has the same values of `columns` | `columns` |
    | `sql` | the predicate over one row is not false | `sql` |
    | `type` | the column has this Spark type, as `bigint` | `column`, `type` |
    | `nulls` | at most the share `high` of the rows is null or NaN; 0 to 1 | `column`, `high` |
    | `rows` | `low` ≤ number of rows written ≤ `high` | one limit or both |
    | `fresh` | the newest event time written is not older than `within` before the write | `within` |
    | `change` | `rows`, or the `mean` or share of `nulls` of a column, moved by at most `by` since the last write | `of`, `by` |

    A null passes every rule but `not_null`, as it does in SQL's CHECK. `by` is relative for `rows` and `mean` (0.2: a fifth more
    or less) and absolute for `nulls` (0.05: five rows in a hundred). A write of a part is compared with the last write of a part,
    a whole table with the last whole table; with nothing to compare with, `change` is not judged.

    Args:
        rule: One of `RULES`.
        column: The column that it is about.
        otherwise: `fail` refuses the write, `quarantine` keeps the bad rows out and apart, `warn` reports only. The last five
            rules judge a table, of which no single row is bad: they cannot quarantine.
        name: What reports and quarantined rows call it; None: its words.

    Raises:
        ContractError: An unknown rule, or settings that do not belong to it.

    >>> Expectation("between", "delay", low=-60, high=600, otherwise="quarantine").name
    'delay between -60 and 600'
    """

    rule: str
    column: str | None = None
    low: float | None = field(default=None, kw_only=True)
    high: float | None = field(default=None, kw_only=True)
    values: tuple[bool | int | float | str, ...] = field(default=(), kw_only=True)
    pattern: str | None = field(default=None, kw_only=True)
    columns: tuple[str, ...] = field(default=(), kw_only=True)
    sql: str | None = field(default=None, kw_only=True)
    within: timedelta | None = field(default=None, kw_only=True)
    type: str | None = field(default=None, kw_only=True)
    of: str | None = field(default=None, kw_only=True)
    by: float | None = field(default=None, kw_only=True)
    otherwise: Literal["fail", "quarantine", "warn"] = field(default="fail", kw_only=True)
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("values", "columns"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if self.within is not None:
            object.__setattr__(self, "within", parse_duration(self.within))
        if self.sql is not None:
            object.__setattr__(self, "sql", check(self.sql))
        _check_settings(self)
        _check_values(self)
        object.__setattr__(self, "name", self.name or _words(self))

    @property
    def of_table(self) -> bool:
        """Whether it judges all rows together, of which none is bad by itself."""
        return self.rule in _OF_TABLE

    @property
    def read(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*((self.column,) if self.column else ()), *self.columns, *(columns_of(self.sql) if self.sql else ()))

    def document(self) -> dict[str, Any]:
        """What is set, as JSON types."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: _plain(value) for name, value in values.items() if value not in (None, (), "")}


def check_expectations(expectations: Sequence[Expectation], columns: Iterable[str], types: Mapping[str, str], what: str) -> None:
    """Refuse expectations that cannot be meant of a table.

    Args:
        columns: The table's, stored as they are.
        types: Those that are declared, by column.
        what: The table, for the message.
    """
    known = list(columns)
    names = [item.name for item in expectations]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ContractError(f"the expectation `{doubled[0]}` twice {what}", expected="a name for each", mend="remove one of them, or set name=")
    folded = {name.lower() for name in known}
    for item in expectations:
        # In SQL `A` is `a`; everywhere else a column has one spelling.
        missing = [name for name in item.read if (name.lower() not in folded if item.sql else name not in known)]
        if missing:
            hints = ", ".join(f"`{name}`{did_you_mean(name, known)}" for name in missing[:5])
            raise ContractError(f"the column {hints} in the expectation `{item.name}` {what}", expected=f"one of {known}", mend="correct the name")
        if item.column is not None and item.column in types:
            check_type(item, types[item.column], what)


def check_type(item: Expectation, kind: str, what: str) -> None:
    """Refuse a rule over a column whose type it cannot judge.

    Args:
        kind: Spark's short form of the type.
    """
    number = kind in _NUMBERS or kind.startswith("decimal")
    if item.rule == "between" or item.of == "mean":
        fits, expected = number, "a number"
    elif item.rule == "pattern":
        fits, expected = kind == "string", "a string"
    elif item.rule == "one_of":
        texts = all(isinstance(value, str) for value in item.values)
        truths = all(isinstance(value, bool) for value in item.values)
        numbers = all(map(_number, item.values))
        fits, expected = (texts and kind == "string") or (truths and kind == "boolean") or (numbers and number), f"values of type {kind}"
    else:
        return
    if not fits:
        mend = 'correct it, or say it in SQL: Expectation("sql", sql="at >= timestamp \'2013-01-01 00:00:00Z\'")'
        raise ContractError(f"`{item.name}` over `{item.column}` of type {kind} {what}", expected=expected, mend=mend)


def _check_settings(item: Expectation) -> None:
    if item.rule not in RULES:
        raise ContractError(f"the rule {item.rule!r}{did_you_mean(str(item.rule), RULES)}", expected=f"one of {list(RULES)}", mend="correct it")
    needs, may = RULES[item.rule]
    given = {one.name for one in fields(item) if one.name not in {"rule", "otherwise", "name"} and getattr(item, one.name) not in (None, ())}
    lacks, extra = sorted(needs - given), sorted(given - needs - may)
    if item.rule in _LIMITED and not given & {"low", "high"}:
        lacks = ["low or high"]
    if lacks or extra:
        found = " and ".join(filter(None, (f"without {', '.join(lacks)}" if lacks else "", f"with {', '.join(extra)}" if extra else "")))
        raise ContractError(f"the rule `{item.rule}` {found}", expected=f"{', '.join(sorted(needs | may))}", mend="correct the expectation")
    if item.otherwise not in SEVERITIES:
        raise ContractError(
            f"otherwise={item.otherwise!r}{did_you_mean(str(item.otherwise), SEVERITIES)}", expected=f"one of {list(SEVERITIES)}", mend="correct it"
        )
    if item.of_table and item.otherwise == "quarantine":
        raise ContractError(f"`{item.rule}` that quarantines", expected='"fail" or "warn": no single row is bad', mend="change otherwise=")


def _check_values(item: Expectation) -> None:
    limits = [limit for limit in (item.low, item.high) if limit is not None]
    if not all(_number(limit) for limit in limits) or limits != sorted(limits):
        raise ContractError(f"low={item.low!r} and high={item.high!r}", expected="numbers, the low one first", mend="correct the limits")
    if item.rule == "nulls" and not 0 <= float(item.high or 0.0) <= 1:
        raise ContractError(f"nulls with high={item.high!r}", expected="a share, 0 to 1", mend="correct it")
    if item.within is not None and item.within <= timedelta(0):
        raise ContractError(f"within of {item.within}", expected="more than zero", mend="set a positive length")
    if item.pattern is not None:
        try:
            re.compile(item.pattern)
        except re.error as error:
            mend = "correct it, in what Python's and Java's expressions have in common"
            raise ContractError(f"the pattern {item.pattern!r} ({error})", expected="a regular expression", mend=mend) from None
    if item.rule == "change":
        if item.of not in _MEASURES or (item.of == "rows") != (item.column is None):
            raise ContractError(
                f"a change of {item.of!r} with column={item.column!r}", expected='"rows", or "mean" or "nulls" of a column', mend="correct of="
            )
        if not _number(item.by) or item.by <= 0:  # type: ignore[operator]
            raise ContractError(f"by={item.by!r}", expected="a share above zero, as 0.2", mend="correct it")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _words(item: Expectation) -> str:
    limits = {(True, True): f"between {item.low} and {item.high}", (True, False): f"at least {item.low}", (False, True): f"at most {item.high}"}
    limited = limits.get((item.low is not None, item.high is not None), "")
    within = duration_text(item.within) if item.within else ""
    of = "rows" if item.of == "rows" else f"{item.of} of {item.column}"
    return {
        "not_null": f"{item.column} not null",
        "between": f"{item.column} {limited}",
        "one_of": f"{item.column} one of {len(item.values)} values",
        "pattern": f"{item.column} like {item.pattern}",
        "unique": f"{', '.join(item.columns)} unique",
        "sql": str(item.sql),
        "type": f"{item.column} of type {item.type}",
        "nulls": f"at most {item.high} of {item.column} missing",
        "rows": f"rows {limited}",
        "fresh": f"fresh within {within}",
        "change": f"{of} within {item.by} of the last",
    }[item.rule]


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return duration_text(value)
    return list(value) if isinstance(value, tuple) else value
