"""`reproduce`: an earlier training once more, from what it recorded, and whether the same came out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from sparkml_ops.environment import differences, environment
from sparkml_ops.errors import ContractError, TableNotFound
from sparkml_ops.progress import track
from sparkml_ops.records import Reproduction, TrainingResult, TrainingSet
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.newest import find_run
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.train import begun_from
from sparkml_ops.verbs.work import Work

if TYPE_CHECKING:
    from sparkml_ops.training.conditions import Conditions
    from sparkml_ops.training.run import Trained

__all__ = ["perform", "plan"]


def perform(work: Work, *, run: str, as_of: datetime | str | None = None, generation: Generation = 0) -> Outcome[Reproduction]:
    """Train again with the recorded training set, settings and seeds, and compare weights and metrics.

    Args:
        run: The training's id in the ledger or in MLflow, the beginning of one, or its run key.

    Raises:
        ContractError: No such training, or it left no record of how it was made.
    """
    return outcome(work, _task(work, _trained(work, run), generation), as_of=as_of)


def plan(work: Work, *, run: str, as_of: datetime | str | None = None, generation: Generation = 0) -> Plan:
    """What the verb would read and write."""
    result = _trained(work, run)
    conditions, chosen = _conditions(work, result), result.training_set
    reads = [f"table {chosen.snapshot.table}@{chosen.snapshot.version}", *(f"table {name}@{version}" for name, version in chosen.inputs.items())]
    writes = [f"MLflow run in {work.sections.mlflow.experiment or work.config.project}", f"objects under {work.sections.storage.root}/training"]
    settings = conditions.settings
    notes = [f"{settings.workers} workers by {settings.backend}, {settings.epochs} epochs, to meet weights with digest {conditions.digest[:16]}"]
    return make_plan(work, _task(work, result, generation), reads=reads, writes=writes, notes=notes, as_of=as_of)


def _task(work: Work, result: TrainingResult, wanted: Generation) -> Task[Reproduction]:
    key = generation(work, RunKey("reproduce", work.config.project, result.run_id), wanted)

    def body(run_id: str, now: datetime) -> Reproduction:
        then = _conditions(work, result)
        rows = _proved(work, result.training_set)
        trained, mlflow_run = _again(work, key, result, then)
        metrics = _changed(result.metrics, trained.metrics)
        return Reproduction(
            result.run_id,
            mlflow_run,
            result.training_set,
            rows=rows,
            digest=then.digest,
            digest_again=trained.digest,
            metrics=metrics,
            environment=differences(then.environment, environment(work.spark.version)),
            equal=trained.digest == then.digest and not metrics,
        )

    return Task(key, Reproduction, (), body)


def _again(work: Work, key: RunKey, result: TrainingResult, then: Conditions) -> tuple[Trained, str]:
    from sparkml_ops.training.run import train  # torch: seconds that no plan and no finished run waits for

    tags = {"training_set": result.training_set.id, "verb": "reproduce", "reproduces": result.run_id}
    run_log = work.tracking.run(key.text, name=f"reproduce {result.run_id[:8]}", tags=tags)
    with track("reproduce", then.settings.epochs) as advance:
        trained = train(
            work.spark,
            work.tables,
            work.storage,
            result.training_set,
            then.settings,
            run_log,
            run=key.text.replace("/", "-"),
            warm_start=begun_from(work, result.warm_start, stateful=result.stateful),
            on_report=lambda report: advance(int(report.get("epoch", 0)), ""),
        )
    run_log.finish("FINISHED")
    return trained, run_log.run_id


def _proved(work: Work, training_set: TrainingSet) -> str:
    """Whether the rows follow from their inputs still; where an input is gone, the stored rows have to do."""
    try:
        work.store.rebuild(training_set.id)
    except TableNotFound as error:
        return f"as stored: {error.found}"
    return "rebuilt from their inputs"


def _conditions(work: Work, result: TrainingResult) -> Conditions:
    from sparkml_ops.training.conditions import Conditions

    return Conditions.of(work.storage, result.checkpoint)


def _changed(then: Mapping[str, float], now: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    # NaN is not equal to itself, and here it is the same.
    return {name: pair for name, pair in differences(then, now).items() if repr(pair[0]) != repr(pair[1])}


def _trained(work: Work, text: str) -> TrainingResult:
    found = find_run(work, text, verb="train")
    if found.key.slot.startswith("object-"):
        raise ContractError(
            f"a training of a notebook's object ({found.key.slot})", expected="a network that the record names", mend="give it an entry point"
        )
    return TypeAdapter(TrainingResult).validate_python(found.record)
