"""`train`: data-parallel training on Spark executors, one MLflow run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from sparkml_ops.config.root import Config
from sparkml_ops.errors import ContractError
from sparkml_ops.progress import track
from sparkml_ops.records import ModelVersion, TrainingResult, TrainingSet
from sparkml_ops.runkey import RunKey
from sparkml_ops.tracking import OWN_LOADER
from sparkml_ops.verbs.newest import newest
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work

if TYPE_CHECKING:
    from sparkml_ops.model.module import MakeModule
    from sparkml_ops.training.warm import WarmStart

__all__ = ["begun_from", "perform", "plan", "run"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    training_set: TrainingSet | None = None,
    warm_start: ModelVersion | None = None,
    stateful: bool = False,
    model: MakeModule | None = None,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> TrainingResult:
    """Train on a training set, by default the project's newest as of then, and evaluate on its evaluation split.

    Args:
        warm_start: A registered version whose weights and preprocessing the training goes on from; None: from scratch.
        stateful: Whether its optimiser's state goes on too, as if the training had never ended.
        model: What makes a network of one's own from a `FeatureDescription`; None: what `training.model` says.

    Raises:
        ContractError: The version does not fit the training set or the settings, or its files are not what was registered; both a version and a
            network of one's own.
    """
    work = Work(config, spark)
    begun = perform(work, training_set=training_set, warm_start=warm_start, stateful=stateful, model=model, as_of=as_of, generation=generation)
    return begun.record


def perform(
    work: Work,
    *,
    training_set: TrainingSet | None = None,
    warm_start: ModelVersion | None = None,
    stateful: bool = False,
    model: MakeModule | None = None,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> Outcome[TrainingResult]:
    """Run the verb and say how it ended."""
    chosen = training_set or newest(work, "training-set", TrainingSet, as_of)
    return outcome(work, _task(work, chosen, warm_start, generation, model, stateful=stateful), as_of=as_of)


def plan(
    work: Work,
    *,
    training_set: TrainingSet | None = None,
    warm_start: ModelVersion | None = None,
    stateful: bool = False,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> Plan:
    """What the verb would read and write."""
    chosen = training_set or newest(work, "training-set", TrainingSet, as_of)
    reads = [f"table {chosen.snapshot.table}@{chosen.snapshot.version}"]
    if warm_start is not None:
        reads.append(f"model {warm_start.name} version {warm_start.version}")
    settings = work.sections.training
    notes = [f"{settings.workers} workers by {settings.backend}, {settings.epochs} epochs of {chosen.rows} rows (all splits)"]
    writes = [f"MLflow run in {work.sections.mlflow.experiment or work.config.project}", f"objects under {work.sections.storage.root}/training"]
    return make_plan(work, _task(work, chosen, warm_start, generation, stateful=stateful), reads=reads, writes=writes, notes=notes, as_of=as_of)


def _task(
    work: Work, chosen: TrainingSet, start: ModelVersion | None, wanted: Generation, model: MakeModule | None = None, *, stateful: bool = False
) -> Task[TrainingResult]:
    if start is not None and model is not None:
        raise ContractError("a version to go on from and a network of one's own", expected="one of the two", mend="leave one out")
    if stateful and start is None:
        raise ContractError("a stateful training without a version to go on from", expected="warm_start", mend="name it, or leave stateful out")
    slot = "" if start is None else f"{'stateful' if stateful else 'warm'}-{start.name}-{start.version}"
    if model is not None:
        slot = f"object-{getattr(model, '__name__', type(model).__name__)}"
    key = generation(work, RunKey("train", work.config.project, chosen.id, slot=slot), wanted)

    def body(run_id: str, now: datetime) -> TrainingResult:
        from sparkml_ops.training.run import train  # torch: seconds that no plan and no finished run waits for

        settings, warm = work.sections.training, begun_from(work, start, stateful=stateful)
        run_log = work.tracking.run(key.text, name=f"{work.config.project} {chosen.id}", tags={"training_set": chosen.id, "verb": "train"})
        with track("train", settings.epochs) as advance:
            trained = train(
                work.spark,
                work.tables,
                work.storage,
                chosen,
                settings,
                run_log,
                run=work.config.hash("training") + "-" + key.text.replace("/", "-"),
                warm_start=warm,
                module=model,
                on_report=lambda report: advance(int(report.get("epoch", 0)), _state(report)),
            )
        run_log.finish("FINISHED")
        return TrainingResult(run_log.run_id, chosen, trained.metrics, trained.artifact, start, stateful)

    return Task(key, TrainingResult, ("training",), body)


def begun_from(work: Work, version: ModelVersion | None, *, stateful: bool = False) -> WarmStart | None:
    """The files of the registered version that a training goes on from, verified; None where it begins anew.

    Args:
        stateful: Whether with its optimiser's state.

    Raises:
        ContractError: They are not what was registered, or no model that `train` made; or nobody kept the optimiser's state.
    """
    from sparkml_ops.training.warm import WarmStart

    if version is None:
        return None
    origin, registered = f"{version.name} version {version.version}", work.tracking.resolve(version.name, version.version)
    if registered.digest != version.digest:
        raise ContractError(f"{origin} with digest {registered.digest}", expected=version.digest, mend="register it again")
    if registered.loader != OWN_LOADER:
        raise ContractError(f"{origin}, which {registered.loader} loads", expected="a model that `train` made", mend="train from scratch")
    moments = _moments(work, registered.run_id, origin) if stateful else None
    rows = next(
        (found.training_set for found in work.store.training_sets() if found.training_set.id == version.training_set.id and found.readable), None
    )
    with TemporaryDirectory() as scratch:
        return WarmStart.read(origin, version.digest, work.tracking.fetch(registered, Path(scratch) / "model"), moments, rows)


def _moments(work: Work, run_id: str, origin: str) -> str:
    """Where the training of a version left its optimiser's state."""
    from sparkml_ops.training.job import MOMENTS

    made = next((run.record for run in work.ledger.runs({"verb": "train"}) if run.record["run_id"] == run_id), None)
    name = None if made is None else f"{str(made['checkpoint']).rpartition('/')[0]}/{MOMENTS}"
    if name is None or not work.storage.exists(name):
        raise ContractError(
            f"{origin}, of whose optimiser no state is kept here",
            expected="the state that its training left under storage.root",
            mend="go on without it: leave stateful out",
        )
    return name


def _state(report: dict[str, object]) -> str:
    losses = (f"{name} {report[name]:.4f}" for name in ("train_loss", "validation_loss") if isinstance(report.get(name), float))
    return ", ".join(losses)
