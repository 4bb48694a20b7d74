"""The stream of batches gives what the oracle gives, wherever batches and chunks end."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.aggregate import Aggregate
from feature_store.oracles import records, value_order, window_oracle
from feature_store.testing import assert_pit_equal, generators
from feature_store.window_stream import WindowPlan, window_batches
from feature_store.window_values import Measure

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
HOUR = 3_600_000_000
TIMES: dict[str, Any] = {"keys": ("customer", "shop"), "event_time": "happened", "known_time": "known"}
AGGREGATES = [
    Aggregate("count", None, "36h"),
    Aggregate("sum", "amount", "12h"),
    Aggregate("min", "amount", "36h"),
    Aggregate("last", "items", "36h"),
    Aggregate("last_k", "items", "36h", k=2),
    Aggregate("distinct", "city", "36h"),
    Aggregate("quantile", "items", "12h", q=0.75),
    Aggregate("std", "amount", "36h"),
    Aggregate("variance", "items", "36h"),
]
VALUES = pa.schema({"amount": pa.float64(), "items": pa.int64(), "city": pa.string()})


def micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // TICK


def measures() -> tuple[Measure, ...]:
    lengths = ["12h", "36h"]
    return tuple(
        Measure(item.output, item.function, item.column, None, None, lengths.index(item.window), None, item.q or 0.0, item.k or 0)
        for item in AGGREGATES
    )


def stream(events: pd.DataFrame, spine: pd.DataFrame | None, left: bool) -> pa.Table:
    """What Spark hands to a worker: rows with times in microseconds, sorted by key, time and side."""
    rows: list[dict[str, Any]] = []
    for row in records(events):
        if None in (row["customer"], row["shop"], row["happened"], row["known"]):
            continue
        event, known = micros(row["happened"]) or 0, micros(row["known"]) or 0
        rows.append({**row, "event": event, "known": known, "time": max(event + left, known), "side": 0, "spine": None})
    for row in [] if spine is None else records(spine):
        nothing = dict.fromkeys((*VALUES.names, "event", "known"))
        rows.append({**nothing, **row, "time": micros(row["at"]), "side": 1, "spine": [{"label": row["label"]}]})
    rows.sort(key=lambda row: [value_order(row[name]) for name in ("customer", "shop", "time", "side")])
    kinds = {"customer": pa.string(), "shop": pa.string(), **{name: pa.int64() for name in ("time", "event", "known", "until")}, "side": pa.int8()}
    fields = [*kinds.items(), ("spine", pa.list_(pa.struct({"label": pa.int64()}))), *((field.name, field.type) for field in VALUES)]
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in fields})


def plan(left: bool, rows: int, slide: int | None = None) -> WindowPlan:
    return WindowPlan(("customer", "shop"), (12 * HOUR, 36 * HOUR), int(left), measures(), slide, "happened", rows)


def grid(left: bool, rows: int, between: tuple[int, int] | None = None) -> WindowPlan:
    return replace(plan(left, rows, 4 * HOUR), between=between)


def answered(table: pa.Table, asked: WindowPlan, batch: int) -> pa.Table:
    return pa.Table.from_batches(window_batches(iter(table.to_batches(max_chunksize=batch)), asked))


def frame(table: pa.Table) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(table[name].to_pylist(), dtype=object) for name in table.column_names})


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (7, 3), (40, 16), (10_000, 10_000)])
def test_grid_equals_oracle(left: bool, rows: int, batch: int) -> None:
    """A grid is the same whether the stream is answered row by row or at once; windows reach over chunks."""
    events = generators.event_rows(11, 120, hours=120)
    closed = "left" if left else "right"

    found = answered(stream(events, None, left), plan(left, rows, 4 * HOUR), batch)

    assert_pit_equal(frame(found), window_oracle(events, AGGREGATES, slide="4h", closed=closed, **TIMES))


@settings(max_examples=60, deadline=None)
@given(st.integers(-60, 160), st.integers(0, 90), st.booleans(), st.sampled_from([(1, 1), (7, 3), (10_000, 10_000)]))
def test_a_stretch_of_a_grid_is_that_of_the_whole(hour: int, hours: int, left: bool, cut: tuple[int, int]) -> None:
    """Rows of the stretch's instants alone, the events before it included, wherever the stretch and the chunks begin and end."""
    events, (rows, batch) = stream(generators.event_rows(14, 80, hours=120), None, left), cut
    start = hour * HOUR + hour % 3 * HOUR // 2
    between = (start, start + hours * HOUR)

    whole, part = (
        list(window_batches(iter(events.to_batches(max_chunksize=batch)), asked)) for asked in (grid(left, rows), grid(left, rows, between))
    )

    inside = [row for table in whole for row in table.to_pylist() if between[0] <= (micros(row["happened"]) or 0) < between[1]]
    assert [repr(row) for table in part for row in table.to_pylist()] == [repr(row) for row in inside]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (7, 3), (40, 16), (10_000, 10_000)])
