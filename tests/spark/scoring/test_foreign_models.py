"""Models of other kinds, through MLflow's pyfunc: errors, odd outputs, types; and the model's place in a worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from pyspark.sql import SparkSession
from scoring_rows import WINDOW, good_rows, ready, run, store_rows

from feature_store.delta import Tables
from feature_store.records import Snapshot
from sparkml_ops.errors import ContractError, OpsError
from sparkml_ops.model import artifact
from sparkml_ops.scoring import predictions, quarantine
from sparkml_ops.scoring.loading import loaded
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage

SCHEMA = "id bigint, at timestamp, x double, n bigint, flag boolean, text string, seen timestamp, window string"
ZONE = "America/New_York"
# The hour that New York has twice.
TWICE = 1383456600000000


@pytest.fixture(scope="module")
def echo(folder: Path, storage: Storage) -> ScoringModel:
    """A model that gives back what it read, and misbehaves on some x."""

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            x = model_input["x"].to_numpy()
            if (x == 13).any():
                raise ValueError("cannot take thirteen")
            instants = model_input["seen"].astype("int64").to_numpy() // 1000
            kept = pd.DataFrame({"x": np.where(x == 14, np.nan, x), "n": model_input["n"], "text": model_input["text"], "micros": instants})
            return kept[x != 15]

    kinds = {"x": "double", "n": "long", "flag": "boolean", "text": "string", "seen": "datetime"}
    inputs = Schema([ColSpec(kind, name) for name, kind in kinds.items()])
    outputs = Schema([ColSpec("double", "x"), ColSpec("long", "n"), ColSpec("string", "text"), ColSpec("long", "micros")])
    signature = ModelSignature(inputs, outputs)
    mlflow.pyfunc.save_model(str(folder / "echo"), python_model=Echo(), signature=signature, pip_requirements=[])
    return ready(folder / "echo", storage, "mlflow.pyfunc.model", Signature.of_mlmodel(folder / "echo"), name="echo")


def echo_rows() -> list[tuple[Any, ...]]:
    rows = [(index, float(index), 2**60 + index, index % 2 == 0, f"t{index}" if index % 3 else None) for index in range(30)]
    rows += [(100, 1.0, None, True, "no n"), (101, 1.0, 1, None, "no flag")]
    return rows


@pytest.fixture(scope="module")
def scoring_set(warehouse: Tables) -> Snapshot:
    frame = warehouse.spark.createDataFrame(echo_rows(), "id bigint, x double, n bigint, flag boolean, text string").repartition(3)
    frame = frame.selectExpr(
        "id", "timestamp_micros(0) AS at", "x", "n", "flag", "text", f"timestamp_micros({TWICE} + id) AS seen", f"'{WINDOW}' AS window"
    )
    return warehouse.replace("echo_scores_scoring_set", frame, {"window": WINDOW}).snapshot


@pytest.mark.parametrize("engine", ["files", "arrow", "pandas"])
def test_a_model_s_faults_stay_with_their_rows_and_values_keep_their_meaning(
    spark: SparkSession, warehouse: Tables, echo: ScoringModel, scoring_set: Snapshot, engine: str
) -> None:
    """It raises on one row, gives NaN for another and loses a third; long numbers, text and instants arrive as they are, in any zone."""
    call = {"target": "echo_scores", "slot": engine, "engine": engine, "row_key": ("id",), "spine_time": "at"}
    spark.conf.set("spark.sql.session.timeZone", ZONE)
    try:
        done = run(warehouse, echo, scoring_set, **call)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")

    bad = {
        13: "model error: ValueError: cannot take thirteen",
        14: "non-finite prediction: x",
        15: "wrong output length: 0 for 1 rows",
        100: "missing value: n, bigint in the model's signature",
        101: "missing value: flag, boolean in the model's signature",
    }
    # A missing text is null: no such output is a prediction.
    bad |= {row[0]: "non-finite prediction: text" for row in echo_rows() if row[4] is None and row[0] not in bad}
    assert {row["id"]: row["reason"] for row in quarantine(warehouse, "echo_scores", slot=engine).collect()} == bad
    rows = predictions(warehouse, "echo_scores", slot=engine).select("id", "prediction.*").collect()
    assert sorted(map(tuple, rows)) == [(row[0], row[1], row[2], row[4], TWICE + row[0]) for row in echo_rows() if row[0] not in bad]
    assert done.quarantined == len(bad)


def test_a_model_that_sleeps_for_ever_costs_one_row(warehouse: Tables, folder: Path, storage: Storage) -> None:
    """It is interrupted in Spark's worker; the rows beside it have their predictions."""

    class Sleeper(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            if (model_input["x"] == 1).any():
                time.sleep(3600)
            return model_input["x"].to_numpy()

    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "y")]))
    mlflow.pyfunc.save_model(str(folder / "sleeper"), python_model=Sleeper(), signature=signature, pip_requirements=[])
    sleeper = ready(folder / "sleeper", storage, "mlflow.pyfunc.model", Signature.of_mlmodel(folder / "sleeper"), name="sleeper")
    patient = ScoringModel(sleeper.record, replace(sleeper.published, seconds=2.0))
    frame = warehouse.spark.range(4).selectExpr("id", "timestamp_micros(0) AS at", "double(id) AS x", f"'{WINDOW}' AS window").repartition(1)
    stored = warehouse.replace("sleeper_scores_scoring_set", frame, {"window": WINDOW}).snapshot

    run(warehouse, patient, stored, target="sleeper_scores", engine="files", row_key=("id",), spine_time="at")

    assert {row["id"] for row in predictions(warehouse, "sleeper_scores").collect()} == {0, 2, 3}
    [apart] = quarantine(warehouse, "sleeper_scores").collect()
    assert (apart["id"], apart["reason"]) == (1, "model error: no answer for 1 rows in 2 seconds")


