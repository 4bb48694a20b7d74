"""The kit for feature tests: oracles on cases worked out by hand, and a comparison that says what differs."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from feature_store.aggregate import Aggregate
from feature_store.lookup import Lookup
from feature_store.testing import assert_pit_equal, generators, point_in_time_oracle, window_oracle

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def test_point_in_time_oracle_by_hand() -> None:
    """Late rows, ties, ttl and exact matches as a person reads them off."""
    spine = pd.DataFrame({"k": ["a", "a", None], "t": [at(0), at(5), at(5)]}, dtype=object)
    table = pd.DataFrame({"k": ["a"] * 4, "e": [at(-9), at(0), at(0), at(4)], "n": [at(-9), at(0), at(0), at(6)], "v": [1, 2, 3, 4]}, dtype=object)
    lookups = [
        Lookup(table, ("k",), ("v",), event_time="e", known_time="n"),
        Lookup(table, ("k",), ("v",), event_time="e", exact_match=False, prefix="before_"),
        Lookup(table, ("k",), ("v",), event_time="e", ttl=timedelta(hours=1), prefix="fresh_"),
    ]

    found = point_in_time_oracle(spine, lookups, spine_time="t")

    assert found[["v", "before_v", "fresh_v"]].to_numpy().tolist() == [[3, 1, 3], [3, 4, 4], [None, None, None]]


def test_window_oracle_by_hand() -> None:
    """Both ends of a window, a late event and a corrected one as a person reads them off."""
    events = pd.DataFrame(
        {"k": ["a"] * 4, "e": [at(0), at(2), at(3), at(2)], "n": [at(0), at(2), at(4), at(5)], "id": ["1", "2", "3", "2"], "x": [1, 10, 100, 20]},
        dtype=object,
    )
    spine = pd.DataFrame({"k": ["a"] * 4, "t": [at(2), at(3), at(4), at(5)]}, dtype=object)
    total = [Aggregate("sum", "x", "3h")]

    def read(closed: str) -> list[object]:
        found = window_oracle(events, total, keys=("k",), event_time="e", known_time="n", row_id="id", spine=spine, spine_time="t", closed=closed)
        return list(found["x_sum_3h"])

    assert read("right") == [11, 10, 110, 100]
    assert read("left") == [1, 11, 110, 120]


def test_window_oracle_closes_the_grid() -> None:
    """The grid ends with the first instant at which the window is empty."""
    events = pd.DataFrame({"k": ["a"], "e": [at(0.5)]}, dtype=object)

    found = window_oracle(events, [Aggregate("count", None, "2h")], keys=("k",), event_time="e", slide="1h")

    assert found[["e", "count_2h"]].to_numpy().tolist() == [[at(1), 1], [at(2), 1], [at(3), 0]]


def test_comparison_shows_differing_rows_side_by_side() -> None:
    """The message names the row, the column and both values."""
    actual = pd.DataFrame({"id": [1, 2], "x": [1.0, 2.0]}, dtype=object)
    expected = pd.DataFrame({"id": [2, 1], "x": [2.5, 1.0]}, dtype=object)

    with pytest.raises(AssertionError, match=r"1 of 2 rows differ \(actual \| expected\)\n  id=2, >> x=2 \| 2.5 <<"):
        assert_pit_equal(actual, expected)


def test_a_row_of_another_key_is_shown_alone() -> None:
    """Rows that stand on both sides are no part of the message, also where one row's key shifts their order."""
    expected = pd.DataFrame({"id": range(10), "x": range(10, 20)}, dtype=object)
    actual = expected.assign(id=[*range(1), 99, *range(2, 10)])

    with pytest.raises(AssertionError) as caught:
        assert_pit_equal(actual, expected)

    assert str(caught.value) == "1 of 10 rows differ (actual | expected)\n  >> id=99 | 1 <<, x=11"


def test_equal_rows_are_told_apart_as_often_as_they_stand() -> None:
    """A row that stands twice on one side and once on the other is a difference."""
    with pytest.raises(AssertionError, match=r"1 of 3 rows differ .*\n  >> id=1 \| 2 <<"):
        assert_pit_equal(pd.DataFrame({"id": [1, 1, 2]}), pd.DataFrame({"id": [2, 1, 2]}))


def test_comparison_shows_lost_and_doubled_rows() -> None:
    """Another number of rows says which are too many and which are missing."""
    with pytest.raises(AssertionError, match=r"(?s)3 rows, expected 2\n  only in actual:   id=1\n  only in actual:   id=3\n  only in expected: id=2"):
        assert_pit_equal(pd.DataFrame({"id": [1, 1, 3]}), pd.DataFrame({"id": [1, 2]}))


@pytest.mark.parametrize("value", [float("nan"), 0, 0.0, "", False])
def test_comparison_tells_null_from_every_value(value: object) -> None:
    """Null is not NaN, zero, nothing or false."""
    with pytest.raises(AssertionError, match="1 of 1 rows differ"):
        assert_pit_equal(pd.DataFrame({"x": [None]}, dtype=object), pd.DataFrame({"x": [value]}, dtype=object))


def test_comparison_of_columns() -> None:
    """Names and order of columns count."""
    with pytest.raises(AssertionError, match="columns differ"):
        assert_pit_equal(pd.DataFrame({"a": [1], "b": [1]}), pd.DataFrame({"b": [1], "a": [1]}))


def test_generators_are_seeded_and_hard() -> None:
    """Equal seeds give equal frames, and the frames hold what they promise."""
    events, spine = generators.event_rows(1, 300), generators.spine_rows(1, 200)

    assert events.equals(generators.event_rows(1, 300))
    assert not events.equals(generators.event_rows(2, 300))
    assert events.duplicated(["customer", "shop", "happened", "known"]).any()
    assert events["row"].dropna().duplicated().any()
    assert any(known and happened and known > happened for known, happened in zip(events["known"], events["happened"], strict=True))
    assert spine.duplicated().any()
    assert spine["customer"].isna().any()
    assert {("1", "12"), ("11", "2")} <= set(zip(events["customer"], events["shop"], strict=True))


def test_generators_hit_clock_changes() -> None:
    """Around New York's changes a clock time stands for two instants, and a day of the calendar is not 24 hours."""
    around = generators.clock_changes("America/New_York", 2024)
    events, spine = generators.event_rows(1, 200, nulls=0, around=around), generators.spine_rows(1, 200, nulls=0, around=around)

    local = {moment: moment.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None) for moment in {*events["happened"], *spine["at"]}}
    assert len(set(local.values())) < len(local)
    days = [first for first in local if first + timedelta(days=1) in local]
    assert {local[first + timedelta(days=1)] - local[first] for first in days} >= {timedelta(hours=hours) for hours in (23, 24, 25)}
    assert generators.clock_changes("UTC", 2024) == ()


def test_the_kit_needs_no_java() -> None:
    """Generators, oracles and the comparison run where there is no Java, no Spark and no session."""
    code = """
from feature_store import Aggregate
from feature_store.testing import assert_pit_equal, generators, window_oracle
events, spine = generators.event_rows(1), generators.spine_rows(1)
found = window_oracle(events, [Aggregate("count", None, "1d")], keys=("customer",), event_time="happened", spine=spine, spine_time="at")
assert_pit_equal(found, found)
"""
    bare = {"PATH": "", "PYTHONPATH": os.pathsep.join(sys.path), "JAVA_HOME": os.devnull, "SPARK_HOME": os.devnull}

    ended = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
