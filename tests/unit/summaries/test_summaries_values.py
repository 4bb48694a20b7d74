"""What Arrow values are to statistics."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkml_ops.summaries import Tally, group_labels, kind_of, labels, numbers
from sparkml_ops.summaries.order import from_keys, to_keys


def test_missing_and_infinite_values_are_counted_apart() -> None:
    """Null, NaN, -inf and +inf each have a count of their own; the rest comes sorted."""
    tally, values = numbers(pa.array([3.0, None, float("nan"), float("inf"), -float("inf"), 1.0, float("inf")]))

    assert tally == Tally(n=7, nulls=1, nan=1, negative=1, positive=2)
    assert values.tolist() == [1.0, 3.0]
    assert (tally.missing, tally.values, tally.finite) == (2, 5, 2)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([2, 1], pa.int8()), [1.0, 2.0]),
        (pa.array([2**53, -5], pa.int64()), [-5.0, 2.0**53]),
        (pa.array([0.5], pa.float32()), [0.5]),
        (pa.array([Decimal("2.25")], pa.decimal128(10, 2)), [2.25]),
        (pa.array([dt.date(1970, 1, 2)]), [86_400e6]),
        (pa.array([dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)], pa.timestamp("us", "America/New_York")), [1e6]),
        (pa.array([1_500_000_000], pa.timestamp("ns")), [1.5e6]),
        (pa.array([-0.0]), [0.0]),
    ],
)
def test_each_numeric_type_becomes_float64(array: pa.Array, expected: list[float]) -> None:
    """Dates and instants are microseconds since 1970 in UTC, whatever zone they are shown in."""
    _, values = numbers(array)

    assert values.tolist() == expected
    assert not np.signbit(values[values == 0]).any()


def test_booleans_are_categories() -> None:
    """True and false are the categories `true` and `false`; null is missing."""
    tally, values = labels(pa.array([True, None, False]))

    assert values.to_pylist() == ["true", "false"]
    assert tally == Tally(n=3, nulls=1)


def test_instants_are_grouped_by_their_utc_day() -> None:
    """A block column of instants has a block a day; null is a group too."""
    instants = pa.array([dt.datetime(2013, 7, 1, 23, 59, 59, tzinfo=dt.UTC), dt.datetime(2013, 7, 2, tzinfo=dt.UTC), None])

    assert group_labels(instants).to_pylist() == ["2013-07-01", "2013-07-02", "null"]
    assert group_labels(pa.array([3, None])).to_pylist() == ["3", "null"]


@pytest.mark.parametrize(("name", "kind"), [("bigint", "number"), ("timestamp_ntz", "number"), ("varchar(3)", "category"), ("struct<a:int>", None)])
def test_types_without_statistics_have_no_kind(name: str, kind: str | None) -> None:
    """Arrays, maps, structs and binary have no statistics."""
    assert kind_of(name) == kind


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_keys_sort_as_values_do(values: list[float]) -> None:
    """The keys are a total order of the finite values, and lead back to them."""
    array = np.array(values)
    keys = to_keys(array)

    assert np.array_equal(array[np.argsort(keys, kind="stable")] + 0.0, np.sort(array + 0.0))
    assert np.array_equal(from_keys(keys), array + 0.0)
