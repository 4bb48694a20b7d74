"""What every row of a source file must satisfy, checked while the file is read and before Spark starts a job."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Mask", "Rule", "between", "clock", "date", "one_of", "present", "together"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """Rows that must not be there.

    Args:
        name: What is wrong with them, as "an impossible clock in `dep_time`".
        expected: What should have been there.
        columns: The columns that tell, shown for the first bad rows.
        bad: Which rows of a batch break the rule.
    """

    name: str
    expected: str
    columns: tuple[str, ...]
    bad: Callable[[pa.RecordBatch], Mask]


def present(column: str) -> Rule:
    """No null in a column."""
    return Rule(f"null in `{column}`", "a value in every row", (column,), lambda batch: np.asarray(batch.column(column).is_null()))


def together(first: str, second: str) -> Rule:
    """Two columns that are null in the same rows."""

    def bad(batch: pa.RecordBatch) -> Mask:
        alone: Mask = np.asarray(batch.column(first).is_null()) != np.asarray(batch.column(second).is_null())
        return alone

    return Rule(f"one of `{first}` and `{second}` alone", "both or neither", (first, second), bad)


def clock(column: str) -> Rule:
    """Clock readings as numbers: 517 is 5:17, 2400 the midnight that ends the day; null passes.

    >>> batch = pa.record_batch({"dep_time": pa.array([517, None, 2400, 2401, 1260], pa.int32())})
    >>> clock("dep_time").bad(batch).tolist()
    [False, False, False, True, True]
    """

    def bad(batch: pa.RecordBatch) -> Mask:
        value = _filled(batch, column, 0)
        return (value < 0) | (value > 2400) | (value % 100 > 59)

    return Rule(f"an impossible clock in `{column}`", "hours and minutes as 0 to 2359, or 2400", (column,), bad)


def date(year: str, month: str, day: str) -> Rule:
    """Days that the calendar has; null is the business of `present`.

    >>> batch = pa.record_batch({"y": [2013, 2013, 2013], "m": [2, 2, 13], "d": [28, 29, 1]})
    >>> date("y", "m", "d").bad(batch).tolist()
    [False, True, True]
    """

    def bad(batch: pa.RecordBatch) -> Mask:
        years, months, days = (_filled(batch, name, 1) for name in (year, month, day))
        possible = (months >= 1) & (months <= 12) & (years >= 1900) & (years < 2200)
        last = np.zeros(len(years), dtype=np.int64)
        for value in np.unique(np.stack([years, months])[:, possible], axis=1).T:
            last[(years == value[0]) & (months == value[1])] = calendar.monthrange(int(value[0]), int(value[1]))[1]
        return ~possible | (days < 1) | (days > last)

    return Rule(f"an impossible date in `{year}`, `{month}`, `{day}`", "a day of the calendar, 1900 to 2199", (year, month, day), bad)


def between(column: str, low: float, high: float, unit: str) -> Rule:
    """Numbers inside [low, high], in `unit`; null passes, NaN and infinity do not."""

    def bad(batch: pa.RecordBatch) -> Mask:
        value = _filled(batch, column, low)
        return ~((value >= low) & (value <= high))

    return Rule(f"an impossible `{column}`", f"{low:g} to {high:g} {unit}", (column,), bad)


def one_of(column: str, values: Sequence[str], what: str) -> Rule:
    """Texts from a list; null passes."""
    known = pa.array(sorted(values), pa.string())

    def bad(batch: pa.RecordBatch) -> Mask:
        found = batch.column(column)
        strange: Mask = ~np.asarray(pc.is_in(found, value_set=known)) & ~np.asarray(found.is_null())
        return strange

    return Rule(f"a `{column}` that is no {what}", f"one of {len(known)} known ones", (column,), bad)


def _filled(batch: pa.RecordBatch, column: str, value: float) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = batch.column(column).cast(pa.float64()).fill_null(value).to_numpy(zero_copy_only=False)
    return numbers