def test_spine_equals_oracle(left: bool, rows: int, batch: int) -> None:
    """Every spine row is answered once, wherever chunks end; null keys and times find nothing."""
    events, spine = generators.event_rows(12, 120), generators.spine_rows(12, 90)
    spine["label"] = pd.Series(range(len(spine)), dtype=object)
    closed = "left" if left else "right"

    found = answered(stream(events, spine, left), plan(left, rows), batch)

    table = frame(found)
    table.insert(0, "label", pd.Series([row["label"] for row in table.pop("spine")], dtype=object))
    expected = window_oracle(events, AGGREGATES, spine=spine, spine_time="at", closed=closed, **TIMES)
    assert_pit_equal(table, expected.drop(columns=["customer", "shop", "at"]))


def test_no_bit_depends_on_chunks() -> None:
    """Sums and deviations are equal to the last bit, however the stream is cut."""
    events = stream(generators.event_rows(13, 300), None, left=False)

    whole, cut = (answered(events, plan(False, rows, HOUR), batch) for rows, batch in ((10_000, 10_000), (5, 2)))

    assert [repr(row) for row in whole.to_pylist()] == [repr(row) for row in cut.to_pylist()]


def test_memory_is_bounded_by_the_window() -> None:
    """Of an entity that goes on, only events that still count are kept: each chunk reads few rows more than it brings."""
    hours = 5_000
    time = pa.array([hour * HOUR for hour in range(hours)], pa.int64())
    blank = {name: pa.nulls(hours, VALUES.field(name).type) for name in VALUES.names}
    table = pa.table(
        {
            "customer": pa.array(["a"] * hours),
            "shop": pa.array(["b"] * hours),
            "time": time,
            "event": time,
            "known": time,
            "until": pa.nulls(hours, pa.int64()),
            **blank,
        }
    )
    sizes = [len(batch) for batch in window_batches(iter(table.to_batches(max_chunksize=50)), plan(False, 100, HOUR))]

    assert len(sizes) >= hours // 100
    assert max(sizes) <= 100 + 36 + 1
    assert sum(sizes) == hours + 36


