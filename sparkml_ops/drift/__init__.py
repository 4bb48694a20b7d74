"""Drift: profiles of tables and their comparison, by distributed passes that hand on summaries only."""

from __future__ import annotations

from sparkml_ops.drift.classifier import Separation, tell_apart
from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.drift.comparison import compare, compare_profiles
from sparkml_ops.drift.distinct import Distinct, distinct_over
from sparkml_ops.drift.embedding import EmbeddingDrift, compare_embeddings
from sparkml_ops.drift.joint import JointDrift, PairDrift, compare_jointly
from sparkml_ops.drift.measure import METRICS_TABLE, measure
from sparkml_ops.drift.profile import Profile, merge, profile
from sparkml_ops.drift.report import ColumnDrift, DriftReport, Measure
from sparkml_ops.drift.states import STATE_TABLE, from_delta, to_delta

__all__ = [
    "METRICS_TABLE",
    "STATE_TABLE",
    "ColumnDrift",
    "ColumnProfile",
    "Distinct",
    "DriftReport",
    "EmbeddingDrift",
    "JointDrift",
    "Measure",
    "PairDrift",
    "Profile",
    "Separation",
    "compare",
    "compare_embeddings",
    "compare_jointly",
    "compare_profiles",
    "distinct_over",
    "from_delta",
    "measure",
    "merge",
    "profile",
    "tell_apart",
    "to_delta",
]
