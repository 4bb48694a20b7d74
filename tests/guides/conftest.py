"""The MLflow store of these tests, and the project that is worked on every night."""

from mlflow_store import mlflow_template
from night_shell import night

__all__ = ["mlflow_template", "night"]
