"""For the tests of a team's own features: oracles, seeded frames and a comparison that shows what differs.

No session and no cluster is needed: the frames are pandas. What a feature's code gives, whatever it runs on, is
compared with the same thing written the slow and plain way. Where it errs, the message shows both rows:

>>> from feature_store import Aggregate
>>> events, spine = generators.event_rows(seed=1, rows=50), generators.spine_rows(seed=1, rows=20)
>>> total = [Aggregate("sum", "items", "36h")]
>>> expected = window_oracle(events, total, keys=("customer", "shop"), event_time="happened", known_time="known", spine=spine, spine_time="at")
>>> forgot_known_time = window_oracle(events, total, keys=("customer", "shop"), event_time="happened", spine=spine, spine_time="at")
>>> assert_pit_equal(forgot_known_time, expected)
Traceback (most recent call last):
...
AssertionError: ...

With Spark, `windows_at(generators.to_spark(spark, spine, generators.SPINE), generators.to_spark(spark, events,
generators.EVENTS), total, ...)` takes the place of the code that forgot when its rows were known. Frames with ties,
late and corrected rows, nulls, skew and clock changes come from `generators`; its arguments say how much of each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame

from feature_store import generators
from feature_store.oracles import point_in_time_oracle, records, value_order, window_oracle

__all__ = ["assert_pit_equal", "generators", "point_in_time_oracle", "window_oracle"]

_SHOWN = 5


def assert_pit_equal(actual: DataFrame | pd.DataFrame, expected: DataFrame | pd.DataFrame, *, rtol: float = 1e-9) -> None:
    """Compare two small frames as sets of rows with repeats; a Spark frame is collected.

    Args:
        actual: What the code gave.
        expected: What it should have given.
        rtol: Greatest relative difference of two floats that are taken as equal.

    Raises:
        AssertionError: Other columns, other rows, or a row lost or doubled; shows up to five of them side by side.

    >>> assert_pit_equal(pd.DataFrame({"id": [1, 2]}), pd.DataFrame({"id": [2, 1]}))
    """
    ours, theirs = _rows(actual), _rows(expected)
    left, right = list(actual.columns), list(expected.columns)
    if left != right:
        raise AssertionError(f"columns differ\n  actual:   {left}\n  expected: {right}")
    if len(ours) != len(theirs):
        raise AssertionError(f"{len(ours)} rows, expected {len(theirs)}\n{_surplus(ours, theirs)}")
    # Equal rows go first: one row of another key would shift all that sort behind it.
    some, other = _without(ours, theirs), _without(theirs, ours)
    floats = {name for name in left for row in (*some, *other) if isinstance(row[name], float)}
    order = [name for name in left if name not in floats] + [name for name in left if name in floats]
    pairs = zip(_sorted(some, order), _sorted(other, order), strict=True)
    differing = [pair for pair in pairs if not all(_same(pair[0][name], pair[1][name], rtol) for name in left)]
    if differing:
        shown = "\n".join(_beside(*pair, left, rtol) for pair in differing[:_SHOWN])
        raise AssertionError(f"{len(differing)} of {len(ours)} rows differ (actual | expected)\n{shown}")


def _rows(frame: DataFrame | pd.DataFrame) -> list[dict[str, Any]]:
    if isinstance(frame, pd.DataFrame):
        return records(frame)
    table = frame.toArrow()
    # Times as UTC, so that the session's zone and its two o'clocks in autumn play no part.
    fields = [
        pa.field(field.name, pa.timestamp("us", "UTC") if pa.types.is_timestamp(field.type) and field.type.tz else field.type)
        for field in table.schema
    ]
    return [dict(row) for row in table.cast(pa.schema(fields)).to_pylist()]


def _without(rows: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that have no equal one among the others; of n equal rows, m of which stand there, n - m stay."""
    there = Counter(_exact(row) for row in others)
    left = []
    for row in rows:
        if there[_exact(row)]:
            there[_exact(row)] -= 1
        else:
            left.append(row)
    return left


def _exact(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_text(value) if isinstance(value, datetime) else repr(value) for value in row.values())


def _sorted(rows: Sequence[dict[str, Any]], order: Sequence[str]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [value_order(row[name]) for name in order])


def _same(one: Any, other: Any, rtol: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or one == other or math.isclose(one, other, rel_tol=rtol)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(left, right, rtol) for left, right in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def _beside(one: dict[str, Any], other: dict[str, Any], columns: Sequence[str], rtol: float) -> str:
    cells = []
    for name in columns:
        left, right = _text(one[name]), _text(other[name])
        cells.append(f"{name}={left}" if _same(one[name], other[name], rtol) else f">> {name}={left} | {right} <<")
    return "  " + ", ".join(cells)


def _surplus(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> str:
    left, right = (Counter(tuple(f"{name}={_text(value)}" for name, value in row.items()) for row in rows) for rows in (ours, theirs))
    lines = []
    for title, surplus in (("only in actual:  ", left - right), ("only in expected:", right - left)):
        lines += [f"  {title} {', '.join(row)}" for row in list(surplus.elements())[:_SHOWN]]
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return f"{value:.12g}" if isinstance(value, float) else repr(value)
