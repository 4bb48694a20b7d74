"""`status`: what a project has made and how old it is, who is champion, and what should wake somebody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from feature_store.duration import parse_duration
from feature_store.scan import newest_instant
from sparkml_ops import clock, release
from sparkml_ops.config.root import Config
from sparkml_ops.drift.measure import METRICS_TABLE
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.monitoring import PERFORMANCE_TABLE
from sparkml_ops.records import ModelVersion
from sparkml_ops.retraining.evidence import trained_until
from sparkml_ops.verbs.alarms import Alarm, find_alarms
from sparkml_ops.verbs.finished import Finished
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["Champion", "OutputTable", "ProjectStatus", "output_tables", "perform", "run"]


@dataclass(frozen=True)
class OutputTable:
    """A table that the project makes.

    Args:
        holds: `features`, `training rows`, `scores`, `drift` or `performance`.
        newest: Label of the newest window, or instant of the newest row (ISO 8601); None: nothing is there.
        age: Seconds from the end of that window, or from that row, to the clock; 0 where it lies ahead.
        freshness: The promise: most seconds that it may be old; None: there is none.
        stale: Whether the promise is broken.
    """

    table: str
    holds: str
    newest: str | None
    age: float | None
    freshness: float | None

    @property
    def stale(self) -> bool:
        """Older than promised, or not there at all."""
        return clock.is_stale(self.age, self.freshness)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**asdict(self), "stale": self.stale}


@dataclass(frozen=True)
class Champion:
    """The version that the events name.

    Args:
        since: Clock of the move that made it champion, ISO 8601.
        reason: `promote`, `rollback` or `by hand`.
        trained_until: Exclusive end of its training rows, ISO 8601; None where this project made no such training set.
    """

    model: str
    version: int
    since: str
    reason: str
    trained_until: str | None


@dataclass(frozen=True)
class ProjectStatus:
    """How a project stands.

    Args:
        as_of: The clock, ISO 8601.
        tables: What it makes.
        champion: None where there is none.
        decision: The last retraining decision: window, decision, trigger, reason; None before the first.
        alarms: What should be looked at, each with its mend.
    """

    project: str
    as_of: str
    tables: tuple[OutputTable, ...]
    champion: Champion | None
    decision: Mapping[str, str] | None
    alarms: tuple[Alarm, ...]

    @property
    def stale(self) -> bool:
        """Whether a promise of freshness is broken."""
        return any(table.stale for table in self.tables)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**asdict(self), "tables": [table.to_document() for table in self.tables], "stale": self.stale}


def run(spark: SparkSession | None, config: Config, *, as_of: datetime | str | None = None) -> ProjectStatus:
    """How the project stands as of an instant; writes nothing, and needs no Spark where the warehouse is a folder.

    Args:
        as_of: Ages are told at this instant, and runs with a later clock do not count; the champion's alias is as it is now.
    """
    return perform(Work(config, spark), as_of=as_of)


def perform(work: Work, *, as_of: datetime | str | None = None) -> ProjectStatus:
    """Read ledger, events and the logs of the feature tables."""
    now = clock.resolve(as_of)
    work.check()
    finished = Finished(work, now)
    decided = finished.newest("retrain")
    champion = _champion(work, now)
    return ProjectStatus(
        work.config.project,
        now.isoformat(),
        output_tables(work, finished, now),
        champion,
        None if decided is None else {name: decided.record[name] for name in ("window", "decision", "trigger", "reason")},
        find_alarms(work, finished, None if champion is None else champion.version),
    )


def output_tables(work: Work, finished: Finished, now: datetime) -> tuple[OutputTable, ...]:
    """Feature tables, training rows, scores, drift and performance, with how old each is."""
    return (*_features(work, now), *_made(work, finished, now))


def _features(work: Work, now: datetime) -> list[OutputTable]:
    """Every feature table, with or without a promise."""
    found = []
    for name, declared in work.sections.features.items():
        table = declared.table(name, work.sections.sources)
        newest = newest_instant(work.tables, table.table_name, table.event_time) if work.tables.exists(table.table_name) else None
        shown = None if newest is None else newest.isoformat(timespec="seconds")
        found.append(OutputTable(table.table_name, "features", shown, _age(newest, now), _seconds(declared.freshness)))
    return found


def _made(work: Work, finished: Finished, now: datetime) -> list[OutputTable]:
    """Training rows, and what comes window by window."""
    promise, found = _seconds(work.sections.scoring.freshness), []
    if (made := finished.newest("training-set")) is not None:
        until = made.key.window.rpartition("..")[2]
        found.append(OutputTable(made.record["snapshot"]["table"], "training rows", until, _age(datetime.fromisoformat(until), now), None))
    for verb, table, holds in (
        ("score", work.sections.scoring.target, "scores"),
        ("drift", METRICS_TABLE, "drift"),
        ("monitor", PERFORMANCE_TABLE, "performance"),
    ):
        newest = finished.newest_window(verb)
        # A project that never measured drift or performance does not promise to.
        kept = promise if newest is not None or verb == "score" else None
        found.append(OutputTable(table, holds, _label(newest), _age(_end(newest), now), kept))
    return found


def _champion(work: Work, now: datetime) -> Champion | None:
    events = [event for event in release.history(work.tables, work.sections.release.model) if event.at <= now]
    if not events or events[-1].to_version is None:
        return None
    last, version = events[-1], events[-1].to_version
    registered = work.ledger.runs({"verb": "register", "project": work.config.project})
    record = next((run.record for run in reversed(registered) if run.record["version"] == version), None)
    until = None if record is None else trained_until(work.ledger, work.config.project, TypeAdapter(ModelVersion).validate_python(record))
    return Champion(last.model, version, last.at.isoformat(), last.reason, None if until is None else until.isoformat())


def _label(run: FinishedRun | None) -> str | None:
    return None if run is None else run.key.window


def _end(run: FinishedRun | None) -> datetime | None:
    return None if run is None else Window.parse(run.key.window).end


def _age(instant: datetime | None, now: datetime) -> float | None:
    return None if instant is None else max((now - instant).total_seconds(), 0.0)


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration(duration).total_seconds()
