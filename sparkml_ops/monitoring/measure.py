"""The windows of a slot against the truth: one pass over their rows, one commit of their figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame

from feature_store.delta import Tables
from feature_store.duration import parse_duration
from feature_store.records import Snapshot
from sparkml_ops.config.monitoring import MonitoringSection
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.calibration import Calibration
from sparkml_ops.monitoring.concentration import of_scores
from sparkml_ops.monitoring.figures import estimated, realised
from sparkml_ops.monitoring.stored import PERFORMANCE_TABLE, MonitorRun, store
from sparkml_ops.monitoring.tally import Counting, Oddity, Part, Tally, tallies
from sparkml_ops.monitoring.truth import CONTRADICTION, NO_LABEL, UNSCORED
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import ModelVersion, MonitorReport, Performance
from sparkml_ops.window import Window

__all__ = ["Subject", "label_counts", "measure"]

_FINDINGS = {
    CONTRADICTION: "contradicting truth: {count} keys with different labels known at the same time, which count as not labelled ({keys})",
    UNSCORED: "truth without a prediction: {count} keys that were neither scored nor in quarantine ({keys})",
}


@dataclass(frozen=True)
class Subject:
    """One window that is measured.

    Args:
        window: The window.
        model: The version that scored it.
        calibration: Of that version; None: there was no row to fit it on, and nothing is estimated.
        generation: Of the window's measurements.
    """

    window: Window
    model: ModelVersion
    calibration: Calibration | None
    generation: int


def measure(tables: Tables, rows: DataFrame, subjects: Sequence[Subject], run: MonitorRun, settings: MonitoringSection) -> MonitorReport:
    """Measure some windows and store their figures in one commit.

    Args:
        tables: The warehouse.
        rows: As of `observations`, of all the windows.
        subjects: The windows; the first is the one asked for.
        run: Who measures, and as of when.
        settings: Options.

    Returns:
        The report of the first.

    Raises:
        ContractError: A label other than 0 and 1, or too many segments; nothing was written.
    """
    found = _documents(rows, subjects, settings)
    reports = [(subject.generation, _report(subject, found, run, settings)) for subject in subjects]
    return replace(reports[0][1], snapshot=store(tables, run, reports).snapshot)


def label_counts(rows: DataFrame) -> ScoreCounts:
    """Labelled rows by score and label, counted in one job.

    Args:
        rows: Columns as of `COLUMNS`, of one window.
    """
    found = tallies(rows, Counting())
    return ScoreCounts.empty() if not found else next(iter(found.values())).labelled


def _documents(rows: DataFrame, subjects: Sequence[Subject], settings: MonitoringSection) -> dict[Part, dict[str, Any]]:
    """The figures of each window and segment, computed where the counts are."""
    calibrations = {subject.window.label: subject.calibration for subject in subjects}

    def finish(part: Part, tally: Tally) -> str:
        return json.dumps(_document(part, tally, calibrations.get(part[0]), settings))

    counting = Counting(settings.segments, settings.lag_hours, settings.max_segments)
    made = tallies(rows, counting, finish)
    documents: dict[Part, dict[str, Any]] = {}
    for text, document in made.items():
        window, segment = json.loads(text)
        documents[window, segment] = json.loads(document)
    _check(documents, settings)
    return documents


def _document(part: Part, tally: Tally, calibration: Calibration | None, settings: MonitoringSection) -> dict[str, Any]:
    segment = part[1]
    figures = [
        *realised(tally.labelled, segment, bins=settings.calibration_bins, confidence=settings.confidence),
        *estimated(tally.scored, calibration, segment),
        *of_scores(tally.scored, segment),
    ]
    return {
        "figures": [asdict(figure) for figure in figures],
        "lag": tally.lag.tolist(),
        "odd": {kind: asdict(oddity) for kind, oddity in tally.odd.items()},
    }


def _check(documents: Mapping[Part, Mapping[str, Any]], settings: MonitoringSection) -> None:
    segments: dict[tuple[str, str], int] = {}
    for window, segment in documents:
        if segment is not None:
            name = segment if not window else next(name for name in settings.segments if segment.startswith(f"{name}="))
            segments[window, name] = segments.get((window, name), 0) + 1
    if many := sorted({name for (window, name), count in segments.items() if not window or count > settings.max_segments}):
        raise ContractError(
            f"more than {settings.max_segments} values of the segment {', '.join(f'`{name}`' for name in many[:5])}",
            expected="a column of few values",
            mend="take it out of monitoring.segments, or raise monitoring.max_segments",
        )
    for (window, segment), document in documents.items():
        if segment is None and (wrong := document["odd"].get(NO_LABEL)):
            raise ContractError(
                f"{wrong['count']} labels other than 0 and 1 in the truth of window {window}, of {', '.join(wrong['keys'])}",
                expected="0, 1 or null",
                mend="correct the labels of the spine; nothing was written",
            )


def _report(subject: Subject, documents: Mapping[Part, Mapping[str, Any]], run: MonitorRun, settings: MonitoringSection) -> MonitorReport:
    label = subject.window.label
    whole = documents.get((label, None)) or _document((label, None), Tally.empty(settings.lag_hours), subject.calibration, settings)
    own = [whole, *(documents[part] for part in sorted(part for part in documents if part[0] == label and part[1] is not None))]
    figures = tuple(Performance(**figure) for document in own for figure in document["figures"])
    rows, labelled = (next(item.rows for item in figures if (item.segment, item.kind) == (None, kind)) for kind in ("estimated", "realised"))
    completeness = labelled / rows if rows else 0.0
    odd = {kind: Oddity(**{**oddity, "keys": tuple(oddity["keys"])}) for kind, oddity in whole["odd"].items()}
    return MonitorReport(
        model=subject.model,
        window=label,
        slot=run.slot,
        as_of=run.as_of.isoformat(),
        rows=rows,
        labelled=labelled,
        completeness=completeness,
        final=completeness >= settings.complete_at or _over(subject.window, run.as_of, settings),
        performance=figures,
        lag=_lag(whole["lag"], settings.lag_hours),
        findings=_findings(odd, subject),
        snapshot=Snapshot(PERFORMANCE_TABLE, -1),
    )


def _over(window: Window, as_of: datetime, settings: MonitoringSection) -> bool:
    return as_of >= window.end + parse_duration(settings.final_after)


def _lag(cells: Sequence[int], hours: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """The label-lag curve: the share of the labels that were known within so many hours; empty without labels."""
    total, known, curve = sum(cells), 0, []
    if not total:
        return ()
    for hour, count in zip(hours, cells, strict=False):
        known += count
        curve.append((float(hour), known / total))
    return tuple(curve)


def _findings(odd: Mapping[str, Oddity], subject: Subject) -> tuple[str, ...]:
    found = []
    for kind, text in _FINDINGS.items():
        if kind in odd:
            more = ", ..." if odd[kind].count > len(odd[kind].keys) else ""
            found.append(text.format(count=odd[kind].count, keys=", ".join(odd[kind].keys) + more))
    if subject.calibration is None:
        found.append(f"no estimate: {subject.model.name} version {subject.model.version} has no labelled evaluation row to calibrate on")
    return tuple(found)