@pytest.mark.parametrize("engine", ["files", "arrow", "pandas"])
def test_a_worker_that_ends_refuses_the_window(warehouse: Tables, folder: Path, storage: Storage, engine: str) -> None:
    """As one does that took all memory; so does a file that changed on disk since it was verified. The target has the rows that it had."""

    class Ending(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            if (model_input["x"] == 1).any():
                os.kill(os.getpid(), signal.SIGKILL)
            return model_input["x"].to_numpy()

    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "y")]))
    mlflow.pyfunc.save_model(str(folder / f"ending_{engine}"), python_model=Ending(), signature=signature, pip_requirements=[])
    ending = ready(folder / f"ending_{engine}", storage, "mlflow.pyfunc.model", Signature.of_mlmodel(folder / f"ending_{engine}"), name="ending")
    frame = warehouse.spark.range(3).selectExpr("id", "timestamp_micros(0) AS at", "double(id) AS x", f"'{WINDOW}' AS window").repartition(1)
    stored = warehouse.replace("ending_scores_scoring_set", frame, {"window": WINDOW}).snapshot
    few = warehouse.replace("few_scores_scoring_set", frame.where("id = 0"), {"window": WINDOW}).snapshot
    call = {"target": f"ending_{engine}", "engine": engine, "row_key": ("id",), "spine_time": "at"}
    run(warehouse, ending, few, **call)
    before = warehouse.newest(call["target"])

    with pytest.raises(OpsError, match=r"a Python worker that ended while it scored window 2013-07 .*Nothing was written"):
        run(warehouse, ending, stored, generation=1, **call)
    changed = Path(storage.path(f"models/{ending.published.digest}/python_model.pkl"))
    changed.write_bytes(changed.read_bytes() + b"x")
    fresh = ScoringModel(ending.record, replace(ending.published, seconds=7.0))  # no worker has loaded it so
    with pytest.raises(ContractError, match=r"python_model.pkl with SHA-256"):
        run(warehouse, fresh, few, generation=1, **call)

    assert warehouse.newest(call["target"]) == before
    assert [row["id"] for row in predictions(warehouse, call["target"]).collect()] == [0]


def test_the_model_loads_once_a_worker(spark: SparkSession, tables: Tables, folder: Path, storage: Storage) -> None:
    """Eight tasks on two cores: each process loaded the model at most once, and used it again."""
    from scoring_rows import SPEC

    from sparkml_ops.model.network import build
    from sparkml_ops.tracking import OWN_LOADER

    artifact.save(folder / "counted", SPEC, build(SPEC, seed=11).state_dict())
    counted = ready(folder / "counted", storage, OWN_LOADER, Signature.of_artifact(folder / "counted"))
    published = counted.published

    def loads(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            before = loaded.cache_info().misses
            loaded(published)
            yield pa.RecordBatch.from_pylist([{"pid": os.getpid(), "fresh": loaded.cache_info().misses - before}])

    run(tables, counted, store_rows(tables, good_rows(64), partitions=8), engine="arrow")
    rows = spark.range(0, 4, 1, 4).mapInArrow(loads, "pid bigint, fresh bigint").collect()

    # The workers of the pass are those that answer here, and they have it.
    assert {row["fresh"] for row in rows} == {0}
