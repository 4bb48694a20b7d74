"""The MLflow store of these tests."""

from mlflow_store import artifact, mlflow_template, tracking, training_set

__all__ = ["artifact", "mlflow_template", "tracking", "training_set"]
