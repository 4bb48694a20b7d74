"""SQL of the writes that have no other form, and conditions: in SQL, since Delta's own Python interface needs a plugin in a Spark Connect server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from feature_store.errors import ContractError
from feature_store.names import quote

__all__ = ["lacking", "merge_statement", "part_condition", "stretch_predicate"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PART = re.compile(r"[A-Za-z0-9:._-]{1,128}")


def merge_statement(
    target: str, columns: Sequence[str], keys: Sequence[str], *, gone: str | None = None, between: tuple[str, int, int] | None = None
) -> str:
    """MERGE of a frame `{source}`: rows with new keys come in, rows whose other columns differ change, equal rows stay untouched.

    Args:
        target: Quoted name of the table.
        columns: The frame's; other columns of the table stay as they are, and are null in new rows.
        keys: Columns that identify a row; they compare null-safe.
        gone: Column of the frame, no column of the table, that is true for rows to delete.
        between: A timestamp column among the keys, and the half-open range of microseconds in which it lies in every row of the frame.

    >>> merge_statement("t", ["k", "x"], ["k"])
    'MERGE INTO t AS target USING {source} AS source ON target.`k` <=> source.`k` \
WHEN MATCHED AND NOT (target.`x` <=> source.`x`) THEN UPDATE SET target.`k` = source.`k`, target.`x` = source.`x` \
WHEN NOT MATCHED THEN INSERT (`k`, `x`) VALUES (source.`k`, source.`x`)'
    """
    stored = [column for column in columns if column != gone]
    names = [_literal(quote(column)) for column in stored]
    same = " AND ".join([*map(_same, keys), *([] if between is None else [_lies(*between)])])
    equal = " AND ".join(_same(column) for column in stored if column not in keys) or "true"
    update = ", ".join(f"target.{column} = source.{column}" for column in names)
    insert = f"({', '.join(names)}) VALUES ({', '.join(f'source.{column}' for column in names)})"
    lost = "" if gone is None else f"source.{_literal(quote(gone))}"
    delete, fresh = (f"WHEN MATCHED AND {lost} THEN DELETE ", f" AND NOT {lost}") if lost else ("", "")
    clauses = f"{delete}WHEN MATCHED AND NOT ({equal}) THEN UPDATE SET {update} WHEN NOT MATCHED{fresh} THEN INSERT {insert}"
    return f"MERGE INTO {_literal(target)} AS target USING {{source}} AS source ON {same} {clauses}"


def stretch_predicate(column: str, start: int, end: int) -> str:
    """That a timestamp column lies in a half-open range of microseconds, in literals alone: Delta skips files by nothing else.

    >>> stretch_predicate("at", 0, 1_000_001)
    "`at` >= TIMESTAMP '1970-01-01 00:00:00.000000+00:00' AND `at` < TIMESTAMP '1970-01-01 00:00:01.000001+00:00'"
    """
    first, last = (f"TIMESTAMP '{_EPOCH + timedelta(microseconds=instant):%Y-%m-%d %H:%M:%S.%f}+00:00'" for instant in (start, end))
    return f"{quote(column)} >= {first} AND {quote(column)} < {last}"


def lacking(name: str, there: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Quoted columns, with their types, that a table lacks.

    Args:
        name: The table, for the message.
        there: Its columns and their types.
        wanted: Columns that it is to have.

    Raises:
        ContractError: A column is there with another type.

    >>> lacking("t", {"k": "string"}, {"k": "string", "x": "double"})
    ['`x` double']
    """
    # Delta tells no `A` from `a`.
    folded = {column.lower(): kind for column, kind in there.items()}
    for column, kind in wanted.items():
        if (stored := folded.get(column.lower(), kind)) != kind:
            raise ContractError(
                f"`{column}` of type {kind} where `{name}` stores {stored}",
                expected="the stored type",
                mend="take another name, or declare a new version",
            )
    return [f"{quote(column)} {kind}" for column, kind in wanted.items() if column.lower() not in folded]


def part_condition(where: Mapping[str, str | Sequence[str]], mark: Literal["`", '"']) -> str:
    """The rows of some partition values.

    Args:
        where: Partition column to value, or to some values; values are labels (letters, digits, `:._-`).
        mark: What stands around a name: Spark's sign, or that of the standard.

    Raises:
        ContractError: Another value.

    >>> part_condition({"window": ["2013-07", "2013-08"], "slot": "champion"}, "`")
    "`window` IN ('2013-07', '2013-08') AND `slot` IN ('champion')"
    """
    wanted = {column: (values,) if isinstance(values, str) else tuple(values) for column, values in where.items()}
    for values in wanted.values():
        if wrong := [value for value in values if not _PART.fullmatch(value)]:
            raise ContractError(f"the partition value {wrong[0]!r}", expected="letters, digits and :._- only", mend="use such a label")
    names = {column: mark + column.replace(mark, 2 * mark) + mark for column in wanted}
    return " AND ".join(f"{names[column]} IN ({', '.join(map(repr, values))})" for column, values in wanted.items())


def _same(column: str) -> str:
    return f"target.{_literal(quote(column))} <=> source.{_literal(quote(column))}"


def _lies(column: str, start: int, end: int) -> str:
    target = f"target.{_literal(quote(column))}"
    return f"{target} >= timestamp_micros({start:d}) AND {target} < timestamp_micros({end:d})"


def _literal(text: str) -> str:
    """For a query with named arguments, where braces stand for them."""
    return text.replace("{", "{{").replace("}", "}}")
