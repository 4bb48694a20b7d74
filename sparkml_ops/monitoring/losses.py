"""How large the error of a row will be, learnt from evaluation rows: direct loss estimation.

Source: the method of NannyML's DLE, a second model of the first one's loss. The regressors are LightGBM's (extra `trees`), kept in its own text
format: no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.kind import floats
from sparkml_ops.records import ModelVersion

__all__ = ["Expecting", "Learning", "LossModel", "loss_name", "need_lightgbm"]

Floats = npt.NDArray[np.float64]
_OPTIONS = {"objective": "regression", "num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 50, "verbose": -1, "num_threads": 1, "seed": 0}
_OPTIONS |= {"deterministic": True, "force_row_wise": True}
_TREES = 100


def need_lightgbm() -> None:
    """Refuse before any work where the package is missing.

    Raises:
        ContractError: It is not installed.
    """
    if find_spec("lightgbm") is None:
        raise ContractError(
            "no package lightgbm", expected="it to estimate errors without labels", mend="install sparkml-ops[trees], or set monitoring.loss_rows=0"
        )


def loss_name(model: ModelVersion) -> str:
    """The object that holds a version's loss model."""
    return f"monitoring/{model.name}/{model.version}/losses.json"


@dataclass(frozen=True)
class LossModel:
    """What error to expect of a row.

    Args:
        digest: Of the model's files.
        rows: Evaluation rows that it was learnt from.
        kurtosis: Mean fourth power of their errors over the square of their mean square.
        scale: Of the label.
        size: LightGBM's text of the regressor of an error's size, in units of that scale.
        square: Of its square.
    """

    digest: str
    rows: int
    kurtosis: float
    scale: float
    size: str
    square: str

    @classmethod
    def fit(cls, inputs: Floats, errors: Floats, digest: str, *, scale: float = 1.0, categorical: Sequence[int] = ()) -> LossModel:
        """Learn from evaluation rows; the same rows in the same order give the same model.

        Args:
            inputs: [rows, inputs + 1] the model's inputs and, last, its prediction; NaN is missing.
            errors: [rows] prediction less truth.
            digest: Of the model's files.
            scale: Of the label.
            categorical: Positions of inputs whose numbers are names of categories.
        """
        import lightgbm

        errors = errors / scale

        def learnt(target: Floats) -> str:
            data = lightgbm.Dataset(inputs, target, categorical_feature=list(categorical), free_raw_data=False)
            return str(lightgbm.train(_OPTIONS, data, _TREES).model_to_string())

        square = float(np.mean(errors**2))
        kurtosis = float(np.mean(errors**4)) / square**2 if square else 1.0
        return cls(digest, len(errors), kurtosis, scale, learnt(np.abs(errors)), learnt(errors**2))

    def expected(self, inputs: Floats) -> Floats:
        """[rows, 2] expected size and square of the error, in the label's unit; none is below zero."""
        found = [_booster(text).predict(inputs, num_threads=1) * unit for text, unit in ((self.size, self.scale), (self.square, self.scale**2))]
        return np.asarray(np.maximum(np.column_stack(found), 0.0), np.float64)

    def to_json(self) -> bytes:
        """The stored form."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> LossModel:
        """Read what `to_json` wrote."""
        return cls(**json.loads(data))


@dataclass(frozen=True)
class Expecting:
    """Puts the error to expect of each row in place of what it is expected from; shipped to the executors.

    Args:
        models: By window; None: nothing is known.
    """

    models: Mapping[str, LossModel | None]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows with `expected`, an array of size and square, for their `inputs`."""
        kind = pa.list_(pa.float64())
        for batch in batches:
            place, windows = batch.schema.get_field_index("inputs"), np.asarray(batch.column("window").to_pylist(), object)
            inputs, found = _matrix(batch.column(place)), np.full((batch.num_rows, 2), np.nan)
            for window, model in self.models.items():
                if model is not None and (mine := windows == window).any():
                    found[mine] = model.expected(inputs[mine])
            offsets = pa.array(2 * np.arange(batch.num_rows + 1), pa.int32())
            expected = pa.ListArray.from_arrays(offsets, pa.array(found.ravel()), mask=pa.array(np.isnan(found[:, 0])) if len(found) else None)
            yield batch.set_column(place, pa.field("expected", kind), expected)


@dataclass(frozen=True)
class Learning:
    """Learns a loss model from the rows of one task; shipped to an executor.

    Args:
        digest: Of the model's files.
        categorical: Positions of the categorical inputs.
        scale: Of the label.
    """

    digest: str
    categorical: tuple[int, ...]
    scale: float

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One row with the model as JSON; none without rows."""
        table = [(_matrix(batch.column("inputs")), floats(pa.chunked_array([batch.column("error")]))) for batch in batches if batch.num_rows]
        if table:
            inputs, errors = (np.concatenate([part[side] for part in table]) for side in (0, 1))
            model = LossModel.fit(inputs, errors, self.digest, scale=self.scale, categorical=self.categorical)
            yield pa.RecordBatch.from_pydict({"model": [model.to_json().decode()]})


def _matrix(column: pa.Array) -> Floats:
    """[rows, inputs] of arrays of the same length; null is NaN."""
    flat = floats(pa.chunked_array([column.flatten()]))
    return flat.reshape(len(column), -1) if len(column) else np.zeros((0, 1))


@cache
def _booster(text: str) -> Any:
    import lightgbm

    return lightgbm.Booster(model_str=text)
