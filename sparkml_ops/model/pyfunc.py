"""What `mlflow.pyfunc.load_model` calls: the loader module of our models (it imports no MLflow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

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
        return pd.DataFrame({name: array.to_numpy(zero_copy_only=False) for (name, _), array in columns}, index=frame.index)


def _load_pyfunc(path: str) -> Classifier:
    return Classifier(load(Path(path)))
