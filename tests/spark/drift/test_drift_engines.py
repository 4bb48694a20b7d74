"""A table's files and its DataFrame give the same states, and profiles live in a Delta table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.scan import Scan, plan_scan
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import Profile, compare, from_delta, profile
from sparkml_ops.drift.profile import profiles
from sparkml_ops.drift.source import FileSource, FrameSource
from sparkml_ops.errors import TableNotFound


def rows(size: int = 3000) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": random.lognormal(0, 2, size),
            "n": random.integers(0, 9, size),
            "c": random.choice(["a", "b", None], size),
            "code": [f"{'AB' if number % 3 else 'ABC'}-{number % 7}" for number in range(size)],
            "when": pd.Timestamp("2013-07-01") + pd.to_timedelta(random.integers(0, 86_400 * 3, size), unit="s"),
            "split": random.choice(["train", "evaluation"], size),
            "month": random.choice(["2013-06", "2013-07"], size),
        }
    )


@pytest.fixture(scope="module")
def warehouse(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A table of two partitions, to whose second version a column was added."""
    tables = Tables(spark, Warehouse(root=str(tmp_path_factory.mktemp("engines"))))
    frame = spark.createDataFrame(rows())
    tables.overwrite("sample", frame.drop("n").where("month = '2013-06'"), partition_by=("month",))
    wider = frame.where("month = '2013-07'").repartition(2)
    wider.write.format("delta").mode("append").option("mergeSchema", "true").save(tables.warehouse.path("sample"))
    return tables


def scan_of(tables: Tables, *, row_groups: bool = True) -> Scan:
    scan = plan_scan(tables, tables.newest("sample"), row_groups=row_groups)
    assert scan is not None
    return scan


def same(first: Profile, second: Profile) -> bool:
    assert first.edges.id == second.edges.id
    assert first.groups.keys() == second.groups.keys()
    return all(state.pack() == second.groups[group][name].pack() for group, columns in first.groups.items() for name, state in columns.items())


@pytest.mark.parametrize("where", [{}, {"split": "train"}, {"month": "2013-07", "split": "train"}])
def test_files_and_frame_give_the_same_states(spark: SparkSession, warehouse: Tables, where: dict[str, str]) -> None:
    """Bit for bit: partition columns, later columns, filters, segments and blocks included."""
    frame = warehouse.read("sample")
    edges = profile(frame, settings=DriftSection(views=("code",))).edges
    sources = {"files": FileSource(scan_of(warehouse), spark, where), "frame": FrameSource(frame, where)}
    found = profiles(sources, edges, ("month",), "when", DriftSection(columns_per_job=len(edges.columns) if where else 2))

    assert sources["files"].types == sources["frame"].types
    assert found["files"].rows == len(rows().query(" and ".join(f"{name} == '{value}'" for name, value in where.items()) or "index >= 0"))
    assert same(found["files"], found["frame"])
    assert found["files"]["code (pattern)"].counts == {"a-9": found["files"].rows}
    assert (found["files"]["code (length)"].min, found["files"]["code (length)"].max) == (4.0, 5.0)


def test_a_scan_is_compared_like_rows(warehouse: Tables) -> None:
    """The public calls take a pinned scan; whole files do as well as row groups."""
    frame = warehouse.read("sample").where("month = '2013-07'")
    by_files = compare(scan_of(warehouse, row_groups=False), frame, columns=["x", "c"])
    by_rows = compare(warehouse.read("sample"), frame, columns=["x", "c"])

    assert by_files.edges == by_rows.edges
    assert by_files.to_pandas().equals(by_rows.to_pandas())


def test_a_profile_survives_its_table(spark: SparkSession, warehouse: Tables) -> None:
    """Stored and read again it has the same edges and bytes, segments and blocks included; storing replaces."""
    stored = profile(warehouse.read("sample"), columns=["x", "c"], segments=("split",), blocks="when")
    first = stored.to_delta(warehouse, "sample", window="2013-07")
    second = stored.to_delta(warehouse, "sample", window="2013-07")
    again = Profile.from_delta(warehouse, "sample", window="2013-07")

    assert second.version == first.version + 1
    assert same(stored, again)
    assert len(warehouse.rows("profile_state", {"table": "sample", "segment": "split=train", "column": "x", "block": ""})) == 1
    window = profile(warehouse.read("sample").where("month = '2013-07'"), again.edges)
    assert compare(again, window)["x"].ks_bounds is not None
    with pytest.raises(TableNotFound, match="2013-08"):
        from_delta(warehouse, "sample", window="2013-08")


def test_a_warehouse_may_be_given_by_its_folder(spark: SparkSession, tmp_path: Path) -> None:
    """In a notebook a folder is enough; the active session writes."""
    stored = profile(spark.range(50).withColumn("x", F.col("id") * 1.5))
    stored.to_delta(str(tmp_path), "ids")

    assert same(stored, from_delta(str(tmp_path), "ids"))
