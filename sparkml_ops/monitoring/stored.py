"""The table `performance_metrics`: what was measured of each window, every time that it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema

from feature_store.delta import Commit, Tables, Transaction
from sparkml_ops.records import MonitorReport
from sparkml_ops.window import instant

__all__ = ["PERFORMANCE_TABLE", "MonitorRun", "Standing", "performance", "standings", "store"]

PERFORMANCE_TABLE = "performance_metrics"
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("run_id", "project", "target", "window", "slot")),
        ("generation", pa.int32()),
        ("model", pa.string()),
        ("version", pa.int32()),
        ("as_of", pa.timestamp("us", "UTC")),
        ("rows", pa.int64()),
        ("labelled", pa.int64()),
        ("completeness", pa.float64()),
        ("final", pa.bool_()),
        ("segment", pa.string()),
        ("metric", pa.string()),
        ("kind", pa.string()),
        ("value", pa.float64()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("measured", pa.int64()),  # rows that the figure is about; `rows` are the window's
    ]
)


@dataclass(frozen=True)
class MonitorRun:
    """One run of `monitor`.

    Args:
        project: Name of the project.
        target: Table of the predictions.
        slot: Their role.
        run_id: Of the run.
        as_of: Its clock, UTC.
    """

    project: str
    target: str
    slot: str
    run_id: str
    as_of: datetime


@dataclass(frozen=True)
class Standing:
    """What the newest measurement of a window says about it as a whole."""

    window: str
    generation: int
    as_of: datetime
    final: bool


def store(tables: Tables, run: MonitorRun, reports: Sequence[tuple[int, MonitorReport]]) -> Commit:
    """Append the rows of some reports in one commit, once for the first one's window, generation and clock.

    Args:
        tables: The warehouse.
        run: Who measured.
        reports: Each with the generation of its window.
    """
    rows = [row for generation, report in reports for row in _rows(run, generation, report)]
    generation, first = reports[0]
    # With the clock: after a crash before the ledger's row, a later call under the same generation knows more.
    key = ("monitor", run.project, run.target, first.window, run.slot, str(generation), run.as_of.isoformat())
    details = {"windows": [report.window for _, report in reports]}
    return tables.put(PERFORMANCE_TABLE, from_arrow_schema(_SCHEMA), rows, {}, transaction=Transaction("/".join(key)), details=details)


def performance(
    tables: Tables,
    project: str,
    *,
    target: str,
    slot: str = "champion",
    as_of: datetime | None = None,
    where: Mapping[str, str | Sequence[str]] | None = None,
) -> list[dict[str, Any]]:
    """The rows of each window's newest measurement, read without a Spark job.

    Args:
        tables: The warehouse.
        project: Name of the project.
        target: Table of the predictions.
        slot: Their role.
        as_of: Measurements with a later clock do not count (UTC; None: all do).
        where: Only rows with these values of text columns, as {"metric": "auc", "kind": "realised"}.

    Returns:
        By window, in order of the labels; within a window as they were stored.
    """
    if not tables.exists(PERFORMANCE_TABLE):
        return []
    found = tables.rows(PERFORMANCE_TABLE, {"project": project, "target": target, "slot": slot, **(where or {})})
    rows = [row | {"as_of": instant(row["as_of"])} for row in found]
    newest: dict[str, tuple[datetime, int, str]] = {}
    for row in rows:
        if as_of is None or row["as_of"] <= as_of:
            newest[row["window"]] = max(newest.get(row["window"], _age(row)), _age(row))
    return sorted((row for row in rows if newest.get(row["window"]) == _age(row)), key=lambda row: row["window"])


def standings(tables: Tables, project: str, *, target: str, slot: str) -> list[Standing]:
    """Where each window stands that was measured before."""
    rows = performance(tables, project, target=target, slot=slot, where={"metric": ("rate", "accuracy", "mae"), "kind": "realised"})
    whole = [row for row in rows if row["segment"] is None]
    return [Standing(row["window"], row["generation"], row["as_of"], row["final"]) for row in whole]


def _rows(run: MonitorRun, generation: int, report: MonitorReport) -> list[dict[str, Any]]:
    common = {
        **{name: getattr(run, name) for name in ("run_id", "project", "target", "slot", "as_of")},
        **{name: getattr(report, name) for name in ("window", "rows", "labelled", "completeness", "final")},
        "generation": generation,
        "model": report.model.name,
        "version": report.model.version,
    }
    figures = ("segment", "metric", "kind", "value", "lower", "upper")
    return [common | {name: getattr(item, name) for name in figures} | {"measured": item.rows} for item in report.performance]


def _age(row: Mapping[str, Any]) -> tuple[datetime, int, str]:
    return row["as_of"], row["generation"], row["run_id"]
