"""The text of a MERGE whose rows are the argument `source`."""

from __future__ import annotations

from collections.abc import Sequence

from feature_store.names import quote

__all__ = ["merge_text"]


def merge_text(
    target: str, keys: Sequence[str], columns: Sequence[str], *, gone: str | None = None, between: tuple[str, int, int] | None = None
) -> str:
    """Insert new keys, update rows whose other columns differ, and delete those that the source marks.

    Args:
        target: The table's quoted name.
        keys: Columns that are compared null-safe.
        columns: All of the source's.
        gone: Column of the source, no column of the table, that is true for rows to delete.
        between: A timestamp column among the keys, and the half-open range of microseconds in which it lies in every row of the source.

    >>> merge_text("t", ["k"], ["k", "v"])
    'MERGE INTO t AS target USING {source} AS source ON target.`k` <=> source.`k` WHEN MATCHED AND NOT (target.`v` <=> source.`v`) THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *'
    """
    same = " AND ".join([*map(_same, keys), *([] if between is None else [_lies(*between)])])
    equal = " AND ".join(_same(column) for column in columns if column not in (*keys, gone)) or "true"
    delete, insert = ("", "") if gone is None else (f"WHEN MATCHED AND {_of_source(gone)} THEN DELETE ", f"AND NOT {_of_source(gone)} ")
    clauses = f"{delete}WHEN MATCHED AND NOT ({equal}) THEN UPDATE SET * WHEN NOT MATCHED {insert}THEN INSERT *"
    return f"MERGE INTO {_literal(target)} AS target USING {{source}} AS source ON {same} {clauses}"


def _same(column: str) -> str:
    return f"target.{_literal(quote(column))} <=> source.{_literal(quote(column))}"


def _of_source(column: str) -> str:
    return f"source.{_literal(quote(column))}"


def _lies(column: str, start: int, end: int) -> str:
    target = f"target.{_literal(quote(column))}"
    return f"{target} >= timestamp_micros({start:d}) AND {target} < timestamp_micros({end:d})"


def _literal(text: str) -> str:
    """For a query with named arguments, where braces stand for them."""
    return text.replace("{", "{{").replace("}", "}}")
