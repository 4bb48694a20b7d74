"""`drift`: a scored window against the training set of the model that scored it, or against another window."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from sparkml_ops.config.root import Config
from sparkml_ops.drift import DriftReport
from sparkml_ops.drift.measure import measure
from sparkml_ops.drift.stored import stored_report
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.logs import logger
from sparkml_ops.records import ScoredWindow, Snapshot
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import score, training_set
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.skew import replay
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["perform", "plan", "run"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    window: str,
    slot: str = "champion",
    generation: Generation = 0,
    as_of: datetime | str | None = None,
) -> DriftReport:
    """Compare what the model saw in a window with what it was trained on, or with another window (`drift.reference`).

    Args:
        window: A window that has been scored.
        slot: Slot of the predictions; its model carries the reference.

    Raises:
        ContractError: The window, or the one that it is compared with, has not been scored in this slot.
    """
    return perform(Work(config, spark), window=window, slot=slot, generation=generation, as_of=as_of).record


def perform(
    work: Work, *, window: str, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None, renew: bool = False
) -> Outcome[DriftReport]:
    """Run the verb and say how it ended.

    Args:
        renew: Fix the edges of all columns anew first (`sparkml-ops edges renew`).
    """
    return outcome(work, _task(work, Window.parse(window), slot, generation, renew=renew), as_of=as_of)


def plan(work: Work, *, window: str, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None) -> Plan:
    """What the verb would read and write."""
    parsed = Window.parse(window)
    scored, other = _scored(work, parsed, slot), _other(work, parsed)
    reference = _record(scored).model.training_set.snapshot
    base = f"reference {reference.table}@{reference.version} (split train)" if other is None else f"scoring set of {other.label}"
    reads = [base, f"scoring set of {window}"]
    return make_plan(work, _task(work, parsed, slot, generation), reads=reads, writes=["table profile_state", "table drift_metrics"])


def _task(work: Work, window: Window, slot: str, wanted: Generation, *, renew: bool = False) -> Task[DriftReport]:
    project, settings = work.config.project, work.sections.drift
    key = generation(work, RunKey("drift", project, work.sections.scoring.target, window.label, slot), wanted)

    def body(run_id: str, now: datetime) -> DriftReport:
        scored, declared, other = _scored(work, window, slot), training_set.declaration(work), _other(work, window)
        current = score.scoring_set(work, window, scored.key.generation, as_of=scored.as_of)
        if other is None:
            reference, where = _record(scored).model.training_set.snapshot, {"split": "train"} if declared.split is not None else None
        else:
            before = _scored(work, other, slot)
            reference, where = score.scoring_set(work, other, before.key.generation, as_of=before.as_of), {"window": other.label}
        return measure(
            work.spark,
            work.tables,
            reference=reference,
            reference_where=where,
            reference_window=None if other is None else other.label,
            current=current,
            current_where={"window": window.label},
            exclude=(*declared.row_key, declared.time, *score.keys_alone(declared)),
            project=project,
            window=window.label,
            slot=slot,
            run_id=run_id,
            as_of=now,
            settings=settings,
            generation=key.generation,
            renew=renew,
            skew=_skew(work, current, window, now),
        )

    def restore(document: Mapping[str, Any]) -> DriftReport:
        snapshot = TypeAdapter(Snapshot).validate_python(document["snapshot"])
        return stored_report(work.tables, project, window.label, snapshot=snapshot, slot=slot, settings=settings)

    return Task(key, DriftReport, ("drift",), body, restore=restore)


def _skew(work: Work, current: Snapshot, window: Window, now: datetime) -> dict[str, float] | None:
    """Share of the rows by column that a replay gives other values; None where none is asked for."""
    if work.sections.drift.replay is None:
        return None
    found = replay(work, current, window, as_of=now)
    logger.info(
        "drift: %d of %d rows of %s differ in a replay, %d came late, %d are gone", found.differing, found.rows, window.label, found.late, found.gone
    )
    return {name: found.of(name) for name in found.compared}


def _other(work: Work, window: Window) -> Window | None:
    """The window that is the reference; None where the training set is."""
    match work.sections.drift.reference:
        case "training":
            return None
        case "previous":
            return window.previous()
        case "week" | "year" as span:
            return window.ago(span)
        case label:
            return Window.parse(label)


def _record(scored: FinishedRun) -> ScoredWindow:
    return TypeAdapter(ScoredWindow).validate_python(scored.record)


def _scored(work: Work, window: Window, slot: str) -> FinishedRun:
    """The newest scoring of a window and slot."""
    where = {"verb": "score", "project": work.config.project, "target": work.sections.scoring.target}
    runs = [run for run in work.ledger.standing(where) if (run.key.window, run.key.slot) == (window.label, slot)]
    if not runs:
        raise ContractError(
            f"no scores of window {window.label} in slot {slot}",
            expected="a scored window",
            mend=f"run `sparkml-ops score --project {work.config.project} --window {window.label} --slot {slot}` first",
        )
    return runs[-1]
