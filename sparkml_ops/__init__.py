"""From raw tables to monitored predictions on Spark."""

from __future__ import annotations

from sparkml_ops import drift, scoring
from sparkml_ops.project import Project
from sparkml_ops.records import GateReport, ModelVersion, ScoredWindow, Snapshot, TrainingResult, TrainingSet

__all__ = ["GateReport", "ModelVersion", "Project", "ScoredWindow", "Snapshot", "TrainingResult", "TrainingSet", "drift", "scoring"]
