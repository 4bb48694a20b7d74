"""`predictions rollback`: a scoring taken back by its run, and what may be scored again after it."""

from __future__ import annotations

from datetime import datetime

from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from sparkml_ops import scoring
from sparkml_ops.config.root import Config
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import WITHDRAW, FinishedRun
from sparkml_ops.records import ScoredWindow, Withdrawal
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.newest import find_run
from sparkml_ops.verbs.outcome import Outcome, Plan, Task, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work

__all__ = ["perform", "plan", "run"]


def run(spark: SparkSession | None, config: Config, *, scoring_run: str, as_of: datetime | str | None = None) -> Withdrawal:
    """Put back what a window and slot held before a scoring, whatever was committed since to other windows and slots.

    The same `score` then scores again; `drift` and `monitor` of the window are repeated with `--generation next`.

    Args:
        scoring_run: Id of the scoring's run, its beginning, or its key.

    Raises:
        ContractError: No such run, a later scoring of the same window and slot stands, or the earlier files are gone.
    """
    return perform(Work(config, spark), scoring_run=scoring_run, as_of=as_of).record


def perform(work: Work, *, scoring_run: str, as_of: datetime | str | None = None) -> Outcome[Withdrawal]:
    """Run the verb and say how it ended."""
    return outcome(work, _task(work, scoring_run), as_of=as_of)


def plan(work: Work, *, scoring_run: str, as_of: datetime | str | None = None) -> Plan:
    """What the verb would read and write."""
    task = _task(work, scoring_run)
    target, window, slot = task.key.target, task.key.window, task.key.slot
    scored = _record(find_run(work, scoring_run, verb="score"))
    reads = [f"table {target} at version {scored.snapshot.version - 1}"] if scored.snapshot.version else []
    return make_plan(work, task, reads=reads, writes=[f"table {target} ({window}, {slot})"], as_of=as_of)


def _task(work: Work, scoring_run: str) -> Task[Withdrawal]:
    found = find_run(work, scoring_run, verb="score")
    same = [other for other in work.ledger.runs({"project": found.key.project, "target": found.key.target}) if _place(other) == _place(found)]
    done = next((other for other in same if other.key.verb == WITHDRAW and other.record["run_id"] == found.run_id), None)
    number = max(other.key.generation for other in same) + 1 if done is None else done.key.generation
    key = RunKey(WITHDRAW, found.key.project, found.key.target, found.key.window, found.key.slot, number)

    def body(run_id: str, now: datetime) -> Withdrawal:
        return scoring.withdraw(work.tables, found.key.target, _record(found), run_id=found.run_id, generation=found.key.generation, number=number)

    def check(now: datetime) -> None:
        standing = [other for other in work.ledger.standing({"verb": "score", "target": found.key.target}) if _place(other) == _place(found)]
        newest = max(standing, key=lambda other: other.key.generation)
        if newest.run_id != found.run_id:
            raise ContractError(
                f"run {found.run_id[:8]} of window {found.key.window}, slot {found.key.slot}, generation {found.key.generation}",
                expected=f"the newest scoring that stands there: run {newest.run_id[:8]}, generation {newest.key.generation}",
                mend="take that one back first",
            )

    return Task(key, Withdrawal, (), body, check=check)


def _place(run: FinishedRun) -> tuple[str, str, str]:
    return run.key.target, run.key.window, run.key.slot


def _record(run: FinishedRun) -> ScoredWindow:
    return TypeAdapter(ScoredWindow).validate_python(run.record)
