"""Expectations at a write: one pass, bad rows apart with their reasons, and the report in the commit."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from warehouses import opened

import feature_store as fs
from feature_store.quality.tally import take_tally

SCHEMA = "origin string, at timestamp, delay double, tail string, flights bigint"
RULES = (
    fs.Expectation("between", "delay", low=-60, high=600, otherwise="quarantine"),
    fs.Expectation("pattern", "tail", pattern="N[0-9]+", otherwise="quarantine"),
    fs.Expectation("unique", columns=("tail",), otherwise="quarantine"),
    fs.Expectation("one_of", "origin", values=("JFK", "LGA"), otherwise="warn"),
    fs.Expectation("sql", sql="flights > 0"),
    fs.Expectation("rows", low=1),
)
TABLE = fs.FeatureTable(
    "judged",
    ("origin",),
    "at",
    (fs.Feature("delay", "double"), fs.Feature("tail", "string"), fs.Feature("flights", "bigint")),
    expectations=RULES,
    pii=("flights",),
)


def hour(number: float) -> datetime:
    return datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=number)


@pytest.fixture
def in_catalog(spark: SparkSession, tmp_path: Path) -> Iterator[fs.FeatureStore]:
    """A warehouse in a catalog."""
    with opened("catalog", spark, tmp_path) as tables:
        yield fs.FeatureStore(spark, catalog=tables.warehouse.catalog)


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> fs.FeatureStore:
    return fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("quality")))


def kept(frame: DataFrame) -> list[tuple[Any, ...]]:
    """Rows by their time, with what tells them apart."""
    names = [name for name in frame.columns if name not in ("at", "quarantine_write")]
    rows = frame.select(F.unix_seconds("at").alias("at"), *names).collect()
    return sorted(((row["at"] - int(hour(0).timestamp())) // 3600, *row[1:]) for row in rows)


def test_bad_rows_go_apart_with_their_reasons_and_the_rest_lands(
    store: fs.FeatureStore, spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Null passes, NaN does not; whole texts match; what another row of the table holds is not unique. A repeat adds nothing anywhere."""
    store.register(TABLE)
    first = [
        ("JFK", hour(0), 1.0, "N1", 1),
        ("JFK", hour(1), float("nan"), "N2", 1),
        ("JFK", hour(2), None, "N5", 1),
        ("EWR", hour(3), 600.0, None, 1),
    ]
    with caplog.at_level(logging.WARNING):
        store.write("judged", spark.createDataFrame(first, SCHEMA))

    assert [row[0] for row in kept(store.read("judged"))] == [0, 2, 3]
    assert [(row[0], row[-1]) for row in kept(store.quarantine("judged"))] == [(1, ["delay between -60 and 600"])]
    assert "`origin one of 2 values` does not hold in the rows for `judged` (1 of 4 rows)" in caplog.text

    second = [("JFK", hour(0), 2.0, "N1", 1), ("JFK", hour(4), 601.0, "xN3", 1), ("LGA", hour(5), 0.0, "N5", 1), ("LGA", hour(6), 0.0, "N4\n", 1)]
    second += [("LGA", hour(8), 0.0, "N9", 1), ("LGA", hour(9), 0.0, "N9", 1)]
    landed = store.write("judged", spark.createDataFrame(second, SCHEMA))
    repeated = store.write("judged", spark.createDataFrame(second, SCHEMA))
    only_bad = store.write("judged", spark.createDataFrame([("LGA", hour(7), 700.0, "N7", 1), second[0]], SCHEMA))

    assert repeated == landed
    assert only_bad.version == landed.version + 1
    assert kept(store.read("judged"))[0][:3] == (0, "JFK", 2.0)
    reasons = {row[0]: set(row[-1]) for row in kept(store.quarantine("judged"))}
    # At hour 0 the value is the row's own; at hour 5 another row of the table holds it, at 8 and 9 another one of the write.
    far, unlike, again = {"delay between -60 and 600"}, {"tail like N[0-9]+"}, {"tail unique"}
    assert reasons == {1: far, 4: far | unlike, 5: again, 6: unlike, 7: far, 8: again, 9: again}

    report = store.quality("judged")
    assert report is not None
    assert (report.rows, report.quarantined, report.version) == (2, 1, only_bad.version)
    assert report.columns["delay"] == fs.quality.ColumnProfile(0, 0, 2.0, 2.0, 2.0)
    assert report.columns["flights"] == fs.quality.ColumnProfile(0)  # personal data leave no value behind
    assert report.columns["origin"].low is None


