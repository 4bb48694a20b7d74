"""Models of other libraries called as their libraries call them, on a matrix: without MLflow's frames, checks and copies between.

XGBoost's and LightGBM's own files are read by these libraries and need no pickle; other forms of theirs, and scikit-learn's, are loaded by MLflow.
A model of another kind, or with inputs that make no matrix, has no native call: MLflow's own `predict` scores it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.features import to_pandas
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.scoring.signature import Field
from sparkml_ops.tracking import check_package, load_pyfunc

__all__ = ["matrix", "native"]

_NUMBERS = frozenset({"float", "double", "int", "bigint", "boolean"})
_ARRAYS = frozenset({"array<float>", "array<double>"})
Native = Callable[[pa.Table], Any]


def native(folder: Path, model: PublishedModel, cores: int) -> Native | None:
    """What predicts a table of rows with the library that made the model; None: only MLflow can.

    Args:
        folder: A verified MLflow model.
        model: Its signature and loader.
        cores: That a call may use.

    Raises:
        ContractError: The loader is not the model's, or its library is not installed.
    """
    find = {"mlflow.xgboost": _xgboost, "mlflow.lightgbm": _lightgbm, "mlflow.sklearn": _sklearn}.get(model.loader)
    if find is None:
        return None
    check_package(folder, loaders=(model.loader,), pickled=model.pickled)
    flavors = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    try:
        return find(folder, flavors, model, cores)
    except ImportError as error:
        raise ContractError(
            f"a model that {model.loader} loads, and no {error.name}", expected="the library that made the model", mend="install sparkml-ops[trees]"
        ) from error


def _xgboost(folder: Path, flavors: Mapping[str, Any], model: PublishedModel, cores: int) -> Native | None:
    told = flavors.get("xgboost", {})
    kind, file = str(told.get("model_class", "")), folder / str(told.get("data"))
    if not _makes_matrix(model.inputs) or file.suffix not in (".json", ".ubj", ".xgb"):
        return None
    import xgboost

    name = kind.rpartition(".")[2]
    if kind == "xgboost.core.Booster":
        booster = xgboost.Booster({"nthread": cores}, model_file=str(file))
        booster.set_param({"nthread": cores})
        return lambda rows: booster.inplace_predict(matrix(rows, model.inputs), validate_features=False)
    if kind.startswith("xgboost.sklearn.XGB") and name in xgboost.__all__:
        found = getattr(xgboost, name)()
        found.load_model(str(file))
        found.set_params(n_jobs=cores)
        return lambda rows: found.predict(matrix(rows, model.inputs), validate_features=False)
    return None


def _lightgbm(folder: Path, flavors: Mapping[str, Any], model: PublishedModel, cores: int) -> Native | None:
    told = flavors.get("lightgbm", {})
    # Its scikit-learn models are pickled.
    if not _makes_matrix(model.inputs) or told.get("model_class") != "lightgbm.basic.Booster":
        return None
    import lightgbm

    booster = lightgbm.Booster(model_file=str(folder / str(told["data"])))
    return lambda rows: booster.predict(matrix(rows, model.inputs), num_threads=cores)


def _sklearn(folder: Path, flavors: Mapping[str, Any], model: PublishedModel, _: int) -> Native | None:
    """The estimator itself: rows have the signature's types already, which MLflow would look at in every batch."""
    found = load_pyfunc(folder, loaders=(model.loader,), pickled=model.pickled).get_raw_model()
    call = getattr(found, str(flavors["python_function"].get("predict_fn", "predict")), None)
    if call is None:
        return None
    if hasattr(found, "feature_names_in_") or not _makes_matrix(model.inputs):
        return lambda rows: call(to_pandas(rows))
    return lambda rows: call(matrix(rows, model.inputs))


def matrix(rows: pa.Table, inputs: Sequence[Field]) -> npt.NDArray[Any]:
    """[rows, inputs] numbers, or [rows, elements] of a single array column; missing ones are NaN.

    Raises:
        ValueError: An array is missing, or they are of different lengths.

    >>> matrix(pa.table({"a": [1.0, 2.0], "b": [3, 4]}), [Field("a", "double"), Field("b", "bigint")]).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    >>> matrix(pa.table({"x": [[1.0, 2.0], [3.0, None]]}), [Field("x", "array<double>")]).tolist()
    [[1.0, 2.0], [3.0, nan]]
    """
    if inputs[0].type in _ARRAYS:
        return _reshaped(rows.column(inputs[0].name).combine_chunks())
    kinds = {field.type for field in inputs}
    names = [field.name for field in inputs if field.name in rows.column_names]
    if len(kinds) == 1 and kinds <= {"float", "double"} and rows.num_rows:
        tensor: npt.NDArray[Any] = rows.select(names).combine_chunks().to_batches()[0].to_tensor(row_major=True).to_numpy()
        return tensor
    filled = np.empty((rows.num_rows, len(names)), np.float32 if kinds == {"float"} else np.float64)
    for index, name in enumerate(names):
        filled[:, index] = rows.column(name).to_numpy()
    return filled


def _reshaped(column: pa.Array) -> npt.NDArray[Any]:
    """As the elements lie in memory, where no array is missing and all are of one length."""
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    lengths = np.diff(column.offsets.to_numpy())
    if column.null_count or (len(lengths) and (lengths != lengths[0]).any()):
        raise ValueError("an array is missing, or arrays are of different lengths")
    elements: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return elements.reshape(len(column), -1)


def _makes_matrix(inputs: Sequence[Field]) -> bool:
    if any(len(field.shape or ()) > 1 for field in inputs):
        return False
    kinds = [field.type for field in inputs]
    return set(kinds) <= _NUMBERS or (len(kinds) == 1 and kinds[0] in _ARRAYS)
