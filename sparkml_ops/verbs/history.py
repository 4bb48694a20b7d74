"""What a year brought, read from the ledger and our own small tables: no Spark, nothing is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from sparkml_ops import alerts, clock, monitoring, release
from sparkml_ops.config.drift import Thresholds
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.monitoring.year import ColumnState, Limit, Month, Rung, Takeover, Year
from sparkml_ops.records import MonitorReport, Performance, RetrainDecision, ScoredWindow
from sparkml_ops.verbs.alarms import find_alarms
from sparkml_ops.verbs.finished import Finished
from sparkml_ops.verbs.overlays import overlays
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["months"]

_VERBS = ("score", "drift", "monitor", "retrain")
# A page for people: two years of months, or as many days or hours.
_MOST = 24
_PICTURED = 6


def months(work: Work, *, as_of: datetime | str | None = None, slot: str = "champion", pictures: bool = False) -> Year:
    """The windows of a project with their rows, drift, performance and decisions.

    Figures of a window are those of its newest measurement, which a later window's `monitor` may have made. Alarms are
    those of `status`, about the champion.

    Args:
        as_of: Runs with a later clock do not count.
        slot: Role under which the predictions are stored; decisions and alerts are about the champion's alone.
        pictures: Whether with the values of the columns that drift most, from the stored profiles.

    Raises:
        ContractError: Nothing is scored in this slot.
    """
    now = clock.resolve(as_of)
    runs = _newest(work, now, slot)
    if not runs["score"]:
        raise ContractError(
            f"no scores of project {work.config.project} in slot {slot}",
            expected="a scored window",
            mend=f"run `sparkml-ops score --project {work.config.project} --window <2013-07> --slot {slot}` first",
        )
    labels = _labels(runs)
    figures = _figures(work, now, slot)
    found = tuple(_month(label, runs, figures.get(label, []), work.sections.drift.thresholds) for label in labels[-_MOST:])
    policy = work.sections.retraining.policy.performance
    limit = None if policy is None else Limit(policy.metric, policy.at_least, policy.at_most)
    events = [event for event in release.history(work.tables, work.sections.release.model) if event.at <= now]
    champion = events[-1].to_version if events else None
    year = Year(
        project=work.config.project,
        model=work.sections.release.model,
        champion=champion,
        months=found,
        alarms=tuple(f"{alarm.found}: {alarm.mend}" for alarm in find_alarms(work, Finished(work, now), champion)),
        slot=slot,
        as_of=max(run.as_of for found_runs in runs.values() for run in found_runs.values()).isoformat(),
        takeovers=tuple(Takeover(event.at.isoformat(), event.to_version, event.reason) for event in events),
        limit=limit,
        earlier=max(0, len(labels) - _MOST),
        alerts=_alerts(work, now) if slot == release.CHAMPION else (),
    )
    if not pictures:
        return year
    return replace(year, overlays=overlays(work, [month.window for month in found if month.drift], year.columns[:_PICTURED], slot=slot))


def _alerts(work: Work, now: datetime) -> tuple[Rung, ...]:
    """Alerts as they stood at the clock, open ones first, then the newest."""
    book = alerts.read(work.tables, work.config.project)
    found = alerts.fold(event for event in book.events if event.at <= now).values()
    ordered = sorted(found, key=lambda alert: (alert.open, alert.opening.at), reverse=True)[:_MOST]
    return tuple(
        Rung(
            alert.opening.policy,
            alert.opening.subject,
            alert.opening.severity,
            alert.state,
            alert.opening.window,
            alert.resolved.window if alert.resolved is not None and not alert.open else "",
            alert.opening.said,
            alert.opening.owner,
            alert.opening.runbook,
            alert.verdict,
            alert.episodes,
        )
        for alert in ordered
    )


def _newest(work: Work, now: datetime, slot: str) -> dict[str, dict[str, FinishedRun]]:
    """By verb and window the run of the newest generation."""
    target = work.sections.scoring.target
    wanted = dict.fromkeys(("score", "drift", "monitor"), (target, slot))
    if slot == release.CHAMPION:
        wanted["retrain"] = (work.sections.release.model, "")
    newest: dict[str, dict[str, FinishedRun]] = {verb: {} for verb in _VERBS}
    for run in work.ledger.standing({"project": work.config.project}):
        key = run.key
        if run.as_of > now or wanted.get(key.verb) != (key.target, key.slot):
            continue
        before = newest[key.verb].get(key.window)
        if before is None or key.generation >= before.key.generation:
            newest[key.verb][key.window] = run
    return newest


def _labels(runs: Mapping[str, Mapping[str, FinishedRun]]) -> list[str]:
    """Windows of the size that was scored most often: months and days of one project do not share an axis."""
    sizes = Counter(len(label) for label in runs["score"])
    size = max(sizes, key=lambda length: (sizes[length], -length))
    return sorted({label for found in runs.values() for label in found if len(label) == size})


def _month(label: str, runs: Mapping[str, Mapping[str, FinishedRun]], figures: Sequence[Mapping[str, Any]], thresholds: Thresholds) -> Month:
    found = {verb: runs[verb].get(label) for verb in _VERBS}
    scored = TypeAdapter(ScoredWindow).validate_python(found["score"].record) if found["score"] else None
    columns = found["drift"].record["columns"] if found["drift"] else {}
    return Month(
        window=Window.parse(label).label,
        as_of=found["score"].as_of.isoformat() if found["score"] else "",
        rows=scored.rows if scored else None,
        quarantined=scored.quarantined if scored else None,
        model_version=scored.model.version if scored else None,
        drift={name: ColumnState(column["verdict"], _effect(column, thresholds)) for name, column in columns.items()},
        monitor=_monitor(found["monitor"], figures) if found["monitor"] else None,
        decision=TypeAdapter(RetrainDecision).validate_python(found["retrain"].record) if found["retrain"] else None,
    )


def _effect(column: Mapping[str, Any], thresholds: Thresholds) -> float | None:
    """The greatest judged distance over its threshold; total variation of a number is not judged, its distance of cells is."""
    judged = ("ks", "wasserstein", "psi", "jensen_shannon", "hellinger", *(("total_variation",) if column.get("ks") is None else ()))
    pairs = [(column.get(name), getattr(thresholds, name)) for name in judged]
    return max((value / threshold for value, threshold in pairs if value is not None and threshold), default=None)


def _monitor(run: FinishedRun, figures: Sequence[Mapping[str, Any]]) -> MonitorReport:
    """The report with the figures of the newest measurement."""
    report = TypeAdapter(MonitorReport).validate_python(run.record)
    if not figures or figures[0]["as_of"] <= run.as_of:
        return report
    performance = tuple(
        Performance(**{name: row[name] for name in ("segment", "metric", "kind", "value", "lower", "upper")}, rows=row["measured"]) for row in figures
    )
    counts = {name: figures[0][name] for name in ("rows", "labelled", "completeness", "final")}
    return replace(report, as_of=figures[0]["as_of"].isoformat(), performance=performance, **counts)


def _figures(work: Work, now: datetime, slot: str) -> dict[str, list[Mapping[str, Any]]]:
    """By window the rows of its newest measurement."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in monitoring.performance(work.tables, work.config.project, target=work.sections.scoring.target, slot=slot, as_of=now):
        found[row["window"]].append(row)
    return found
