"""Detectors over groups of rows: each group by itself, in its own order, wherever its rows lie, and across kills of a stream."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from concept_driver import start
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from running_session import answered_here, keys
from tiny_project import Place

from feature_store import hooks
from feature_store.delta import Tables
from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring import PERFORMANCE_TABLE
from sparkml_ops.monitoring.concept_stream import followed
from sparkml_ops.monitoring.detectors import changes, changes_by_group
from sparkml_ops.monitoring.stored import _SCHEMA as FIGURES
from sparkml_ops.verbs.concept import FOLLOWED, follow
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import instant


def errors() -> dict[str | None, np.ndarray]:
    """One origin goes wrong in the middle, one never does, and one has no name."""
    random = np.random.default_rng(1)
    falls = np.r_[random.random(400) < 0.1, random.random(400) < 0.6]
    return {"JFK": falls, "LGA": random.random(800) < 0.1, None: np.r_[falls[400:], falls[:400]]}


def rows_of(found: dict[str | None, np.ndarray], first: int, last: int) -> pd.DataFrame:
    """Shuffled: only the order column tells what came first."""
    rows = [(name, place, float(error)) for name, series in found.items() for place, error in enumerate(series) if first <= place < last]
    return pd.DataFrame(rows, columns=["origin", "at", "error"]).sample(frac=1.0, random_state=3)


def test_each_group_is_read_in_its_order(spark: SparkSession) -> None:
    """As if each group's errors had been handed to the detector one after the other, though the rows come shuffled."""
    known = {name: series for name, series in errors().items() if name is not None}
    frame = spark.createDataFrame(rows_of(known, 0, 800)).repartition(3)

    found = changes_by_group(frame, "error", order=["at"], by=["origin"], detector="ddm").toPandas()

    expected = {(name, place) for name, series in known.items() for place in changes(series.astype(float), "ddm")}
    assert set(zip(found["origin"], found["position"], strict=True)) == expected
    assert any(name == "JFK" and 400 <= place < 500 for name, place in expected)
    assert set(found["detector"]) == {"ddm"}


@pytest.mark.timeout(600)
def test_a_killed_stream_goes_on_as_if_unbroken(tables: Tables, spark: SparkSession, tmp_path: Path) -> None:
    """Killed after its commit and, with more rows, before the next one: what is found in the end is what one pass over all rows finds."""
    found, checkpoint = errors(), str(tmp_path / "checkpoint")
    command = [sys.executable, str(Path(__file__).with_name("concept_driver.py")), str(tables.warehouse.root), checkpoint]
    seen = []
    for side, first, last in (("after", 0, 450), ("before", 450, 800)):
        tables.append("errors", spark.createDataFrame(rows_of(found, first, last)))
        hooking = {"kill": f"delta.commit.concept_states:{side}", "once": str(tmp_path / side)}
        killed = subprocess.run(command, env={**keys(spark), hooks.VARIABLE: json.dumps(hooking)}, timeout=300)
        assert killed.returncode == -signal.SIGKILL
        seen.append(sum(item.seen for item in followed(tables, "errors")))
    answered_here(spark)

    start(tables, checkpoint).awaitTermination()

    groups = {item.group["origin"]: item for item in followed(tables, "errors")}
    assert seen == [3 * 450, 3 * 450]
    assert {name: item.seen for name, item in groups.items()} == dict.fromkeys(found, 800)
    assert {name: tuple(change.position for change in item.changes) for name, item in groups.items()} == {
        name: changes(series.astype(float), "ddm") for name, series in found.items()
    }
    assert all(change.at == str(change.position) for item in groups.values() for change in item.changes)
    with pytest.raises(ContractError, match="the new checkpoint"):
        start(tables, str(tmp_path / "other"))
    with pytest.raises(ContractError, match="which it was begun with"):
        start(tables, checkpoint, warm_start=9)


def test_final_windows_are_followed_by_version_and_segment(spark: SparkSession, tmp_path: Path) -> None:
    """Windows that became final later are added to those before; what is not final, estimated or another slot's does not count."""
    work, random = Work(load(Place(tmp_path / "p").folder / "conf", "tiny"), spark), np.random.default_rng(5)
    auc = np.r_[random.normal(0.75, 0.003, 20), random.normal(0.6, 0.003, 20)]
    common = {**dict.fromkeys(FIGURES.names), "project": "tiny", "target": "tiny_scores", "model": "tiny", "version": 1, "slot": "champion"}
    windows = [f"2020-{1 + place // 28:02}-{1 + place % 28:02}" for place in range(40)]

    def measured(first: int, last: int) -> None:
        rows = [
            {**common, "window": windows[place], "as_of": instant("2020-06-01"), "final": final, "segment": segment, "metric": "auc"}
            | {"kind": kind, "value": float(auc[place])}
            for place in range(first, last)
            for final, segment, kind in (
                (True, None, "realised"),
                (True, "origin=JFK", "realised"),
                (False, None, "realised"),
                (True, None, "estimated"),
            )
        ]
        work.tables.add(PERFORMANCE_TABLE, from_arrow_schema(FIGURES), rows)

    with pytest.raises(ContractError, match="no measured window"):
        follow(work)
    for first, last in ((0, 25), (25, 40)):
        measured(first, last)
        found = follow(work)

    expected = [windows[place] for place in changes(auc, "page-hinkley", **FOLLOWED)]
    assert [(item.group["segment"], item.seen, [change.at for change in item.changes]) for item in found] == [
        ("origin=JFK", 40, expected),
        (None, 40, expected),
    ]
    assert expected[0] in windows[20:23]
