"""Batch scoring: each row of a window once, as a prediction or in quarantine with a reason, in one commit."""

from __future__ import annotations

from sparkml_ops.scoring.arms import Arms, recorded, served
from sparkml_ops.scoring.choice import choose
from sparkml_ops.scoring.item_index import build_index, recommend
from sparkml_ops.scoring.model import ScoringModel, load
from sparkml_ops.scoring.reason import Reason
from sparkml_ops.scoring.scoring_set import WINDOW, materialise, scoring_set_table, stored_set
from sparkml_ops.scoring.serving import published
from sparkml_ops.scoring.target import finished, landed, predictions, quarantine
from sparkml_ops.scoring.udf import activate, predict_udf
from sparkml_ops.scoring.units import check_units
from sparkml_ops.scoring.window_pass import score
from sparkml_ops.scoring.withdrawal import withdraw

__all__ = [
    "WINDOW",
    "Arms",
    "Reason",
    "ScoringModel",
    "activate",
    "build_index",
    "check_units",
    "choose",
    "finished",
    "landed",
    "load",
    "materialise",
    "predict_udf",
    "predictions",
    "published",
    "quarantine",
    "recommend",
    "recorded",
    "score",
    "scoring_set_table",
    "served",
    "stored_set",
    "withdraw",
]
