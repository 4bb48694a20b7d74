"""Drift: profiles of tables and their comparison, by distributed passes that hand on summaries only."""

from __future__ import annotations

from sparkml_ops.drift.comparison import compare, compare_profiles
from sparkml_ops.drift.profile import ColumnProfile, Profile, merge, profile
from sparkml_ops.drift.report import ColumnDrift, DriftReport, Measure

__all__ = ["ColumnDrift", "ColumnProfile", "DriftReport", "Measure", "Profile", "compare", "compare_profiles", "merge", "profile"]
