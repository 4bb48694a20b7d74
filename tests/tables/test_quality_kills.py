"""A write with bad rows that is killed anywhere and run again, and two writers at once, end as unbroken writes one after the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from writers import SCHEMA, Writers, hour

import feature_store as fs
from feature_store import hooks

TABLE = fs.FeatureTable(
    "t",
    ("origin",),
    "at",
    (fs.Feature("delay", "double"),),
    expectations=(fs.Expectation("between", "delay", low=0, high=9, otherwise="quarantine"),),
)
ROWS = [["JFK", 0, 1.0], ["JFK", 1, 10.0], ["LGA", 0, 2.0]]


@pytest.fixture(scope="module")
def writers(spark: SparkSession) -> Iterator[Writers]:
    with Writers(spark) as started:
        yield started


def landed(store: fs.FeatureStore) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Rows of the table and of its quarantine."""
    return sorted(store.read("t").select("origin", "delay").collect()), sorted(store.quarantine("t").select("origin", "delay").collect())


def test_a_kill_at_any_hook_neither_doubles_nor_loses_a_row(spark: SparkSession, writers: Writers, tmp_path: Path) -> None:
    """Each start goes on from what the last kill left, on a table that holds rows already; rows of a write that never landed are not seen."""
    store = fs.FeatureStore(spark, root=str(tmp_path / "warehouse"))
    store.register(TABLE)
    store.write("t", spark.createDataFrame([("JFK", hour(0), 0.5)], SCHEMA))
    shutil.copytree(tmp_path / "warehouse", tmp_path / "unbroken")
    unbroken = fs.FeatureStore(spark, root=str(tmp_path / "unbroken"))
    os.environ[hooks.VARIABLE] = json.dumps({"record": str(tmp_path / "names")})
    unbroken.write("t", spark.createDataFrame([(origin, hour(at), delay) for origin, at, delay in ROWS], SCHEMA))
    del os.environ[hooks.VARIABLE]
    names = list(dict.fromkeys((tmp_path / "names").read_text().split()))
    assert names == [f"delta.commit.{table}:{side}" for table in ("t_quarantine", "t") for side in ("before", "after")]

    for number, name in enumerate(names):
        hooking = {"kill": name, "once": str(tmp_path / f"killed.{number}")}
        request = {"root": str(tmp_path / "warehouse"), "table": "t", "rows": ROWS, "hooking": hooking}
        assert writers.write(request) == [-signal.SIGKILL], name
        if name == "delta.commit.t:before":
            assert len(store.tables.rows("t_quarantine")) == 1
            assert landed(store) == ([("JFK", 0.5)], [])

    store.write("t", spark.createDataFrame([(origin, hour(at), delay) for origin, at, delay in ROWS], SCHEMA))
    assert landed(store) == landed(unbroken) == ([("JFK", 1.0), ("LGA", 2.0)], [("JFK", 10.0)])
    assert len(store.tables.rows("t_quarantine")) == 1


def test_two_writers_at_once_both_land_or_one_is_refused(spark: SparkSession, writers: Writers, tmp_path: Path) -> None:
    """Two processes make the table with its first rows, and correct it; also with the same rows, bad ones among them."""
    root = str(tmp_path / "warehouse")
    store = fs.FeatureStore(spark, root=root)
    store.register(TABLE)
    for round, batches in enumerate(([[["JFK", 0, 1.0], ["JFK", 1, 11.0]], [["LGA", 0, 2.0], ["LGA", 1, 12.0]]], [ROWS, ROWS])):
        found = writers.write(*({"root": root, "table": "t", "rows": rows} for rows in batches))

        assert set(found) <= {0, 4}, round
        assert 0 in found
        for rows, status in zip(batches, found, strict=True):
            if status:  # a refused write is complete once it is run again
                store.write("t", spark.createDataFrame([(origin, hour(at), delay) for origin, at, delay in rows], SCHEMA))

    assert landed(store) == ([("JFK", 1.0), ("LGA", 2.0)], [("JFK", 10.0), ("JFK", 11.0), ("LGA", 12.0)])
