"""Models of other libraries, called natively: what they predict is what MLflow's own `predict` says, and their own files need no pickle."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow.lightgbm
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import Array, DataType
from unpickling import unpickling

from sparkml_ops.model import artifact
from sparkml_ops.scoring.loading import loaded
from sparkml_ops.scoring.native import matrix, native
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.scoring.signature import Field, Signature
from sparkml_ops.storage import Storage

Make = Callable[[Path, pd.DataFrame, "pd.Series[int]"], None]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Seeded numbers, some of them missing, of two types."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(400, 4)), columns=list("abcd"))
    frame.loc[::7, "b"] = np.nan
    frame["n"] = rng.integers(-5, 5, len(frame))
    return frame


def _xgboost(folder: Path, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    import xgboost

    booster = xgboost.train({"objective": "binary:logistic", "seed": 1}, xgboost.DMatrix(rows, label), 12)
    found = booster.predict(xgboost.DMatrix(rows))
    mlflow.xgboost.save_model(booster, str(folder), signature=infer_signature(rows, found), pip_requirements=[], model_format="ubj")


def _classes(folder: Path, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=9, random_state=1).fit(rows, label + rows["n"].clip(0, 1))
    mlflow.xgboost.save_model(model, str(folder), signature=infer_signature(rows, model.predict(rows)), pip_requirements=[], model_format="json")


def _lightgbm(folder: Path, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    import lightgbm

    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "seed": 1, "num_threads": 1}, lightgbm.Dataset(rows, label), 12)
    mlflow.lightgbm.save_model(booster, str(folder), signature=infer_signature(rows, booster.predict(rows)), pip_requirements=[])


def _forest(folder: Path, rows: pd.DataFrame, label: pd.Series[int]) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=9, random_state=1).fit(rows, label)
    found, options = model.predict_proba(rows), {"pip_requirements": [], "serialization_format": "cloudpickle"}
    mlflow.sklearn.save_model(model, str(folder), signature=infer_signature(rows, found), pyfunc_predict_fn="predict_proba", **options)


def published(folder: Path, loader: str, *, pickled: bool = False) -> PublishedModel:
    """A saved model in storage."""
    signature, digest = Signature.of_mlmodel(folder), artifact.digest(folder)
    storage = folder.parent / f"storage_{digest[:8]}"
    shutil.copytree(folder, storage / "models" / digest)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple((path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)
    return PublishedModel(Storage(str(storage)), digest, loader, files, signature.inputs, signature.outputs, pickled=pickled)


@pytest.mark.parametrize(
    ("make", "loader", "pickles"),
    [
        (_xgboost, "mlflow.xgboost", False),
        (_classes, "mlflow.xgboost", False),
        (_lightgbm, "mlflow.lightgbm", False),
        (_forest, "mlflow.sklearn", True),
    ],
)
def test_a_model_predicts_as_mlflow_says(tmp_path: Path, rows: pd.DataFrame, make: Make, loader: str, pickles: bool) -> None:
    """To the last bit, whatever the batch, missing values included; only scikit-learn's own file is a pickle."""
    make(tmp_path / "model", rows, (rows["a"] > 0).astype(int))
    expected = np.asarray(mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows))

    model = published(tmp_path / "model", loader, pickled=pickles)
    with unpickling() as unpickled:
        found = loaded(model)

    assert bool(unpickled) == pickles
    assert native(tmp_path / "model", model, 1) is not None
    table = pa.Table.from_pandas(rows, preserve_index=False)
    for part in (slice(0, 400), slice(17, 60)):
        columns = found.predict(table.slice(part.start, part.stop - part.start))
        assert np.array_equal(np.column_stack([column.to_numpy() for column in columns]), expected[part].reshape(part.stop - part.start, -1))


def test_an_array_column_is_a_model_s_matrix(tmp_path: Path, rows: pd.DataFrame) -> None:
    """Trees over one array column predict what they predict over its elements as columns; a row of another length is the model's error."""
    import xgboost

    values = rows[list("abcd")].to_numpy().astype(np.float32)
    booster = xgboost.train({"objective": "binary:logistic", "seed": 1}, xgboost.DMatrix(values, rows["a"] > 0), 5)
    signature = ModelSignature(Schema([ColSpec(Array(DataType.float), "x")]), Schema([ColSpec("float", "p")]))
    mlflow.xgboost.save_model(booster, str(tmp_path / "model"), signature=signature, pip_requirements=[], model_format="ubj")
    model = published(tmp_path / "model", "mlflow.xgboost")

    assert model.inputs == (Field("x", "array<float>"),)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 4).cast(pa.list_(pa.float32()))
    [found] = loaded(model).predict(pa.table({"x": column}))
    assert np.array_equal(found.to_numpy(), booster.predict(xgboost.DMatrix(values)))
    assert np.array_equal(matrix(pa.table({"x": column.slice(3, 5)}), model.inputs), values[3:8], equal_nan=True)
    with pytest.raises(ValueError, match="of different lengths"):
        loaded(model).predict(pa.table({"x": pa.array([[1.0], [1.0, 2.0]], pa.list_(pa.float32()))}))
