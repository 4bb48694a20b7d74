"""The catalog over real tables: values by distributed passes, kept by version, and lineage to a training set."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tiny_project import Place

import feature_store as fs
from sparkml_ops.catalog import Catalog
from sparkml_ops.config.load import load
from sparkml_ops.drift import STATE_TABLE
from sparkml_ops.verbs import catalog
from sparkml_ops.verbs.work import Work

START = datetime(2020, 1, 1, tzinfo=UTC)
TABLE = fs.FeatureTable(
    "trips",
    ("driver",),
    "at",
    (
        fs.Feature("distance", "double", "km"),
        fs.Feature("seats", "int"),
        fs.Feature("city", "string"),
        fs.Feature("name", "string"),
        fs.Feature("stops", "array<int>"),
        fs.Feature("ended", "timestamp"),
    ),
    pii=("name",),
    freshness="1h",
)
SCHEMA = "driver string, at timestamp, distance double, seats int, city string, name string, stops array<int>, ended timestamp"


@pytest.fixture
def work(spark: SparkSession, tmp_path: Path) -> Work:
    """The tiny project."""
    return opened(spark, tmp_path, {"root": str(tmp_path / "tables")})


def opened(spark: SparkSession, folder: Path, warehouse: dict[str, str]) -> Work:
    """The tiny project, with the table's declaration registered."""
    work = Work(load(Place(folder / "p", base={"warehouse": warehouse}).folder / "conf", "tiny"), spark)
    work.store.register(TABLE)
    return work


def trips(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    distance = rng.gamma(2.0, 5.0, count)
    distance[::10] = np.nan
    times = [START + timedelta(hours=place + seed) for place in range(count)]
    return pd.DataFrame(
        {
            "driver": [f"d{place % 7}" for place in range(count)],
            "at": times,
            "distance": distance,
            "seats": rng.integers(1, 6, count),
            "city": rng.choice(["Rome", "Oslo", "Lima"], count, p=[0.6, 0.3, 0.1]),
            "name": [f"person {place}" for place in range(count)],
            "stops": [[1, 2]] * count,
            "ended": times,
        }
    )


def shown(found: Catalog) -> dict[str, object]:
    return {feature.name: feature.distribution for feature in found.tables[0].features}


def test_values_are_read_once_a_version_and_never_those_of_persons(work: Work) -> None:
    """Shares are what pandas counts; the second look reads nothing anew; another version is read on the first one's edges."""
    rows = trips(600, 1)
    work.tables.append("trips", work.spark.createDataFrame(rows, SCHEMA).coalesce(1))
    first = catalog.perform(work, as_of="2020-02-01", pictures="newest")
    (made,) = [feature.distribution for feature in first.tables[0].features if feature.name == "distance"]
    kept = work.tables.newest(STATE_TABLE)
    again = catalog.perform(work, as_of="2020-02-01", pictures="newest")

    assert {name for name, found in shown(first).items() if found} == {"distance", "seats", "city", "ended"}
    assert shown(again) == shown(first)
    assert work.tables.newest(STATE_TABLE) == kept
    assert made is not None
    assert (made.rows, made.missing, made.shape) == (600, 0.1, "bins")
    low, high = float(made.bars[0].label.split(" to ")[0]), float(made.bars[-1].label.split(" to ")[1])
    counts, _ = np.histogram(rows["distance"].dropna(), bins=30, range=(low, high))
    assert [bar.share for bar in made.bars] == pytest.approx(counts / 540, abs=0.01)
    for name in ("seats", "city"):
        found = {bar.label: bar.share for bar in shown(first)[name].bars}  # type: ignore[attr-defined]
        assert found == pytest.approx(rows[name].astype(str).value_counts(normalize=True).to_dict())
    assert (first.tables[0].rows, first.tables[0].newest, first.tables[0].stale) == (600, "2020-01-26T00:00:00+00:00", True)
    assert "person 1" not in str(work.tables.rows(STATE_TABLE)) + first.html()

    edges = {row["column"]: row["edges"] for row in work.tables.rows(STATE_TABLE)}
    work.tables.append("trips", work.spark.createDataFrame(trips(650, 1000), SCHEMA).coalesce(1))
    stored = catalog.perform(work, pictures="stored")
    newer = catalog.perform(work, pictures="newest")

    assert shown(stored) == shown(first)
    assert shown(newer)["distance"].rows == 1250  # type: ignore[attr-defined]
    assert work.tables.newest(STATE_TABLE).version == kept.version + 1
    assert edges == {row["column"]: row["edges"] for row in work.tables.rows(STATE_TABLE)}


@pytest.fixture
def in_catalog(spark: SparkSession, tmp_path: Path) -> Iterator[Work]:
    """The tiny project, with its tables in a catalog."""
    schema = f"s{uuid.uuid4().hex}"
    spark.sql(f"CREATE SCHEMA {schema}")
    yield opened(spark, tmp_path, {"catalog": f"spark_catalog.{schema}"})
    spark.sql(f"DROP SCHEMA {schema} CASCADE")


def test_a_catalog_s_tables_have_values_and_users_too(in_catalog: Work) -> None:
    """Profiles and consumers go through Spark there: the same rows, found again."""
    work = in_catalog
    work.tables.append("trips", work.spark.createDataFrame(trips(60, 1), SCHEMA).coalesce(1))
    work.store.consumers.record(fs.Consumer("model", "late", "1", {"trips": 0}), fs.Consumer("model", "late", "2", {"trips": 0}))
    read = catalog.perform(work, pictures="newest")

    assert {name: (found.rows, found.version) for name, found in shown(read).items() if found} == dict.fromkeys(  # type: ignore[attr-defined]
        ("distance", "seats", "city", "ended"), (60, 0)
    )
    assert read.tables[0].users == {"model": ("late@1", "late@2")}
    assert work.store.lineage("trips").names("model") == ("late@1", "late@2")


def test_a_thousand_columns(spark: SparkSession, tmp_path: Path) -> None:
    """Each gets its picture; a task never holds the states of all of them at once."""
    names = [f"f{number}" for number in range(1000)]
    work = Work(load(Place(tmp_path / "p").folder / "conf", "tiny"), spark)
    work.store.register(fs.FeatureTable("wide", ("k",), "at", tuple(fs.Feature(name, "double") for name in names)))
    values = [((F.col("id") * (number + 1)) % 97).cast("double").alias(name) for number, name in enumerate(names)]
    work.tables.overwrite("wide", spark.range(200, numPartitions=1).select(F.col("id").alias("k"), F.lit(START).alias("at"), *values))
    found = shown(catalog.perform(work, pictures="newest"))

    assert set(found) == set(names)
    for number in (0, 499, 999):
        expected = pd.Series((np.arange(200) * (number + 1)) % 97)
        assert found[f"f{number}"].mean == pytest.approx(expected.mean())  # type: ignore[attr-defined]
