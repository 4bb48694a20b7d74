"""Windows give what DuckDB and pandas give, on stacked random tables, at several numbers of partitions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from window_engines import AGGREGATES, KEYS, NUMBERS, by_duckdb, by_pandas, events_of, grid_by_duckdb, spine_of

from feature_store.testing import assert_pit_equal, generators
from feature_store.windows import Aggregate, windows_at, windows_every

SEEDS = (101, 102, 103)
SHARES: list[dict[str, float]] = [{}, {"ties": 0.7, "late": 0.8, "skew": 0.9}, {"nulls": 0.3, "corrections": 0.6, "late": 0.6}]
TIMES: dict[str, Any] = {"keys": KEYS, "event_time": "happened", "known_time": "known"}


@pytest.fixture(params=[1, 3, 8])
def partitions(spark: SparkSession, request: pytest.FixtureRequest) -> Any:
    """The number of shuffle partitions, which is also the number of parts that the rows come in."""
    spark.conf.set("spark.sql.shuffle.partitions", str(request.param))
    yield request.param
    spark.conf.set("spark.sql.shuffle.partitions", "2")


def drawn(partitions: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events and spine of their own for each number of partitions."""
    number = (1, 3, 8).index(partitions)
    seeds, shares = [seed + 10 * number for seed in SEEDS], SHARES[number]
    return events_of(seeds, 60, **shares), spine_of(seeds, 40, skew=shares.get("skew", 0.4))


def stored(spark: SparkSession, frame: pd.DataFrame, schema: str, partitions: int) -> DataFrame:
    return generators.to_spark(spark, frame, schema, partitions=partitions)


def test_windows_equal_other_engines(spark: SparkSession, partitions: int) -> None:
    """At each spine row and on the grid, with ties, late and corrected rows, nulls, NaN and skew."""
    events, spine = drawn(partitions)
    table = stored(spark, events, f"{generators.EVENTS}, case bigint", partitions)
    asked = stored(spark, spine, f"{generators.SPINE}, case bigint, i bigint", partitions)
    row, closed = partitions != 3, "left" if partitions == 8 else "right"
    options: dict[str, Any] = {**TIMES, "row_id": ("case", "row") if row else None, "closed": closed}

    at = windows_at(asked, table, AGGREGATES, spine_time="at", **options).drop(*KEYS, "at", "label")
    grid = windows_every(table, AGGREGATES, slide="6h", **options).withColumn("at", F.unix_micros("happened"))

    assert_pit_equal(at, by_duckdb(events, spine, AGGREGATES, row=row, closed=closed))
    outputs = [item.output for item in AGGREGATES]
    assert_pit_equal(grid.select(*KEYS, "at", *outputs), grid_by_duckdb(events, AGGREGATES, slide=timedelta(hours=6), row=row, closed=closed))


def test_numbers_equal_pandas(spark: SparkSession) -> None:
    """Every function of numbers is the one of pandas, over what was known."""
    events, spine = events_of(SEEDS, 80), spine_of(SEEDS, 40)
    wanted = [Aggregate(function, "items", "36h", q=0.3 if function == "quantile" else None, name=function) for function in NUMBERS]
    table = stored(spark, events, f"{generators.EVENTS}, case bigint", 3)
    asked = stored(spark, spine, f"{generators.SPINE}, case bigint, i bigint", 2).select("i", *KEYS, "at")

    found = windows_at(asked, table, wanted, spine_time="at", **TIMES).drop(*KEYS, "at")

    numbers = found.withColumns({name: F.col(name).cast("double") for name in ("sum", "min", "max")})
    assert_pit_equal(numbers, by_pandas(events, spine, "items", timedelta(hours=36)))
