"""SQL of the writes that have no other form: in SQL, since Delta's own Python interface needs a plugin in a Spark Connect server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feature_store.errors import ContractError
from feature_store.names import quote

__all__ = ["lacking", "merge_statement"]


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


def _same(column: str) -> str:
    return f"target.{_literal(quote(column))} <=> source.{_literal(quote(column))}"


def _lies(column: str, start: int, end: int) -> str:
    target = f"target.{_literal(quote(column))}"
    return f"{target} >= timestamp_micros({start:d}) AND {target} < timestamp_micros({end:d})"


def _literal(text: str) -> str:
    """For a query with named arguments, where braces stand for them."""
    return text.replace("{", "{{").replace("}", "}}")
