"""From raw tables to monitored predictions on Spark.

Names are imported when they are first used: every Python worker of Spark and every rank of a training
imports this package, and must not load torch, scipy and matplotlib before its own work begins.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparkml_ops import drift, scoring
    from sparkml_ops.project import Project
    from sparkml_ops.records import GateReport, ModelVersion, ScoredWindow, Snapshot, TrainingResult, TrainingSet

__all__ = ["GateReport", "ModelVersion", "Project", "ScoredWindow", "Snapshot", "TrainingResult", "TrainingSet", "drift", "scoring"]


def __getattr__(name: str) -> Any:
    if name in ("drift", "scoring"):
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        return getattr(import_module(f"{__name__}.{'project' if name == 'Project' else 'records'}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
