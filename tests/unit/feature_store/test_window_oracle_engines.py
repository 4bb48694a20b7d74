"""The oracle itself gives what DuckDB and pandas give."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from window_engines import AGGREGATES, KEYS, NUMBERS, by_duckdb, by_pandas, events_of, grid_by_duckdb, micros, spine_of

from feature_store.aggregate import Aggregate
from feature_store.testing import assert_pit_equal, window_oracle

TIMES: dict[str, Any] = {"keys": KEYS, "event_time": "happened", "known_time": "known"}


@pytest.mark.parametrize(("seed", "row", "closed"), [(1, False, "right"), (2, True, "left"), (3, True, "right")])
def test_the_oracle_is_not_alone(seed: int, row: bool, closed: str) -> None:
    """At spine rows and on the grid, with late and corrected rows, ties, nulls and NaN."""
    events, spine = events_of([seed], 60, corrections=0.4), spine_of([seed], 40)
    options: dict[str, Any] = {**TIMES, "row_id": "row" if row else None, "closed": closed}
    known = [item for item in AGGREGATES if item.where is None]

    at = window_oracle(events, known, spine=spine, spine_time="at", **options)
    grid = window_oracle(events, known[:4], slide="12h", **options)

    assert_pit_equal(at[["i", *(item.output for item in known)]], by_duckdb(events, spine, known, row=row, closed=closed))
    grid = grid.assign(happened=list(map(micros, grid["happened"]))).rename(columns={"happened": "at"})
    assert_pit_equal(grid, grid_by_duckdb(events, known[:4], slide=timedelta(hours=12), row=row, closed=closed))


def test_numbers_are_those_of_pandas() -> None:
    """Every function of numbers, nulls left out."""
    events, spine = events_of([4], 60), spine_of([4], 40)
    wanted = [Aggregate(function, "items", "36h", q=0.3 if function == "quantile" else None, name=function) for function in NUMBERS]

    found = window_oracle(events, wanted, spine=spine, spine_time="at", **TIMES)[["i", *NUMBERS]]

    floats = {name: pd.Series([None if value is None else float(value) for value in found[name]], dtype=object) for name in ("sum", "min", "max")}
    assert_pit_equal(found.assign(**floats), by_pandas(events, spine, "items", timedelta(hours=36)))
