"""Models that predict something else than a probability: every column of theirs is written, by either engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import mlflow.pyfunc
import pandas as pd
import pytest
from scoring_rows import SCHEMA, SPEC, WINDOW, good_rows, ready, run, store_rows

from feature_store.delta import Tables
from sparkml_ops.model import Target, artifact
from sparkml_ops.model.network import build
from sparkml_ops.scoring import predictions
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER
from sparkml_ops.tracking.package import write_package

ROWS = [*good_rows(20), (99, "out", good_rows(1)[0][2], "AA", 7, float("inf"), 150, "x", WINDOW)]
TARGETS = {
    "regression": Target("regression", mean=40.0, scale=7.0),
    "multiclass": Target("multiclass", classes=("10", "9", "-1"), type="bigint"),
}


@pytest.mark.parametrize(("task", "engine"), [("regression", "arrow"), ("multiclass", "pandas")])
def test_a_window_is_scored(warehouse: Tables, storage: Storage, tmp_path: Path, task: str, engine: Literal["arrow", "pandas"]) -> None:
    """The struct `prediction` has the model's columns; a row without a prediction is set aside."""
    spec = replace(SPEC, target=TARGETS[task])
    artifact.save(tmp_path / "a", spec, build(spec, seed=7).state_dict())
    target = f"{task}_{engine}"
    model = ready(tmp_path / "a", storage, OWN_LOADER, Signature.of_artifact(tmp_path / "a"))
    scored = run(warehouse, model, store_rows(warehouse, ROWS, target=target), target=target, engine=engine)
    found = {row["flight_id"]: row["prediction"].asDict() for row in predictions(warehouse, target).collect()}
    frame = pd.DataFrame(good_rows(20), columns=[field.split()[0] for field in SCHEMA.split(", ")])
    expected = [column.to_pylist() for column in artifact.load(tmp_path / "a").columns(frame)]

    assert (scored.rows, scored.quarantined) == (20, 1)
    assert [found[row] for row in range(20)] == [
        dict(zip((name for name, _ in spec.outputs), values, strict=True)) for values in zip(*expected, strict=True)
    ]


def test_plain_mlflow_predicts_the_same_columns(tmp_path: Path) -> None:
    """Names and types are in the signature; whole numbers stay whole."""
    spec = replace(SPEC, target=TARGETS["multiclass"])
    artifact.save(tmp_path / "a", spec, build(spec, seed=7).state_dict())
    write_package(tmp_path / "a", tmp_path / "model", inputs=spec.inputs, outputs=spec.outputs, run_id="0" * 32)
    frame = pd.DataFrame(good_rows(6), columns=[field.split()[0] for field in SCHEMA.split(", ")])[[name for name, _ in spec.inputs]]
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(frame)

    assert list(found.columns) == [name for name, _ in spec.outputs]
    assert set(found["class"]) <= {10, 9, -1}
    assert found["confidence"].tolist() == artifact.load(tmp_path / "a").predict(frame).max(axis=1).tolist()