def test_a_write_that_fails_shows_five_rows_and_writes_nothing(store: fs.FeatureStore, spark: SparkSession) -> None:
    """Neither rows nor quarantine; and what a rule cannot judge is refused before any job."""
    store.register(replace(TABLE, name="failing"))
    rows = [("JFK", hour(number), 1000.0 * number, f"N{number}", number - 8) for number in range(9)]

    with pytest.raises(fs.ContractError, match=r"`flights > 0` broken by 9 rows: ") as caught:
        store.write("failing", spark.createDataFrame(rows, SCHEMA))
    assert caught.value.found.count("flights=") == 5
    assert "origin=JFK, at=2013-01-01 00:00:00, flights=-8; origin=JFK, at=2013-01-01 01:00:00" in caught.value.found
    with pytest.raises(fs.ContractError, match="`rows at least 1` broken by 0 rows"):
        store.write("failing", spark.createDataFrame(rows[8:], SCHEMA).withColumn("flights", F.lit(1).cast("bigint")))
    assert not store.tables.exists("failing")
    assert not store.tables.exists("failing_quarantine")

    store.register(replace(TABLE, name="odd", expectations=(fs.Expectation("between", "origin", low=1), fs.Expectation("sql", sql="flights + 1"))))
    with pytest.raises(fs.ContractError, match="over `origin` of type string in the rows for `odd`"):
        store.write("odd", spark.createDataFrame(rows, SCHEMA))
    store.register(replace(TABLE, name="odd", expectations=(fs.Expectation("sql", sql="flights + 1"),)))
    with pytest.raises(fs.ContractError, match="expected a predicate: boolean"):
        store.write("odd", spark.createDataFrame(rows, SCHEMA))


def test_refreshes_and_backfills_are_judged_against_their_like(store: fs.FeatureStore, spark: SparkSession) -> None:
    """A whole table is compared with the last whole table; a part with the last part. Bad rows stay out of both."""
    change = fs.Expectation("change", of="rows", by=0.5)
    fresh = fs.Expectation("fresh", within="1d", otherwise="warn")
    table = replace(TABLE, name="computed", source="raw_computed", expectations=(*RULES[:3], change, fresh))
    raw = [("JFK", hour(number), 1.0, f"N{number}", 1) for number in range(10)]
    store.tables.overwrite("raw_computed", spark.createDataFrame([*raw, ("JFK", hour(20), 999.0, None, 1)], SCHEMA))
    store.register(table)
    store.refresh("computed", hour(24 + 9))
    first = store.quality("computed")
    store.tables.append("raw_computed", spark.createDataFrame([("LGA", hour(9), 1.0, "N0", 1), ("LGA", hour(2), 1.0, "N77", 1)], SCHEMA))
    store.backfill("computed", hour(8), hour(30), hour(60))
    part = store.quality("computed")

    assert first is not None
    assert part is not None
    assert {item.name: item.outcome for item in first.verdicts} == {
        "delay between -60 and 600": "quarantine", "tail like N[0-9]+": "pass", "tail unique": "pass", change.name: "not judged", fresh.name: "pass"
    }  # fmt: skip
    assert {item.name: item.outcome for item in part.verdicts if item.outcome not in ("pass", "quarantine")} == {
        change.name: "not judged", fresh.name: "warn"
    }  # fmt: skip
    assert (first.whole, first.rows, first.quarantined, part.whole, part.rows, part.quarantined) == (True, 11, 1, False, 4, 2)
    assert [row[0] for row in kept(store.read("computed"))] == list(range(10))
    assert [row[0] for row in kept(store.quarantine("computed"))] == [9, 20]
    before = store.tables.newest("computed")
    assert store.backfill("computed", hour(8), hour(30), hour(60)) == before
    store.tables.append("raw_computed", spark.createDataFrame([("LGA", hour(number), 1.0, None, 1) for number in range(30, 40)], SCHEMA))
    with pytest.raises(fs.ContractError, match=r"`rows within 0.5 of the last` broken by 2\d after 10"):
        store.refresh("computed", hour(60))
    assert store.tables.newest("computed") == before