def test_infinities_count_only_while_they_are_inside() -> None:
    """NaN and infinities make a sum NaN or infinite as long as the window holds them, and no longer."""
    values = [1.0, float("inf"), float("-inf"), float("nan"), 2.0, float("inf"), 3.0]
    time = pa.array([12 * HOUR * (index + 1) // 2 for index in range(len(values))], pa.int64())
    table = pa.table(
        {"k": pa.array(["a"] * len(values)), "time": time, "event": time, "known": time, "until": pa.nulls(len(values), pa.int64()), "x": values}
    )
    sums = Measure("sum", "sum", "x", None, None, 0, None)
    asked = WindowPlan(("k",), (12 * HOUR,), 0, (sums, Measure("std", "std", "x", None, None, 0, None)), 6 * HOUR)

    found = pa.Table.from_batches(window_batches(iter(table.to_batches()), asked)).to_pandas()

    assert [repr(value) for value in found["sum"]] == ["1.0", "inf", "nan", "nan", "nan", "inf", "inf", "3.0", "nan"]
    assert found["std"].isna().all()


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_grid_closes_every_gap(rows: int) -> None:
    """Each stretch of held grid instants ends with one empty row, also behind an event that no grid instant sees."""
    minutes = [0, 30, 300, 360, 540]
    time = pa.array([minute * HOUR // 60 for minute in minutes], pa.int64())
    table = pa.table({"k": pa.array(["a"] * len(minutes)), "time": time, "event": time, "known": time, "until": pa.nulls(len(minutes), pa.int64())})
    asked = WindowPlan(("k",), (HOUR // 6,), 0, (Measure("count", "count", None, None, None, 0, None),), HOUR, rows=rows)

    found = answered(table, asked, 1)

    hours = [moment.hour for moment in found["time"].to_pylist()]
    assert list(zip(hours, found["count"].to_pylist(), strict=True)) == [(0, 1), (1, 0), (5, 1), (6, 1), (7, 0), (9, 1), (10, 0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=40), st.floats(0, 1))
def test_an_approximate_quantile_is_near(values: list[float], q: float) -> None:
    """It differs from the exact one by at most 2**-8 of the greater of the two values that it lies between."""
    ordinary = [value for value in values if not 0 < abs(value) < 2.3e-308 and not 1.7e308 < abs(value) < math.inf] or [1.0]
    rows = len(ordinary)
    time = pa.array([0] * rows + [1], pa.int64())
    table = pa.table(
        {
            "k": pa.array(["a"] * (rows + 1)),
            "side": pa.array([0] * rows + [1], pa.int8()),
            **dict.fromkeys(("time", "event", "known"), time),
            "until": pa.nulls(rows + 1, pa.int64()),
            "spine": pa.array([None] * rows + [[0]], pa.list_(pa.int64())),
            "x": pa.array([*ordinary, None]),
        }
    )
    measures = tuple(Measure(name, name, "x", None, None, 0, None, q) for name in ("quantile", "approx_quantile"))

    found = answered(table, WindowPlan(("k",), (HOUR,), 0, measures), rows + 1).to_pylist()[0]

    exact, near = found["quantile"], found["approx_quantile"]
    ordered = sorted(ordinary, key=value_order)
    position = (rows - 1) * q
    around = [abs(ordered[math.floor(position)]), abs(ordered[math.ceil(position)])]
    if all(map(math.isfinite, around)) and math.isfinite(exact):
        assert near == exact or abs(near - exact) <= max(around) * 2**-8 * (1 + 1e-12)
    else:
        assert repr(near) == repr(exact)


def test_an_approximate_quantile_of_many_values() -> None:
    """Of a hundred thousand values over thirty decades too, and not by giving the exact one."""
    rng = np.random.default_rng(0)
    values = rng.choice([-1.0, 1.0], 100_000) * 10.0 ** rng.uniform(-15, 15, 100_000)
    sums = WindowPlan(
        ("k",), (HOUR,), 0, tuple(Measure(str(q), "approx_quantile", "x", None, None, 0, None, q) for q in (0.01, 0.3, 0.5, 0.99)), HOUR
    )
    zero = pa.array(np.zeros(len(values), dtype=np.int64))
    table = pa.table(
        {
            "k": pa.array(["a"] * len(values)),
            **dict.fromkeys(("time", "event", "known"), zero),
            "until": pa.nulls(len(values), pa.int64()),
            "x": values,
        }
    )

    found = answered(table, sums, 10_000).to_pylist()[0]

    exact = [float(np.quantile(values, q)) for q in (0.01, 0.3, 0.5, 0.99)]
    assert [found[str(q)] for q in (0.01, 0.3, 0.5, 0.99)] == pytest.approx(exact, rel=2**-8)
    assert [found[str(q)] for q in (0.01, 0.3, 0.5, 0.99)] != pytest.approx(exact, rel=1e-9)
