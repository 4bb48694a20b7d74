"""`tune`: a search for a better training, one MLflow run with a run below it for each trial."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from sparkml_ops.config.root import Config
from sparkml_ops.config.tuning import Domain
from sparkml_ops.errors import ContractError
from sparkml_ops.progress import track
from sparkml_ops.records import TrainingSet, TuningResult
from sparkml_ops.runkey import RunKey
from sparkml_ops.tracking import Run, Tracking
from sparkml_ops.verbs.newest import newest
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work

if TYPE_CHECKING:
    from sparkml_ops.training.tuning.trial import Trial
    from sparkml_ops.training.tuning.tune import Tuned

__all__ = ["perform", "plan", "run"]

_LEADERS = 10


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    training_set: TrainingSet | None = None,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> TuningResult:
    """Search `tuning.space` on a training set, by default the project's newest as of then.

    Raises:
        ContractError: There is nothing to search, no row to judge a trial by, or no trial is complete.
    """
    return perform(Work(config, spark), training_set=training_set, as_of=as_of, generation=generation).record


def perform(
    work: Work, *, training_set: TrainingSet | None = None, as_of: datetime | str | None = None, generation: Generation = 0
) -> Outcome[TuningResult]:
    """Run the verb and say how it ended."""
    chosen = training_set or newest(work, "training-set", TrainingSet, as_of)
    return outcome(work, _task(work, chosen, generation), as_of=as_of)


def plan(work: Work, *, training_set: TrainingSet | None = None, as_of: datetime | str | None = None, generation: Generation = 0) -> Plan:
    """What the verb would read and write, and what it would try."""
    chosen = training_set or newest(work, "training-set", TrainingSet, as_of)
    tuning, training = work.sections.tuning, work.sections.training
    reads = [f"table {chosen.snapshot.table}@{chosen.snapshot.version}, splits train and validation"]
    writes = [f"MLflow runs in {work.sections.mlflow.experiment or work.config.project}", f"objects under {work.sections.storage.root}/tuning"]
    where = f"{training.workers} workers by {training.backend}, one trial after the other"
    if tuning.parallel > 1:
        where = f"{tuning.parallel} at a time, each by one rank in one Spark task"
    budget = f"{tuning.trials} trials" + ("" if tuning.minutes is None else f" or {tuning.minutes:g} minutes")
    judged = f"{tuning.direction} {tuning.metric} in at most {training.epochs} epochs, sampler {tuning.sampler}, pruner {tuning.pruner}"
    notes = [f"{budget}: {where}", judged, *(f"{key}: {_shown(domain)}" for key, domain in tuning.searched.items())]
    return make_plan(work, _task(work, chosen, generation), reads=reads, writes=writes, notes=notes, as_of=as_of)


def _task(work: Work, chosen: TrainingSet, wanted: Generation) -> Task[TuningResult]:
    key = generation(work, RunKey("tune", work.config.project, chosen.id), wanted)

    def check(_: datetime) -> None:
        if not work.sections.tuning.searched:
            raise ContractError(
                "an empty tuning.space",
                expected="at least one key of training with its values",
                mend="add one, as training.optimizer.lr: {low: 0.0001, high: 0.1, log: true}",
            )

    def body(run_id: str, now: datetime) -> TuningResult:
        from sparkml_ops.training.tuning.tune import study_name, tune  # torch and Optuna, which no plan waits for

        training, tuning = work.sections.training, work.sections.tuning
        log = _Log(
            work.tracking,
            work.tracking.run(key.text, name=f"{work.config.project} tune {chosen.id}", tags={"training_set": chosen.id, "verb": "tune"}),
            study_name(chosen, training, tuning),
        )
        with track("tune", tuning.trials) as advance:
            tuned = tune(
                work.spark,
                work.tables,
                work.storage,
                chosen,
                training,
                tuning,
                log,
                say=lambda trials: advance(len(trials), _state(trials, tuning.direction)),
            )
        log.run.finish("FINISHED")
        return _result(log.run.run_id, chosen, tuned, tuning.metric, tuning.direction)

    return Task(key, TuningResult, ("training", "tuning"), body, check=check)


@dataclass(frozen=True)
class _Log:
    """The run of the study, and those of its trials below it."""

    tracking: Tracking
    run: Run
    study: str

    def trial(self, number: int) -> Run:
        return self.tracking.run(f"tune/{self.study}/{number}", name=f"trial {number}", tags={"verb": "tune"}, parent=self.run.run_id)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.run.log_params(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.run.log_metrics(metrics, step)

    def log_figure(self, name: str, path: Path | str) -> None:
        self.run.log_figure(name, path)

    def log_document(self, name: str, document: Any) -> None:
        self.run.log_document(name, document)


def _result(run_id: str, training_set: TrainingSet, tuned: Tuned, metric: str, direction: str) -> TuningResult:
    from sparkml_ops.training.tuning.trial import ranked

    states = Counter(trial.state for trial in tuned.trials)
    leaders = [
        {"number": trial.number, "value": trial.value, "params": dict(trial.params), "seconds": round(trial.seconds, 3), "epochs": len(trial.epochs)}
        for trial in ranked(tuned.trials, direction)[:_LEADERS]
    ]
    return TuningResult(
        run_id,
        training_set,
        tuned.folder,
        metric,
        tuned.best.value or 0.0,
        tuple(f"{key}={_text(value)}" for key, value in tuned.best.params.items()),
        {state: states[state] for state in ("complete", "pruned", "failed")},
        tuple(leaders),
        {key: round(share, 4) for key, share in tuned.importances.items()},
        tuple(asdict(candidate) for candidate in tuned.candidates),
        None if tuned.chosen is None else tuned.chosen.family,
    )


def _state(trials: tuple[Trial, ...], direction: str) -> str:
    from sparkml_ops.training.tuning.trial import ranked

    leaders = ranked(trials, direction)
    return f"best {leaders[0].value:.6g} by trial {leaders[0].number}" if leaders else "none complete yet"


def _shown(domain: Domain) -> str:
    if domain.choices is not None:
        return f"one of {', '.join(map(_text, domain.choices))}"
    return (
        f"{domain.low:g} to {domain.high:g}"
        + (", by order of magnitude" if domain.log else "")
        + (f", in steps of {domain.step:g}" if domain.step else "")
    )


def _text(value: Any) -> str:
    """A value as `--set` reads it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
