"""The windows of a slot against the truth: one pass over their rows, one commit of their figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, cast

from pyspark.sql import DataFrame

from feature_store.delta import Tables
from feature_store.duration import parse_duration
from feature_store.records import Snapshot
from sparkml_ops.config.monitoring import MonitoringSection
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.calibration import Calibration
from sparkml_ops.monitoring.classes import ClassCalibration, Classes
from sparkml_ops.monitoring.figuring import BinaryFiguring, ClassFiguring, Figuring
from sparkml_ops.monitoring.stored import PERFORMANCE_TABLE, MonitorRun, store
from sparkml_ops.monitoring.tally import Counting, Oddity, Part, Tally, tallies
from sparkml_ops.monitoring.truth import CONTRADICTION, NO_LABEL, UNKNOWN_CLASS, UNSCORED
from sparkml_ops.performance.classes import ClassErrors
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import ModelVersion, MonitorReport, Performance
from sparkml_ops.window import Window

__all__ = ["Subject", "class_counts", "label_counts", "measure"]

_FINDINGS = {
    CONTRADICTION: "contradicting truth: {count} keys with different labels known at the same time, which count as not labelled ({keys})",
    UNKNOWN_CLASS: "truth of a class that the model does not know: {count} keys, which count as not labelled ({keys})",
    UNSCORED: "truth without a prediction: {count} keys that were neither scored nor in quarantine ({keys})",
}


@dataclass(frozen=True)
class Subject:
    """One window that is measured.

    Args:
        window: The window.
        model: The version that scored it.
        calibration: Of that version; None: there was no row to fit it on, and nothing is estimated. Of a model of several classes
            its own kind.
        generation: Of the window's measurements.
    """

    window: Window
    model: ModelVersion
    calibration: Calibration | ClassCalibration | None
    generation: int


def measure(
    tables: Tables, rows: DataFrame, subjects: Sequence[Subject], run: MonitorRun, settings: MonitoringSection, *, classes: Sequence[str] = ()
) -> MonitorReport:
    """Measure some windows and store their figures in one commit.

    Args:
        tables: The warehouse.
        rows: As of `observations`, of all the windows.
        subjects: The windows; the first is the one asked for.
        run: Who measures, and as of when.
        settings: Options.
        classes: Of a model of several, in the order of its scores.

    Returns:
        The report of the first.

    Raises:
        ContractError: A label other than 0 and 1, or too many segments; nothing was written.
    """
    figuring = _figuring(subjects, settings, classes)
    found = _documents(rows, figuring)
    reports = [(subject.generation, _report(subject, found, run, figuring)) for subject in subjects]
    return replace(reports[0][1], snapshot=store(tables, run, reports).snapshot)


def label_counts(rows: DataFrame) -> ScoreCounts:
    """Labelled rows by score and label, counted in one job.

    Args:
        rows: Columns as of `COLUMNS`, of one window.
    """
    found = tallies(rows, Counting())
    return ScoreCounts.empty() if not found else cast("ScoreCounts", next(iter(found.values())).labelled)


def class_counts(rows: DataFrame, classes: int) -> ClassErrors:
    """Labelled rows by class and by score of each, counted in one job.

    Args:
        rows: Columns as of `COLUMNS`, of one window.
        classes: Number of classes.
    """
    found = tallies(rows, Counting(kind=Classes(classes, {})))
    return ClassErrors.empty(classes) if not found else cast("ClassErrors", next(iter(found.values())).labelled)


def _figuring(subjects: Sequence[Subject], settings: MonitoringSection, classes: Sequence[str]) -> Figuring:
    if not classes:
        return BinaryFiguring(settings, {item.window.label: cast("Calibration | None", item.calibration) for item in subjects})
    return ClassFiguring(settings, {item.window.label: cast("ClassCalibration | None", item.calibration) for item in subjects}, tuple(classes))


def _documents(rows: DataFrame, figuring: Figuring) -> dict[Part, dict[str, Any]]:
    """The figures of each window and segment, computed where the counts are."""

    def finish(part: Part, tally: Tally) -> str:
        return json.dumps(_document(part, tally, figuring))

    settings = figuring.settings
    counting = Counting(settings.cut_by, settings.lag_hours, settings.max_segments, figuring.kind)
    made = tallies(rows, counting, finish)
    documents: dict[Part, dict[str, Any]] = {}
    for text, document in made.items():
        window, segment = json.loads(text)
        documents[window, segment] = json.loads(document)
    _check(documents, settings)
    return documents


def _document(part: Part, tally: Tally, figuring: Figuring) -> dict[str, Any]:
    return {
        "figures": [asdict(figure) for figure in figuring.figures(part[0], part[1], tally)],
        "lag": tally.lag.tolist(),
        "odd": {kind: asdict(oddity) for kind, oddity in tally.odd.items()},
        **figuring.beside(tally),
    }


def _check(documents: Mapping[Part, Mapping[str, Any]], settings: MonitoringSection) -> None:
    segments: dict[tuple[str, str], int] = {}
    for window, segment in documents:
        if segment is not None:
            name = segment if not window else next(name for name in settings.cut_by if segment.startswith(f"{name}="))
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


def _report(subject: Subject, documents: Mapping[Part, Mapping[str, Any]], run: MonitorRun, figuring: Figuring) -> MonitorReport:
    label, settings = subject.window.label, figuring.settings
    nothing = Tally.empty(settings.lag_hours, figuring.kind)
    whole = documents.get((label, None)) or _document((label, None), nothing, figuring)
    parts = {part[1]: documents[part] for part in sorted(part for part in documents if part[0] == label and part[1] is not None)}
    # A value that is only sensitive is no segment: what is said of it is how it differs from the others.
    shown = [document for name, document in parts.items() if (name or "").startswith(tuple(f"{segment}=" for segment in settings.segments))]
    figures = tuple(Performance(**figure) for document in (whole, *shown) for figure in document["figures"])
    figures += tuple(figuring.between({str(name): document for name, document in parts.items()}))
    rows, labelled = (next(item.rows for item in figures if (item.segment, item.kind) == (None, kind)) for kind in ("estimated", "realised"))
    completeness = labelled / rows if rows else 0.0
    odd = {kind: Oddity(**{**oddity, "keys": tuple(oddity["keys"])}) for kind, oddity in whole["odd"].items()}
    over = _over(subject.window, run.as_of, settings)
    findings = _findings(odd, subject)
    if over and rows and completeness < settings.complete_at:
        late = f"{settings.final_after} after the window's end, {completeness:.1%}: realised figures are about these alone"
        findings = (*findings, f"labels missing: {labelled} of {rows} rows have a truth {late}")
    return MonitorReport(
        model=subject.model,
        window=label,
        slot=run.slot,
        as_of=run.as_of.isoformat(),
        rows=rows,
        labelled=labelled,
        completeness=completeness,
        final=completeness >= settings.complete_at or over,
        performance=figures,
        lag=_lag(whole["lag"], settings.lag_hours),
        findings=findings,
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