def test_an_added_feature_reaches_the_quarantine(in_catalog: fs.FeatureStore, spark: SparkSession) -> None:
    """By name as by path; its earlier rows have null there, as those of the table."""
    table = replace(TABLE, name="grown", expectations=RULES[:1])
    in_catalog.register(table)
    in_catalog.write("grown", spark.createDataFrame([("JFK", hour(0), 1.0, None, 1), ("JFK", hour(1), 999.0, None, 1)], SCHEMA))
    in_catalog.register(replace(table, features=(*table.features, fs.Feature("seats", "int"))))
    more = spark.createDataFrame([("JFK", hour(2), 2.0, None, 1, 5), ("JFK", hour(3), 999.0, None, 1, 6)], f"{SCHEMA}, seats int")
    in_catalog.write("grown", more)

    assert [(row[0], row[-1]) for row in kept(in_catalog.read("grown"))] == [(0, None), (2, 5)]
    assert sorted((row["seats"] or 0) for row in in_catalog.quarantine("grown").select("seats").collect()) == [0, 6]


def test_a_wide_table_is_counted_as_a_narrow_one(spark: SparkSession) -> None:
    """300 columns and 40 rules, against pandas: part by part in one job; NaN is neither null nor a number."""
    rng = np.random.default_rng(5)
    wide = pd.DataFrame({f"c{number}": rng.normal(size=60) for number in range(298)})
    wide = wide.mask(rng.random(wide.shape) < 0.2)
    wide["text"], wide["whole"] = "x", np.arange(60)
    kinds = ", ".join([*(f"c{number} double" for number in range(298)), "text string", "whole bigint"])
    frame = spark.createDataFrame([tuple(None if pd.isna(value) else value for value in row) for row in wide.itertuples(index=False)], kinds)
    nan = F.when(F.col("whole") == 13, F.lit(math.nan)).otherwise(F.col("c7"))
    rules = [F.coalesce(F.col(f"c{number}") > number / 40, F.lit(False)) for number in range(40)]
    found = take_tally(frame.withColumn("c7", nan), frame.columns, rules, F.col("whole") < 10)

    good = wide[wide.whole >= 10]
    assert (found.rows, found.bad, len(found.columns)) == (60, 10, 300)
    judged = wide.copy()
    judged.loc[13, "c7"] = math.inf  # Spark takes NaN for greater than every number
    assert found.broken == tuple(int(judged[f"c{number}"].gt(number / 40).sum()) for number in range(40))
    for name in ("c0", "c11", "c12", "c297", "whole"):
        column, profile = good[name], found.columns[name]
        assert (profile.nulls, profile.nan, profile.low, profile.high) == (column.isna().sum(), 0, column.min(), column.max())
        assert profile.mean == pytest.approx(column.mean(), rel=1e-12)
    assert found.columns["text"] == fs.quality.ColumnProfile(0)
    assert found.columns["c7"].nan == 1
    assert take_tally(spark.range(0), ["id"], [F.col("id") > 0], F.lit(False)).broken == (0,)
