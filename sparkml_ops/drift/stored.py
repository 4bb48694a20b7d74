"""A stored report again: from its metrics and profiles, without a pass over rows and without Spark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from feature_store.delta import Tables
from feature_store.records import Snapshot
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.comparison import compare_profiles
from sparkml_ops.drift.measure import METRICS_TABLE, state_label
from sparkml_ops.drift.profile import Profile
from sparkml_ops.drift.report import STATISTICS, DriftReport, Measure
from sparkml_ops.drift.states import STATE_TABLE, StateKey, read_profile
from sparkml_ops.errors import TableNotFound

__all__ = ["stored_profiles", "stored_report"]

_MEASURE = tuple(field.name for field in fields(Measure))


def stored_report(
    tables: Tables, project: str, window: str, *, snapshot: Snapshot, slot: str = "champion", settings: DriftSection | None = None
) -> DriftReport:
    """The report of a window as it was measured.

    Args:
        snapshot: The commit of `drift_metrics` that holds it; handed on in the report.
        slot: Role of the model whose window it is.
        settings: Options of the comparison; values and verdicts are the stored ones.

    Raises:
        TableNotFound: Its metrics or profiles are not there.
    """
    rows = tables.rows(METRICS_TABLE, {"project": project, "window": window, "slot": slot}) if tables.exists(METRICS_TABLE) else []
    both = stored_profiles(tables, rows[0]) if rows else None
    if both is None:
        raise TableNotFound(f"no stored drift of {project}, window {window}", mend="run `sparkml-ops drift` with `--generation next`")
    found: dict[tuple[str, str | None], dict[str, Measure]] = defaultdict(dict)
    for row in rows:
        found[row["column"], row["segment"]][row["statistic"]] = Measure(**{name: row[name] for name in _MEASURE})
    report = compare_profiles(*both, settings)
    # Statistics that came later are not in what an earlier version stored.
    unknown = dict.fromkeys(STATISTICS, Measure(None, None, None, 0, 0))
    columns = tuple(replace(column, measures=unknown | found[column.column, column.segment]) for column in report.columns)
    return replace(report, columns=columns, reference=rows[0]["reference"], current=rows[0]["current"], snapshot=snapshot)


def stored_profiles(tables: Tables, row: Mapping[str, Any]) -> tuple[Profile, Profile] | None:
    """The profiles of reference and window that a row of `drift_metrics` compares; None where one is not there any more, or has other edges.

    Raises:
        ContractError: They were stored in a form that is not read any more.
    """
    if not tables.exists(STATE_TABLE):
        return None
    current = read_profile(tables, StateKey(row["project"], state_label(row["window"], row["slot"])))
    if current is None or current.edges.id != row["edges"]:
        return None
    reference = _reference(tables, row["project"], row)
    return None if reference is None else (reference, current)


def _reference(tables: Tables, project: str, row: Mapping[str, Any]) -> Profile | None:
    """The reference's profile: the one of the same rows on the same edges, which may be another window's."""
    states = tables.rows(STATE_TABLE, {"table": project, "source": row["reference"], "block": ""})
    for role, window in sorted({(state["role"], state["window"]) for state in states}):
        profile = read_profile(tables, StateKey(project, window, role))
        if profile is not None and profile.edges.id == row["edges"]:
            return profile
    return None
