"""A project whose verbs left figures behind, window by window, without a JVM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from finished_work import Night
from pyspark.sql.pandas.types import from_arrow_schema

from sparkml_ops.drift.measure import _METRICS, METRICS_TABLE
from sparkml_ops.monitoring import PERFORMANCE_TABLE
from sparkml_ops.monitoring.stored import _SCHEMA as FIGURES
from sparkml_ops.verbs.contract import _SCHEMA as VERDICTS
from sparkml_ops.verbs.contract import CONTRACT_TABLE
from sparkml_ops.window import instant

__all__ = ["POLICIES", "Watched"]

COMMON = {"owner": "ada", "runbook": "https://wiki.example/alerts"}
POLICIES: dict[str, dict[str, Any]] = {
    "columns-drift": {"signal": "drift", "severity": "ticket", "windows": 2, "of": 3, **COMMON},
    "broken-data": {"signal": "fault", "severity": "page", **COMMON},
    "poor-scores": {"signal": "performance", "severity": "page", "at_least": 0.7, **COMMON},
    "rows-aside": {"signal": "quarantine", "severity": "ticket", "at_least": 0.1, **COMMON},
    "late-scores": {"signal": "freshness", "severity": "page", "within": "35d", **COMMON},
}


class Watched(Night):
    """The tiny project under some policies: figures are entered as the verbs enter them."""

    def compared(
        self, window: str, verdicts: Mapping[str, str], *, as_of: str, effect: float = 3.0, rows: int = 5000, segment: str | None = None
    ) -> None:
        """A comparison with a verdict for each column."""
        run_id = self.drift(window, verdicts, as_of=as_of)
        self._rows(
            METRICS_TABLE, _METRICS, [self._metric(window, name, verdict, run_id, as_of, effect, rows, segment) for name, verdict in verdicts.items()]
        )

    def measured(self, window: str, auc: float, *, as_of: str, **given: Any) -> None:
        """A figure and its interval."""
        self.store([self.figure(window, auc, as_of=as_of, **given)])

    def judged(self, window: str, outcomes: Mapping[str, str], *, as_of: str, rows: int = 5000) -> None:
        """A scoring set against its contract: the outcome of each rule, by its name."""
        place = {"run_id": as_of, "project": "tiny", "target": "tiny_scores", "window": window, "slot": "champion", "generation": 0}
        common = {**place, "as_of": instant(as_of), "contract": "c", "rows": rows, "rule": "between", "column": "amount"}
        bad = {"failed": 7, "found": ""}
        verdicts = [
            {**common, "name": name, "outcome": outcome, **(bad if outcome != "pass" else {"failed": 0})} for name, outcome in outcomes.items()
        ]
        self._rows(CONTRACT_TABLE, VERDICTS, verdicts)

    def store(self, figures: list[dict[str, Any]]) -> None:
        """Some figures at once."""
        self._rows(PERFORMANCE_TABLE, FIGURES, figures)

    @staticmethod
    def figure(
        window: str,
        value: float,
        *,
        as_of: str,
        width: float = 0.01,
        rows: int = 5000,
        scored: int = 5000,
        segment: str | None = None,
        kind: str = "realised",
        metric: str = "auc",
    ) -> dict[str, Any]:
        """A row as `monitor` stores it."""
        run = {"run_id": as_of, "project": "tiny", "target": "tiny_scores", "window": window, "slot": "champion", "generation": 0}
        about = {"model": "tiny", "version": 1, "as_of": instant(as_of), "rows": scored, "labelled": rows, "completeness": 1.0, "final": True}
        found = {"segment": segment, "metric": metric, "kind": kind, "value": value, "lower": value - width, "upper": value + width, "measured": rows}
        return {**run, **about, **found}

    def _rows(self, name: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
        self.work.tables.add(name, from_arrow_schema(schema), rows)

    @staticmethod
    def _metric(window: str, column: str, verdict: str, run_id: str, as_of: str, effect: float, rows: int, segment: str | None) -> dict[str, Any]:
        return {
            **dict.fromkeys(_METRICS.names),
            "project": "tiny",
            "window": window,
            "slot": "champion",
            "generation": 0,
            "run_id": run_id,
            "as_of": instant(as_of),
            "segment": segment,
            "reference": "training_set_tiny@0",
            "current": "tiny_scores_scoring_set@3",
            "edges": "e",
            "column": column,
            "n": rows,
            "m": rows,
            "statistic": "missing" if verdict == "fault" else "ks",
            "threshold": 0.1,
            "verdict": verdict,
            "method": "exact",
            "value": 0.1 * effect if verdict in ("drift", "fault") else 0.01,
            "q": 0.0 if verdict in ("drift", "fault") else 1.0,
        }
