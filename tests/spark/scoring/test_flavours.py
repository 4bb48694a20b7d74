"""Each flavour of MLflow: trained, registered, taken over, scored on Spark, and what it predicts is what its own `predict` says of the same rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.lightgbm
import mlflow.onnx
import mlflow.pyfunc
import mlflow.pytorch
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from pyspark.sql import SparkSession
from scoring_rows import SETTINGS, TRAINING_SET, WINDOW, run
from sklearn.linear_model import LogisticRegression
from unpickling import unpickling

from feature_store.delta import Tables
from feature_store.records import Snapshot
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ModelSpec, NumericInput
from sparkml_ops.scoring import load, predictions
from sparkml_ops.scoring.loading import loaded
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking

NAMES = list("abcd")
COUNT = 60
Save = Callable[[str, pd.DataFrame, "pd.Series[int]"], None]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(11).normal(size=(COUNT, 4)), columns=NAMES)


@pytest.fixture(scope="module")
def label(rows: pd.DataFrame) -> pd.Series[int]:
    return (rows["a"] + rows["b"] > 0).astype(int)


@pytest.fixture(scope="module")
def tracking(folder: Path, mlflow_template: Path) -> Tracking:
    shutil.copyfile(mlflow_template, folder / "flavours.db")
    return Tracking(f"sqlite:///{folder}/flavours.db", "flavours", str(folder / "flavours"))


@pytest.fixture(scope="module")
def scoring_set(spark: SparkSession, warehouse: Tables, rows: pd.DataFrame) -> Snapshot:
    """The rows as four columns, and as one array of what ONNX computes with."""
    told = rows.assign(id=np.arange(COUNT), X=[row.tolist() for row in rows.to_numpy(np.float32)])
    frame = spark.createDataFrame(told, "a double, b double, c double, d double, id bigint, X array<float>")
    return warehouse.replace(
        "flavours_scoring_set", frame.selectExpr("*", "timestamp_micros(0) AS at", f"'{WINDOW}' AS window"), {"window": WINDOW}
    ).snapshot


def _cloudpickle(path: str, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    model = LogisticRegression().fit(rows, label)
    told = {"signature": infer_signature(rows, model.predict(rows)), "pip_requirements": [], "serialization_format": "cloudpickle"}
    mlflow.sklearn.save_model(model, path, **told)


def _skops(path: str, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    model = LogisticRegression().fit(rows, label)
    told = {"signature": infer_signature(rows, model.predict_proba(rows)), "pip_requirements": [], "serialization_format": "skops"}
    mlflow.sklearn.save_model(model, path, pyfunc_predict_fn="predict_proba", **told)


def _xgboost(path: str, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    import xgboost

    model = xgboost.train({"objective": "binary:logistic", "seed": 1, "nthread": 1}, xgboost.DMatrix(rows, label), 5)
    found = model.predict(xgboost.DMatrix(rows))
    mlflow.xgboost.save_model(model, path, signature=infer_signature(rows, found), pip_requirements=[], model_format="ubj")


def _lightgbm(path: str, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    import lightgbm

    told = {"objective": "binary", "verbosity": -1, "seed": 1, "num_threads": 1, "min_data_in_leaf": 5}
    model = lightgbm.train(told, lightgbm.Dataset(rows, label), 5)
    mlflow.lightgbm.save_model(model, path, signature=infer_signature(rows, model.predict(rows)), pip_requirements=[])


def _pyfunc(path: str, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    class Means(mlflow.pyfunc.PythonModel):
        def __init__(self, means: list[float]) -> None:
            self.means = means

        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
            nearest = model_input.to_numpy() - np.array(self.means)
            return pd.DataFrame({"distance": np.abs(nearest).sum(axis=1), "near": (np.abs(nearest) < 1).all(axis=1)})

    outputs = Schema([ColSpec("double", "distance"), ColSpec("boolean", "near")])
    signature = ModelSignature(infer_signature(rows).inputs, outputs)
    mlflow.pyfunc.save_model(path, python_model=Means(rows[label == 1].mean().tolist()), signature=signature, pip_requirements=[])


def _pytorch(path: str, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    import torch

    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    signature = ModelSignature(infer_signature(rows).inputs, Schema([ColSpec("float", "score")]))
    mlflow.pytorch.save_model(model, path, signature=signature, pip_requirements=[], serialization_format="pickle")


def _onnx(path: str, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    from skl2onnx import to_onnx

    model = LogisticRegression().fit(rows.to_numpy(np.float32), label)
    graph = to_onnx(model, rows.to_numpy(np.float32)[:1], options={"zipmap": False})
    inputs = Schema([TensorSpec(np.dtype("float32"), (-1, 4), "X")])
    outputs = Schema([TensorSpec(np.dtype("int64"), (-1,), "label"), TensorSpec(np.dtype("float32"), (-1, 2), "probabilities")])
    mlflow.onnx.save_model(graph, path, signature=ModelSignature(inputs, outputs), pip_requirements=[])


def own(path: str, rows: pd.DataFrame) -> dict[str, list[Any]]:
    """The model's own word, by output; a matrix without names by its columns."""
    model = mlflow.pyfunc.load_model(path)
    tensors = model.metadata.signature.inputs.is_tensor_spec()
    found = model.predict({"X": rows.to_numpy(np.float32)} if tensors else rows)
    if isinstance(found, pd.DataFrame | dict):
        return {str(name): np.asarray(found[name]).tolist() for name in found}
    values = np.asarray(found)
    return {"value": values.tolist()} if values.ndim == 1 else {f"value_{index}": column.tolist() for index, column in enumerate(values.T)}


