"""The judgement over what one pass has counted: a pure function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from feature_store.quality.expectation import Expectation
from feature_store.quality.report import QualityReport, Verdict
from feature_store.quality.tally import Tally

__all__ = ["judge"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def judge(expectations: Sequence[Expectation], tally: Tally, *, event_time: str, as_of: datetime, last: QualityReport | None) -> tuple[Verdict, ...]:
    """A verdict for each expectation.

    Args:
        tally: What the pass found; its `broken` counts belong to the expectations about rows, in order.
        event_time: Column of the event time.
        as_of: The instant from which freshness counts, UTC.
        last: What the last write of this kind found; None: there was none.
    """
    broken = iter(tally.broken)
    return tuple(_of_table(item, tally, event_time, as_of, last) if item.of_table else _of_rows(item, broken) for item in expectations)


def _of_rows(item: Expectation, broken: Iterator[int]) -> Verdict:
    failed = next(broken)
    return Verdict(item.name, item.rule, item.otherwise if failed else "pass", failed)


def _of_table(item: Expectation, tally: Tally, event_time: str, as_of: datetime, last: QualityReport | None) -> Verdict:
    if item.rule == "change":
        return _change(item, tally, last)
    if item.rule == "type":
        kind = tally.types.get(item.column or "", "nothing")
        return Verdict(item.name, item.rule, "pass" if kind == item.type else item.otherwise, found=f"{item.column} of type {kind}")
    if item.rule == "nulls":
        return _missing(item, tally)
    if item.rule == "rows":
        landing = tally.rows - tally.bad
        holds = (item.low is None or landing >= item.low) and (item.high is None or landing <= item.high)
        return Verdict(item.name, item.rule, "pass" if holds else item.otherwise, found=f"{landing} rows")
    newest = tally.columns[event_time].high
    if newest is None:
        return Verdict(item.name, item.rule, item.otherwise, found="no rows")
    age = as_of - (_EPOCH + timedelta(microseconds=int(newest)))
    assert item.within is not None
    return Verdict(item.name, item.rule, "pass" if age <= item.within else item.otherwise, found=f"newest row {age} old")


def _missing(item: Expectation, tally: Tally) -> Verdict:
    landing, profile = tally.rows - tally.bad, tally.columns[item.column or ""]
    if not landing:
        return Verdict(item.name, item.rule, "not judged", found="no rows")
    share, high = (profile.nulls + profile.nan) / landing, item.high or 0.0
    return Verdict(item.name, item.rule, "pass" if share <= high else item.otherwise, found=f"{share:.4g} of {item.column} missing")


def _change(item: Expectation, tally: Tally, last: QualityReport | None) -> Verdict:
    landing = tally.rows - tally.bad
    now = _measure(item, landing, tally)
    before = None if last is None else _measure(item, last.rows - last.quarantined, last)
    if now is None or before is None:
        return Verdict(item.name, item.rule, "not judged", found="nothing to compare with")
    assert item.by is not None
    allowed = item.by if item.of == "nulls" else item.by * abs(before)
    holds = abs(now - before) <= allowed
    return Verdict(item.name, item.rule, "pass" if holds else item.otherwise, found=f"{now:g} after {before:g}")


def _measure(item: Expectation, rows: int, found: Tally | QualityReport) -> float | None:
    """Number of rows, mean, or share of nulls; None where there is none, as in a column that was added since."""
    if item.of == "rows":
        return rows
    profile = found.columns.get(item.column or "")
    if profile is None:
        return None
    return profile.mean if item.of == "mean" else profile.nulls / rows if rows else None
