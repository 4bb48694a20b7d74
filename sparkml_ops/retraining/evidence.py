"""What the ledger and the tables say about the champion, for a decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sparkml_ops.config.retraining import PolicySection
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun, Ledger
from sparkml_ops.records import ModelVersion
from sparkml_ops.retraining.lease import Lease
from sparkml_ops.retraining.policy import Evidence, Figure
from sparkml_ops.runkey import RunKey
from sparkml_ops.window import Window, instant

__all__ = ["Sources", "gather", "trained_until"]

_SLOT = "champion"


@dataclass(frozen=True)
class Sources:
    """Where evidence comes from.

    Args:
        ledger: Finished runs of `score`, `drift`, `monitor`, `retrain` and `training-set`.
        project: Name of the project.
        target: Table of the predictions.
        policy: Which evidence is needed.
        leases: All leases of the project: a training that failed has left nothing else.
        figures: Rows of each window's newest measurement at the clock, as `performance_metrics` holds them.
        labels: Counts the labels that a training would use, of rows from an instant on.
    """

    ledger: Ledger
    project: str
    target: str
    policy: PolicySection
    leases: Sequence[Lease]
    figures: Sequence[Mapping[str, Any]]
    labels: Callable[[datetime | None], int]

    def runs(self, verb: str, now: datetime, target: str = "") -> list[FinishedRun]:
        """Finished runs of a verb that a clock knows of, oldest first."""
        where = {"verb": verb, "project": self.project, **({"target": target} if target else {})}
        return [run for run in self.ledger.standing(where) if run.as_of <= now]


def gather(
    sources: Sources,
    window: Window,
    champion: ModelVersion,
    *,
    key: RunKey,
    now: datetime,
    train_start: datetime | None,
    in_flight: str | None,
    on_demand: bool,
) -> Evidence:
    """All that the policy looks at.

    Args:
        window: The newest window of work.
        champion: The present one.
        key: Of the decision that is to be taken.
        now: The clock.
        train_start: Inclusive start of the rows that a training would use; None: all before its end.
        in_flight: Who trains at this moment.
        on_demand: Whether a person asks for it.

    Raises:
        ContractError: The window was not measured yet, or a later one was decided upon.
    """
    decisions = _in_order(sources.runs("retrain", datetime.max.replace(tzinfo=now.tzinfo)), window, now)
    scored = {run.key.window: int(run.record["model"]["version"]) for run in _of_slot(sources.runs("score", now, sources.target))}
    drift = {run.key.window: run.record for run in _of_slot(sources.runs("drift", now, sources.target))}
    _needed(drift, window, "drift", sources.project)
    mine = sorted(label for label in drift if scored.get(label) == champion.version and _before(label, window))
    until = trained_until(sources.ledger, sources.project, champion)
    trainings = _trainings(decisions, sources.leases, key, now)
    return Evidence(
        as_of=now,
        champion=champion.version,
        trained_until=until,
        drifted=tuple((label, len(_with_verdict(drift[label], "drift"))) for label in mine),
        faults=_faults(drift, train_start),
        figure=_figure(sources, window, champion, now),
        new_labels=sources.labels(max((start for start in (until, train_start) if start is not None), default=None)),
        last_training=max(trainings, default=None),
        trainings_today=sum(at.date() == now.date() for at in trainings),
        in_flight=in_flight,
        on_demand=on_demand,
    )


def trained_until(ledger: Ledger, project: str, champion: ModelVersion) -> datetime | None:
    """Exclusive end of a model's training rows; None where this project made no such training set."""
    runs = ledger.runs({"verb": "training-set", "project": project})
    made = next((run for run in reversed(runs) if run.record["id"] == champion.training_set.id), None)
    return None if made is None else instant(made.key.window.split("..")[-1])


def _in_order(decisions: list[FinishedRun], window: Window, now: datetime) -> list[FinishedRun]:
    """The decisions so far, none of which may be later: by its clock, or about a later window."""
    if later := [run for run in decisions if run.as_of > now or Window.parse(run.key.window).end > window.end]:
        raise ContractError(
            f"a decision upon {window.label} as of {now.isoformat()}, while {later[-1].key.window} was decided as of {later[-1].as_of.isoformat()}",
            expected="a clock that goes forward, and windows in their order",
            mend="correct --as-of or --window; what was known at an earlier time is in the ledger: `sparkml-ops runs list`",
        )
    return decisions


def _trainings(decisions: Sequence[FinishedRun], held: Sequence[Lease], key: RunKey, now: datetime) -> list[datetime]:
    """Clocks of the trainings that were begun, each once.

    Not those of the same work at the same clock: they are what is done once more, and `yes` would hold itself back.
    """
    begun = {lease.key: lease.as_of for lease in held if lease.as_of <= now}
    begun |= {run.key.text: run.as_of for run in decisions if run.record["decision"] == "yes"}
    work = key.text.rpartition("/")[0]
    return [at for text, at in begun.items() if (text.rpartition("/")[0], at) != (work, now)]


def _before(label: str, window: Window) -> bool:
    """Whether a window is of the same size, and not later."""
    return len(label) == len(window.label) and label <= window.label


def _faults(drift: Mapping[str, Mapping[str, Any]], start: datetime | None) -> tuple[tuple[str, str], ...]:
    """Columns at fault in the newest report of each window that a training reads, which ends with the clock: its last rows judge the model."""
    windows = sorted((Window.parse(label) for label in drift), key=lambda window: (window.end, window.label))
    inside = [window.label for window in windows if start is None or window.end > start]
    return tuple((label, name) for label in inside for name in _with_verdict(drift[label], "fault"))


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
    """The champion's figure in the newest window with enough truth; None where the policy asks for none, or the champion was never measured.

    Truth comes late: the newest window has little of it, and an earlier one was measured again meanwhile.
    """
    limit = sources.policy.performance
    if limit is None:
        return None
    reports = {run.key.window: run.record for run in _of_slot(sources.runs("monitor", now, sources.target))}
    _needed(reports, window, "monitor", sources.project)
    rows = [
        row
        for row in sources.figures
        if (row["segment"], row["metric"], int(row["version"])) == (None, limit.metric, champion.version) and _before(row["window"], window)
    ]
    kinds = ("realised", "estimated") if limit.estimated else ("realised",)
    # The newest window first, and there the truth before the estimate.
    wanted = sorted((row for row in rows if row["kind"] in kinds), key=lambda row: (row["window"], row["kind"]), reverse=True)
    found = [Figure(row["window"], limit.metric, row["kind"], row["value"], int(row["measured"])) for row in wanted]
    known = [figure for figure in found if figure.value is not None]
    return next((figure for figure in known if figure.rows >= limit.minimum_rows), next(iter((*known, *found)), None))
