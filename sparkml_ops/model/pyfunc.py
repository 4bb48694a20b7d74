"""What `mlflow.pyfunc.load_model` calls: the loader module of our models (it imports no MLflow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from sparkml_ops.model.artifact import load
from sparkml_ops.model.retriever import Applied

__all__ = ["Classifier"]


class Classifier:
    """A model in the form of an MLflow pyfunc."""

    def __init__(self, predictor: Applied) -> None:
        self.predictor = predictor

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 - MLflow passes it
        """Predictions.

        Args:
            frame: Rows with the model's inputs, by name.
            params: None are known; MLflow passes the argument.

        Returns:
            The columns of `spec.outputs`, with the frame's index: of a binary model one float64 column of probabilities, of retrieval arrays of items and scores.
        """
        columns = zip(self.predictor.spec.outputs, self.predictor.columns(frame), strict=True)
        return pd.DataFrame({name: _plain(array) for (name, _), array in columns}, index=frame.index)


def _plain(array: pa.Array) -> Any:
    """A column for pandas; arrays of items are lists, which a server can send as they are."""
    return array.to_pylist() if pa.types.is_list(array.type) else array.to_numpy(zero_copy_only=False)


def _load_pyfunc(path: str) -> Classifier:
    return Classifier(load(Path(path)))
