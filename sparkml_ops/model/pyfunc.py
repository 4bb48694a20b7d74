"""What `mlflow.pyfunc.load_model` calls: the loader module of our models (it imports no MLflow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sparkml_ops.model.artifact import load
from sparkml_ops.model.predictor import Predictor

__all__ = ["Classifier"]


class Classifier:
    """A model in the form of an MLflow pyfunc."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 - MLflow passes it
        """Probabilities of label 1.

        Args:
            frame: Rows with the model's inputs, by name.
            params: None are known; MLflow passes the argument.

        Returns:
            One float64 column, named as the model's output, with the frame's index.
        """
        return pd.DataFrame({self.predictor.spec.output: self.predictor.predict(frame)}, index=frame.index)


def _load_pyfunc(path: str) -> Classifier:
    return Classifier(load(Path(path)))
