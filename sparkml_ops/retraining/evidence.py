"""What the ledger and the tables say about the champion, for a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.declaration import TrainingSetDeclaration
from feature_store.names import quote
from sparkml_ops.config.retraining import PolicySection
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun, Ledger
from sparkml_ops.records import ModelVersion
from sparkml_ops.retraining.policy import Evidence, Figure
from sparkml_ops.window import Window, instant

__all__ = ["Sources", "gather", "trained_until"]

_SLOT = "champion"


@dataclass(frozen=True)
class Sources:
    """Where evidence comes from.

    Args:
        ledger: Finished runs of `score`, `drift`, `monitor`, `retrain` and `training-set`.
        spine: Its rows with their labels.
        project: Name of the project.
        target: Table of the predictions.
        declared: The training set: its time, label and when that is known.
        policy: Which evidence is needed.
    """

    ledger: Ledger
    spine: DataFrame
    project: str
    target: str
    declared: TrainingSetDeclaration
    policy: PolicySection

    def runs(self, verb: str, now: datetime, target: str = "") -> list[FinishedRun]:
        """Finished runs of a verb that a clock knows of, oldest first."""
        where = {"verb": verb, "project": self.project, **({"target": target} if target else {})}
        return [run for run in self.ledger.runs(where) if run.as_of <= now]


def gather(
    sources: Sources, window: Window, champion: ModelVersion, *, now: datetime, train_end: datetime, in_flight: str | None, on_demand: bool
) -> Evidence:
    """All that the policy looks at.

    Args:
        window: The newest window of work.
        champion: The present one.
        now: The clock.
        train_end: Exclusive end of the rows that a training would use.
        in_flight: Who trains at this moment.
        on_demand: Whether a person asks for it.

    Raises:
        ContractError: The window was not measured yet, or a later one was decided upon.
    """
    decisions = sources.runs("retrain", datetime.max.replace(tzinfo=now.tzinfo))
    if later := [run for run in decisions if run.as_of > now]:
        raise ContractError(
            f"a decision as of {now.isoformat()}, while {later[-1].key.window} was decided as of {later[-1].as_of.isoformat()}",
            expected="a clock that goes forward",
            mend="correct --as-of; what was known at an earlier time is in the ledger: `sparkml-ops runs list`",
        )
    scored = {run.key.window: int(run.record["model"]["version"]) for run in _of_slot(sources.runs("score", now, sources.target))}
    drift = {run.key.window: run.record for run in _of_slot(sources.runs("drift", now, sources.target))}
    newest = _needed(drift, window, "drift", sources.project)
    mine = sorted(
        (label for label in drift if scored.get(label) == champion.version and len(label) == len(window.label) and label <= window.label),
    )
    until = trained_until(sources.ledger, sources.project, champion)
    yes = [run for run in decisions if run.record["decision"] == "yes"]
    return Evidence(
        as_of=now,
        champion=champion.version,
        trained_until=until,
        drifted=tuple((label, len(_with_verdict(drift[label], "drift"))) for label in mine),
        faults=tuple(_with_verdict(newest, "fault")),
        figure=_figure(sources, window, champion, now),
        new_labels=_new_labels(sources, until, train_end, now),
        last_training=max((run.as_of for run in yes), default=None),
        trainings_today=sum(run.as_of.date() == now.date() for run in yes),
        in_flight=in_flight,
        on_demand=on_demand,
    )


def trained_until(ledger: Ledger, project: str, champion: ModelVersion) -> datetime | None:
    """Exclusive end of a model's training rows; None where this project made no such training set."""
    runs = ledger.runs({"verb": "training-set", "project": project})
    made = next((run for run in reversed(runs) if run.record["id"] == champion.training_set.id), None)
    return None if made is None else instant(made.key.window.split("..")[-1])


def _of_slot(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    return [run for run in runs if run.key.slot == _SLOT]


def _needed(found: Mapping[str, Mapping[str, Any]], window: Window, verb: str, project: str) -> Mapping[str, Any]:
    if window.label not in found:
        raise ContractError(
            f"no {verb} of window {window.label} known at the clock",
            expected="a window that was scored and measured before a decision",
            mend=f"run `sparkml-ops {verb} --project {project} --window {window.label}` first",
        )
    return found[window.label]


def _with_verdict(report: Mapping[str, Any], verdict: str) -> list[str]:
    return [name for name, column in report["columns"].items() if column["verdict"] == verdict]


def _figure(sources: Sources, window: Window, champion: ModelVersion, now: datetime) -> Figure | None:
    """The champion's figure in the window; None where the policy asks for none, or another model scored it."""
    limit = sources.policy.performance
    if limit is None:
        return None
    reports = {run.key.window: run.record for run in _of_slot(sources.runs("monitor", now, sources.target))}
    report = _needed(reports, window, "monitor", sources.project)
    if int(report["model"]["version"]) != champion.version:
        return None
    for kind in ("realised", "estimated") if limit.estimated else ("realised",):
        found = [item for item in report["performance"] if (item["metric"], item["kind"], item["segment"]) == (limit.metric, kind, None)]
        if found and found[0]["value"] is not None:
            return Figure(window.label, limit.metric, kind, float(found[0]["value"]), int(found[0]["rows"]))
    return Figure(window.label, limit.metric, "realised", None, 0)


def _new_labels(sources: Sources, after: datetime | None, before: datetime, now: datetime) -> int:
    """Labels that a training would use and the champion has not seen; one job that counts."""
    declared = sources.declared
    time = F.col(quote(declared.time))
    rows = sources.spine.where((time < F.lit(before)) & F.col(quote(declared.label)).isNotNull())
    if after is not None:
        rows = rows.where(time >= F.lit(after))
    if declared.label_known_time is not None:
        rows = rows.where(F.col(quote(declared.label_known_time)) <= F.lit(now))
    return rows.count()
