"""`concept`: how figures moved over the windows, by which detectors, of which kind, and whether inputs, labels or their bond moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pyspark.sql import functions as F

from feature_store.delta.changes import row_stream
from sparkml_ops import clock, monitoring, release
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.change import Change, noise, which_change
from sparkml_ops.monitoring.concept_stream import Followed, followed
from sparkml_ops.monitoring.concept_stream import follow as follow_rows
from sparkml_ops.monitoring.detectors import Detector, changes, settings_for_windows
from sparkml_ops.verbs.finished import Finished
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["FOLLOWED", "ConceptReport", "Series", "concept", "follow"]

_DETECTORS: tuple[Detector, ...] = ("adwin", "page-hinkley")
_CONCENTRATION = "predicted herfindahl"
_PREDICTED = ("herfindahl", "predicted")
_FIGURES = ("auc", "log_loss", "brier", "calibration_error", "rate")
# In the unit of the figures: what they usually do from window to window is known only when all are there.
FOLLOWED: dict[str, Any] = {"min_instances": 6, "delta": 0.005, "threshold": 0.05, "alpha": 1.0}
Shift = Literal["none", "covariate", "label", "concept", "feedback"]


@dataclass(frozen=True)
class Series:
    """One figure over the windows of one model version.

    Args:
        name: `realised auc`, `gap of log_loss` (realised less estimated), `drifting columns`.
        version: Of the model; None for what does not depend on it.
        segment: `name=value`, or None for all rows.
        windows: Labels, in order.
        values: A value each.
        detected: By detector the windows at which it saw a change.
        kind: Of the change that explains the series best.
        since: Window in which it began; None where nothing changed.
        until: Window in which it ended; None where it did not, or ended at once.
        before: Level before.
        after: Level after.
    """

    name: str
    version: int | None
    segment: str | None
    windows: tuple[str, ...]
    values: tuple[float, ...]
    detected: dict[str, tuple[str, ...]]
    kind: str
    since: str | None
    until: str | None
    before: float
    after: float


@dataclass(frozen=True)
class ConceptReport:
    """What moved.

    Args:
        as_of: The clock, ISO 8601.
        shifts: `concept` where the realised figure left the estimated one, which supposes that labels follow from scores as before; `label` where the share of
            label 1 moved; `covariate` where the number of drifting columns did; `feedback` where predictions fall on fewer values than before while neither
            labels nor inputs moved: a model may be learning from what it chose itself; `none`.
        series: That were looked at, those that moved first.
    """

    as_of: str
    shifts: tuple[Shift, ...]
    series: tuple[Series, ...]


def concept(work: Work, *, as_of: datetime | str | None = None) -> ConceptReport:
    """Look at the series of the newest model version that has figures; reads what `drift` and `monitor` stored.

    Args:
        as_of: Measurements with a later clock do not count.
    """
    now = clock.resolve(as_of)
    work.check()
    rows = monitoring.performance(work.tables, work.config.project, target=work.sections.scoring.target, as_of=now)
    rows = sorted((row for row in rows if row["value"] is not None), key=lambda row: Window.parse(row["window"]).end)
    version = int(rows[-1]["version"]) if rows else None
    mine = {(row["metric"], row["kind"], row["segment"], row["window"]): float(row["value"]) for row in rows if row["version"] == version}
    found = []
    for segment in dict.fromkeys(key[2] for key in mine):
        for metric in _FIGURES:
            kinds = {
                kind: {window: mine[key] for key in mine if key[:3] == (metric, kind, segment) for window in key[3:]}
                for kind in ("realised", "estimated")
            }
            found.append(_series(f"realised {metric}", version, segment, kinds["realised"]))
            both = {window: value - kinds["estimated"][window] for window, value in kinds["realised"].items() if window in kinds["estimated"]}
            found.append(_series(f"gap of {metric}", version, segment, both))
        found.append(_series(_CONCENTRATION, version, segment, {key[3]: value for key, value in mine.items() if key[:3] == (*_PREDICTED, segment)}))
    found.append(_series("drifting columns", None, None, _drifting(Finished(work, now))))
    looked = sorted((series for series in found if series is not None), key=lambda series: not _moved(series))
    return ConceptReport(now.isoformat(), _shifts(looked), tuple(looked))


def follow(work: Work) -> tuple[Followed, ...]:
    """Hand the realised figures of windows that became final since the last call to Page-Hinkley, for each model version, segment and figure.

    It speaks where a figure has left its mean by more than 0.005, summed up to 0.05: by 0.03 for two windows, or by 0.015 for five. The detectors are kept in `concept_states` between calls, however one of them ended. A final window that is measured again on purpose counts again.

    Returns:
        All groups so far; a group's columns are `model`, `version`, `segment` and `metric`.

    Raises:
        ContractError: Nothing was measured yet.
    """
    work.check()
    target = work.sections.scoring.target
    if not work.tables.exists(monitoring.PERFORMANCE_TABLE):
        raise ContractError("no measured window", expected="figures of windows", mend="run `sparkml-ops monitor` first")
    name = f"{work.config.project}.{target}"
    wanted = {"project": work.config.project, "target": target, "slot": release.CHAMPION, "kind": "realised"}
    stream = row_stream(work.tables, monitoring.PERFORMANCE_TABLE).where(
        F.col("final") & F.col("value").isNotNull() & F.col("metric").isin(*_FIGURES)
    )
    for column, value in wanted.items():
        stream = stream.where(F.col(column) == value)
    query = follow_rows(
        work.tables,
        stream,
        "value",
        name=name,
        order=("window",),
        by=("model", "version", "segment", "metric"),
        checkpoint=work.storage.path(f"concept/{name}"),
        detector="page-hinkley",
        **FOLLOWED,
    )
    query.awaitTermination()
    return followed(work.tables, name)


def _series(name: str, version: int | None, segment: str | None, figures: dict[str, float]) -> Series | None:
    if not figures:
        return None
    windows, values = tuple(figures), tuple(figures.values())
    change: Change = which_change(values)
    since, until = (None if position is None else windows[position] for position in (change.at, change.until))
    return Series(name, version, segment, windows, values, _detected(windows, values), change.kind, since, until, change.before, change.after)


def _detected(windows: Sequence[str], values: Sequence[float]) -> dict[str, tuple[str, ...]]:
    """By each detector; Page-Hinkley's in standard deviations of what the figure does from window to window."""
    scale = noise(values)
    scaled = [(value - values[0]) / scale if scale else 0.0 for value in values]
    given = {"adwin": values, "page-hinkley": scaled}
    return {name: tuple(windows[place] for place in changes(given[name], name, **settings_for_windows(name))) for name in _DETECTORS}


def _drifting(finished: Finished) -> dict[str, float]:
    runs = finished.newest_by_window("drift")
    return {label: float(sum(column["verdict"] == "drift" for column in run.record["columns"].values())) for label, run in runs.items()}


def _moved(series: Series) -> bool:
    return series.kind not in ("none", "undecided")


def _shifts(found: Sequence[Series]) -> tuple[Shift, ...]:
    whole = [series for series in found if series.segment is None and _moved(series)]
    moved = [series.name for series in whole]
    closer = any(series.name == _CONCENTRATION and series.after > series.before for series in whole)
    rules: tuple[tuple[Shift, bool], ...] = (
        ("concept", any(name.startswith("gap of ") and name != "gap of rate" for name in moved)),
        ("label", "realised rate" in moved),
        ("covariate", "drifting columns" in moved),
        ("feedback", closer and "drifting columns" not in moved and "realised rate" not in moved),
    )
    return tuple(shift for shift, holds in rules if holds) or ("none",)
