"""The MLflow store of these tests."""

from mlflow_store import mlflow_template

__all__ = ["mlflow_template"]
