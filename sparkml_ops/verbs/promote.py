"""`promote` and `rollback`: which version is the champion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pyspark.sql import SparkSession

from sparkml_ops import clock, release
from sparkml_ops.config.root import Config
from sparkml_ops.records import ModelVersion
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.consumers import record_predictions
from sparkml_ops.verbs.newest import newest
from sparkml_ops.verbs.outcome import Outcome, Plan, Task, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work

__all__ = ["perform", "perform_reconcile", "perform_rollback", "plan", "plan_rollback", "rollback", "run"]


def run(
    spark: SparkSession | None, config: Config, *, version: ModelVersion | None = None, as_of: datetime | str | None = None, actor: str = ""
) -> ModelVersion:
    """Make a version, by default the newest registered one, the champion.

    Raises:
        GateRefused: It has no passed gate report under this configuration.
    """
    return perform(Work(config, spark), version=version, as_of=as_of, actor=actor).record


def rollback(spark: SparkSession | None, config: Config, *, as_of: datetime | str | None = None, actor: str = "") -> ModelVersion:
    """Make the champion before this one the champion again."""
    return perform_rollback(Work(config, spark), as_of=as_of, actor=actor).record


def perform(work: Work, *, version: ModelVersion | None = None, as_of: datetime | str | None = None, actor: str = "") -> Outcome[ModelVersion]:
    """Run `promote` and say how it ended."""
    chosen = version or newest(work, "register", ModelVersion, as_of)
    return outcome(work, _promotion(work, chosen, actor), as_of=as_of)


def perform_rollback(work: Work, *, as_of: datetime | str | None = None, actor: str = "") -> Outcome[ModelVersion]:
    """Run `rollback` and say how it ended."""
    return outcome(work, _rollback(work, actor), as_of=as_of)


def plan(work: Work, *, version: ModelVersion | None = None, as_of: datetime | str | None = None, actor: str = "") -> Plan:
    """What `promote` would read and write."""
    chosen = version or newest(work, "register", ModelVersion, as_of)
    writes = [f"alias champion of {chosen.name} to version {chosen.version}", "table model_events", "table consumers"]
    return make_plan(work, _promotion(work, chosen, actor), reads=["table gate_reports"], writes=writes, as_of=as_of)


def plan_rollback(work: Work, *, as_of: datetime | str | None = None, actor: str = "") -> Plan:
    """What `rollback` would read and write."""
    return make_plan(
        work, _rollback(work, actor), reads=["table model_events"], writes=[f"alias champion of {work.sections.release.model}", "table model_events"]
    )


def perform_reconcile(work: Work, *, as_of: datetime | str | None = None, actor: str = "") -> str:
    """Accept where somebody moved the alias by hand, and say what was found."""
    work.check()
    event = release.reconcile(work.tables, work.tracking, work.sections.release, clock.resolve(as_of), actor)
    if event is None:
        return f"{work.sections.release.model}: alias and history agree"
    return f"{event.model}: champion moved by hand from version {event.from_version} to {event.to_version}, accepted as {event.id}"


def _promotion(work: Work, chosen: ModelVersion, actor: str) -> Task[ModelVersion]:
    def body(run_id: str, now: datetime) -> ModelVersion:
        champion = release.promote(work.tables, work.tracking, work.sections.release, chosen, work.config.hash("release"), now, actor)
        record_predictions(work, champion)
        return champion

    return _task(work, "promote", body)


def _rollback(work: Work, actor: str) -> Task[ModelVersion]:
    def body(run_id: str, now: datetime) -> ModelVersion:
        settings, last = work.sections.release, _last_event(work)
        if last is not None and last.reason == "rollback" and last.to_version is not None and work.ledger.find(_key(work, "rollback", last)) is None:
            # A rollback that was killed before its entry in the ledger: going back once more would be a second one.
            release.reconcile(work.tables, work.tracking, settings, now, actor)
            return work.tracking.resolve(settings.model, last.to_version).record
        return release.rollback(work.tables, work.tracking, settings, now, actor)

    return _task(work, "rollback", body)


def _task(work: Work, verb: str, body: Callable[[str, datetime], ModelVersion]) -> Task[ModelVersion]:
    """A move of the alias, entered under the number of its event: the champion again is no work."""
    return Task(
        _key(work, verb, None),
        ModelVersion,
        ("release",),
        body,
        repeatable=False,
        settle=lambda: _key(work, verb, _last_event(work)),
        wrote=lambda: _moved(work, verb),
    )


def _moved(work: Work, verb: str) -> bool:
    last = _last_event(work)
    return last is not None and last.reason == verb


def _last_event(work: Work) -> release.ModelEvent | None:
    events = release.history(work.tables, work.sections.release.model)
    return events[-1] if events else None


def _key(work: Work, verb: str, event: release.ModelEvent | None) -> RunKey:
    return RunKey(verb, work.config.project, work.sections.release.model, slot=release.CHAMPION, generation=event.number if event else 0)
