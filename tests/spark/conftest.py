"""The MLflow store of these tests, and a project that has been played for two months."""

from mlflow_store import artifact, mlflow_template, tracking, training_set
from played_months import prepared

__all__ = ["artifact", "mlflow_template", "prepared", "tracking", "training_set"]
