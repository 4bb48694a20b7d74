"""The decision: triggers, brakes and the order in which they speak, as a pure function of the evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from feature_store.duration import parse_duration
from sparkml_ops.config.retraining import PerformanceTrigger, PolicySection

__all__ = ["Evidence", "Figure", "Verdict", "beyond", "decide"]


@dataclass(frozen=True)
class Figure:
    """How good the champion was in a window.

    Args:
        kind: `realised` or `estimated`.
        value: None where it does not exist.
        rows: That it is about.
    """

    window: str
    metric: str
    kind: str
    value: float | None
    rows: int


@dataclass(frozen=True)
class Evidence:
    """All that a decision looks at; every instant is UTC.

    Args:
        as_of: The clock.
        champion: Version.
        trained_until: Exclusive end of the champion's training rows; None where nobody wrote it down.
        drifted: (window, drifting columns) of the windows that this champion scored, oldest first.
        faults: (window, column) whose type or missing share breaks the contract, of all windows that a training would read.
        figure: The champion's figure in the newest window with enough truth, where the policy has a limit.
        new_labels: Labels known at the clock of rows after the champion's training rows.
        last_training: Clock of the last training that was begun, whether or not it ended.
        trainings_today: Trainings that were begun on the clock's day.
        in_flight: Who trains at this moment; None: nobody.
        on_demand: Whether a person asks for it.
    """

    as_of: datetime
    champion: int
    trained_until: datetime | None
    drifted: tuple[tuple[str, int], ...]
    faults: tuple[tuple[str, str], ...]
    figure: Figure | None
    new_labels: int
    last_training: datetime | None
    trainings_today: int
    in_flight: str | None
    on_demand: bool = False

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types: a decision that was just taken equals the one that the ledger gives back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=lambda value: value.isoformat()))
        return plain


@dataclass(frozen=True)
class Verdict:
    """What was decided, by which trigger, and why in one sentence."""

    decision: Literal["yes", "no"]
    trigger: str
    reason: str


def decide(evidence: Evidence, policy: PolicySection) -> Verdict:
    """Whether a new model is due.

    Broken data come first: a model trained on them would learn the fault, so they never retrain, not even on demand.
    Then the first trigger that fires names itself, and the first brake that holds says what it waits for.
    """
    if evidence.faults:
        names = ", ".join(f"{column} in {window}" for window, column in evidence.faults[:5])
        mend = "mend the data, then score and compare the window again: a new model would learn the fault"
        return Verdict("no", "", f"contract failure in {len(evidence.faults)} columns ({names}): {mend}")
    fired = next(((name, said) for name, trigger in _TRIGGERS.items() if (said := trigger(evidence, policy))), None)
    if fired is None:
        return Verdict("no", "", _quiet(evidence, policy))
    trigger, reason = fired
    for brake in _BRAKES:
        if held := brake(evidence, policy):
            return Verdict("no", trigger, f"{reason}; but {held}")
    return Verdict("yes", trigger, reason)


def beyond(figure: Figure, limit: PerformanceTrigger) -> str:
    """What there is to say of a figure beyond a limit; empty where it is good enough or about too few rows.

    >>> beyond(Figure("2013-07", "auc", "realised", 0.69, 5000), PerformanceTrigger(at_least=0.7))
    'realised auc 0.6900 in 2013-07, below 0.7'
    """
    if figure.value is None or figure.rows < limit.minimum_rows:
        return ""
    said = f"{figure.kind} {figure.metric} {figure.value:.4f} in {figure.window}"
    if limit.at_least is not None and figure.value < limit.at_least:
        return f"{said}, below {limit.at_least:g}"
    if limit.at_most is not None and figure.value > limit.at_most:
        return f"{said}, above {limit.at_most:g}"
    return ""


def _on_demand(evidence: Evidence, policy: PolicySection) -> str:
    return "asked for by a person" if evidence.on_demand and policy.on_demand else ""


def _performance(evidence: Evidence, policy: PolicySection) -> str:
    return "" if policy.performance is None or evidence.figure is None else beyond(evidence.figure, policy.performance)


def _drift(evidence: Evidence, policy: PolicySection) -> str:
    if policy.drift is None:
        return ""
    newest = evidence.drifted[-policy.drift.of :]
    drifting = [window for window, columns in newest if columns >= policy.drift.columns]
    if len(drifting) < policy.drift.windows:
        return ""
    return f"{policy.drift.columns} or more columns drift in {len(drifting)} of {len(newest)} windows ({', '.join(drifting)})"


def _schedule(evidence: Evidence, policy: PolicySection) -> str:
    if policy.schedule is None or evidence.trained_until is None:
        return ""
    age = evidence.as_of - evidence.trained_until
    return (
        f"the champion's newest training row is {age.days} days old, the schedule says {policy.schedule}"
        if age >= parse_duration(policy.schedule)
        else ""
    )


def _labels(evidence: Evidence, policy: PolicySection) -> str:
    if policy.labels is None or evidence.new_labels < policy.labels:
        return ""
    return f"{evidence.new_labels:,} new labels, {policy.labels:,} are enough"


def _too_few(evidence: Evidence, policy: PolicySection) -> str:
    return f"only {evidence.new_labels:,} new labels of {policy.minimum_labels:,} needed" if evidence.new_labels < policy.minimum_labels else ""


def _cooldown(evidence: Evidence, policy: PolicySection) -> str:
    last = evidence.last_training
    if last is None or evidence.as_of - last >= parse_duration(policy.cooldown):
        return ""
    return f"the last training was {(evidence.as_of - last).days} days ago and the cooldown is {policy.cooldown}"


def _busy(evidence: Evidence, policy: PolicySection) -> str:
    return f"{evidence.in_flight} trains at this moment" if evidence.in_flight else ""


def _spent(evidence: Evidence, policy: PolicySection) -> str:
    return f"the day's budget of {policy.daily_budget} is spent" if evidence.trainings_today >= policy.daily_budget else ""


def _quiet(evidence: Evidence, policy: PolicySection) -> str:
    """Why no trigger fired: how far each was from it."""
    said = ["asked for by a person, which retraining.policy.on_demand turns off"] if evidence.on_demand else []
    if policy.performance is not None:
        said.append(_standing(evidence.figure, policy.performance))
    if policy.drift is not None:
        newest = evidence.drifted[-policy.drift.of :]
        count = sum(columns >= policy.drift.columns for _, columns in newest)
        said.append(f"{count} of {len(newest)} windows drift, {policy.drift.windows} are needed")
    if policy.schedule is not None:
        age = "of unknown age" if evidence.trained_until is None else f"{(evidence.as_of - evidence.trained_until).days} days old"
        said.append(f"newest training row {age}, the schedule says {policy.schedule}")
    if policy.labels is not None or policy.minimum_labels:
        said.append(f"{evidence.new_labels:,} new labels" + (f", {policy.labels:,} are enough" if policy.labels is not None else ""))
    return "no trigger fired" + (f" ({'; '.join(said)})" if said else "")


def _standing(figure: Figure | None, limit: PerformanceTrigger) -> str:
    """A figure beside its limits."""
    wanted = " and ".join(f"{word} {value:g}" for word, value in (("at least", limit.at_least), ("at most", limit.at_most)) if value is not None)
    if figure is None or figure.value is None:
        return f"{limit.metric} unknown, {wanted} is good enough"
    few = f" of only {figure.rows:,} rows" if figure.rows < limit.minimum_rows else ""
    return f"{figure.kind} {figure.metric} {figure.value:.4f} in {figure.window}{few}, {wanted} is good enough"


_Rule = Callable[[Evidence, PolicySection], str]
_TRIGGERS: dict[str, _Rule] = {"on demand": _on_demand, "performance": _performance, "drift": _drift, "schedule": _schedule, "labels": _labels}
_BRAKES: tuple[_Rule, ...] = (_too_few, _busy, _cooldown, _spent)  # who trains at this moment began its cooldown too
