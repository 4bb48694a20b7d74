"""How the values of some columns lay in each window, from the stored profiles: for pictures; no Spark, nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparkml_ops.drift.measure import METRICS_TABLE, state_label
from sparkml_ops.drift.states import STATE_TABLE
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.year import Overlay
from sparkml_ops.summaries import CategoryEdges, CategorySummary, ColumnEdges, NumberEdges, NumberSummary, Summary, unpack_edges, unpack_summary
from sparkml_ops.summaries.density import middle_of, share_below, value_text
from sparkml_ops.verbs.work import Work

__all__ = ["overlays"]

_BINS, _OUTSIDE = 32, 0.005
_CATEGORIES, _REST = 5, "other"
_Row = Mapping[str, Any]


def overlays(work: Work, labels: Sequence[str], columns: Sequence[str], *, slot: str) -> tuple[Overlay, ...]:
    """Shares of the reference's and of each window's values, over the same bins; windows on other edges are left out.

    Args:
        labels: Compared windows, oldest first.
        columns: Whose values are wanted.
    """
    tables, project = work.tables, work.config.project
    if not labels or not columns or not (tables.exists(METRICS_TABLE) and tables.exists(STATE_TABLE)):
        return ()
    told = tables.rows(METRICS_TABLE, {"project": project, "window": labels[-1], "slot": slot, "column": columns, "statistic": "missing"})
    states = tables.rows(STATE_TABLE, {"table": project, "segment": "", "block": "", "column": columns})
    names = {state_label(label, slot): label for label in labels}
    found = []
    for column in columns:
        reference = next((row["reference"] for row in told if row["column"] == column), None)
        mine = [row for row in states if row["column"] == column]
        base = next((row for row in sorted(mine, key=lambda row: str(row["role"])) if row["source"] == reference), None)
        windows = {names[row["window"]]: row for row in mine if row["role"] == "window" and row["window"] in names}
        if base is not None and labels[-1] in windows and (overlay := _overlay(column, base, windows)) is not None:
            found.append(overlay)
    return tuple(found)


def _overlay(column: str, base: _Row, windows: Mapping[str, _Row]) -> Overlay | None:
    try:
        edges, reference = unpack_edges(base["column_edges"]), unpack_summary(base["state"])
        same = {label: unpack_summary(windows[label]["state"]) for label in sorted(windows) if windows[label]["edges"] == base["edges"]}
    except ContractError:
        return None  # of a form that is not read any more; `drift` says what to do
    some = {label: state for label, state in same.items() if state.tally.values}
    if not some or not reference.tally.values:
        return None
    return (
        _of_categories(column, edges, reference, some)
        if isinstance(edges, CategoryEdges)
        else _of_numbers(column, edges, base["type"], reference, some)
    )


def _of_numbers(column: str, edges: ColumnEdges, kind: str, reference: Summary, windows: Mapping[str, Summary]) -> Overlay | None:
    states = {label: state for label, state in windows.items() if isinstance(state, NumberSummary) and state.tally.finite}
    if not isinstance(edges, NumberEdges) or not isinstance(reference, NumberSummary) or not reference.tally.finite or not states:
        return None
    ends = [middle_of(state, edges, _OUTSIDE) for state in (reference, states[max(states)])]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    bounds = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
    shares = {label: tuple(np.diff(share_below(state, edges, bounds)).tolist()) for label, state in states.items()}
    span = float(bounds[-1] - bounds[0])
    ticks = tuple((place, value_text(float(bounds[0] + place * span), kind, span)) for place in (1 / 6, 1 / 2, 5 / 6))
    return Overlay(column, ticks, tuple(np.diff(share_below(reference, edges, bounds)).tolist()), shares)


def _of_categories(column: str, edges: CategoryEdges, reference: Summary, windows: Mapping[str, Summary]) -> Overlay | None:
    if not isinstance(reference, CategorySummary):
        return None
    counts = reference.counts(edges)
    shown = sorted(counts, key=lambda name: (-counts[name], name))[:_CATEGORIES]

    def shares(state: CategorySummary) -> tuple[float, ...]:
        rows = state.counts(edges)
        named = [rows.get(name, 0) / state.tally.values for name in shown]
        return (*named, max(0.0, 1.0 - sum(named)))

    names = [*shown, _REST]
    ticks = tuple(((place + 0.5) / len(names), name) for place, name in enumerate(names))
    return Overlay(column, ticks, shares(reference), {label: shares(state) for label, state in windows.items() if isinstance(state, CategorySummary)})
