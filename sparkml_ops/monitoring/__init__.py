"""Monitoring: what the truth says of predictions, and what can be said before it is known."""

from __future__ import annotations

from sparkml_ops.monitoring.calibration import Calibration, calibration_name, calibration_of
from sparkml_ops.monitoring.classes import ClassCalibration, class_calibration_name, class_calibration_of
from sparkml_ops.monitoring.concentration import CONCENTRATION, concentration, concentration_by_group
from sparkml_ops.monitoring.measure import Subject, class_counts, label_counts, measure
from sparkml_ops.monitoring.stored import PERFORMANCE_TABLE, MonitorRun, Standing, performance, standings
from sparkml_ops.monitoring.tally import COLUMNS
from sparkml_ops.monitoring.truth import Predicted, known_truth, number_of, observations

__all__ = [
    "COLUMNS",
    "CONCENTRATION",
    "PERFORMANCE_TABLE",
    "Calibration",
    "ClassCalibration",
    "MonitorRun",
    "Predicted",
    "Standing",
    "Subject",
    "calibration_name",
    "calibration_of",
    "class_calibration_name",
    "class_calibration_of",
    "class_counts",
    "concentration",
    "concentration_by_group",
    "known_truth",
    "label_counts",
    "measure",
    "number_of",
    "observations",
    "performance",
    "standings",
]
