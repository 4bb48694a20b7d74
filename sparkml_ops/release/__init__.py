"""Release: registration, gates, and which version is the champion."""

from __future__ import annotations

from sparkml_ops.release.alias import AliasState, alias_state
from sparkml_ops.release.approval import Approval, approve
from sparkml_ops.release.challenge import Lineage
from sparkml_ops.release.comparison import Comparison
from sparkml_ops.release.events import CHAMPION, ModelEvent, champion_at, history
from sparkml_ops.release.evidence import Witnesses
from sparkml_ops.release.gates import evaluate_gates
from sparkml_ops.release.promotion import promote, reconcile, rollback
from sparkml_ops.release.registration import register
from sparkml_ops.release.reports import StoredReport, export_speed, newest_report, reports_on, store_report

__all__ = [
    "CHAMPION",
    "AliasState",
    "Approval",
    "Comparison",
    "Lineage",
    "ModelEvent",
    "StoredReport",
    "Witnesses",
    "alias_state",
    "approve",
    "champion_at",
    "evaluate_gates",
    "export_speed",
    "history",
    "newest_report",
    "promote",
    "reconcile",
    "register",
    "reports_on",
    "rollback",
    "store_report",
]