@pytest.mark.parametrize(
    ("save", "pickled"),
    [(_cloudpickle, True), (_skops, False), (_xgboost, False), (_lightgbm, False), (_pyfunc, True), (_pytorch, True), (_onnx, False)],
)
def test_what_is_scored_is_what_the_flavour_predicts(
    warehouse: Tables,
    storage: Storage,
    tracking: Tracking,
    scoring_set: Snapshot,
    rows: pd.DataFrame,
    label: pd.Series[int],
    folder: Path,
    save: Save,
    pickled: bool,
) -> None:
    """To the last bit. Only what the configuration names is unpickled; without its name it is not even published."""
    name = f"main.flavours.{save.__name__.strip('_')}"
    place = folder / name
    save(str(place), rows, label)
    loader = mlflow.pyfunc.load_model(str(place)).metadata.flavors["python_function"]["loader_module"]
    MlflowClient(tracking_uri=tracking.uri).create_registered_model(name)
    MlflowClient(tracking_uri=tracking.uri).create_model_version(name, place.as_uri())
    settings = SETTINGS.model_copy(update={"allowed_loaders": (loader,), "trusted_pickles": (name,) if pickled else ()})
    tracking.adopt(name, 1, TRAINING_SET, loaders=(loader,), pickled=settings.trusted_pickles)
    tracking.set_alias(name, "champion", 1)
    if pickled:
        with pytest.raises(ContractError, match="may run code of whoever made it"):
            load(tracking, storage, name, "champion", settings.model_copy(update={"trusted_pickles": ("another",)}))

    model = load(tracking, storage, name, "champion", settings)
    with unpickling() as found:
        loaded(model.published)
    run(warehouse, model, scoring_set, target=f"flavour_{save.__name__.strip('_')}", engine="files", row_key=("id",), spine_time="at")

    assert bool(found) == pickled, found
    scored = predictions(warehouse, f"flavour_{save.__name__.strip('_')}").orderBy("id").select("prediction.*").toPandas()
    expected = own(str(place), rows)
    names = dict(zip(scored.columns, expected, strict=True)) if len(expected) == 1 else {column: column for column in scored.columns}
    assert {column: [np.asarray(value).tolist() for value in scored[column]] for column in scored} == {
        column: expected[told] for column, told in names.items()
    }


def test_ours_unpickles_nothing(
    warehouse: Tables, storage: Storage, tracking: Tracking, scoring_set: Snapshot, rows: pd.DataFrame, folder: Path
) -> None:
    """A network of torch, as this project registers it."""
    spec = ModelSpec("mlp", tuple(NumericInput(name, "double", 0.0, 0.0, 1.0) for name in NAMES), (), (8,))
    artifact.save(folder / "ours", spec, build(spec, seed=5).state_dict())
    made = tracking.run("train/ours", "train")
    version = tracking.register(
        made.run_id, folder / "ours", name="main.flavours.ours", training_set=TRAINING_SET, inputs=spec.inputs, outputs=spec.outputs
    )
    tracking.set_alias("main.flavours.ours", "champion", version)

    model = load(tracking, storage, "main.flavours.ours", "champion", SETTINGS)
    with unpickling() as found:
        loaded(model.published)
    run(warehouse, model, scoring_set, target="flavour_ours", engine="files", row_key=("id",), spine_time="at")

    assert not found
    scored = predictions(warehouse, "flavour_ours").orderBy("id").select("prediction.probability").toPandas()
    expected = mlflow.pyfunc.load_model(f"{tracking.resolve('main.flavours.ours', version).source}").predict(rows)
    assert scored["probability"].tolist() == expected["probability"].tolist()
