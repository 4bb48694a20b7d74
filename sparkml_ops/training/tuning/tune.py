"""A study of a training set: prepared once, searched, drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from feature_store.delta import Tables
from feature_store.records import TrainingSet
from sparkml_ops.config.training import OPERATIONAL, TrainingSection
from sparkml_ops.config.tuning import TuningSection
from sparkml_ops.errors import ContractError
from sparkml_ops.interruption import Interruptible
from sparkml_ops.storage import Storage
from sparkml_ops.training.job import Job, plans_of
from sparkml_ops.training.loop import TrainingTask
from sparkml_ops.training.plan import SPLIT
from sparkml_ops.training.preprocessing import Fitted, shaped
from sparkml_ops.training.run import RunLog, flat
from sparkml_ops.training.tuning.families import LOGISTIC, Candidate, best_of_families, candidates, choose
from sparkml_ops.training.tuning.pictures import draw_search
from sparkml_ops.training.tuning.runners import InTask, Launched, Runner
from sparkml_ops.training.tuning.search import Search, TrialLog
from sparkml_ops.training.tuning.trial import StudyFolder, Trial, best_trial
from sparkml_ops.training.tuning.verdict import Asking
from sparkml_ops.training.weighting import row_weights

__all__ = ["SearchLog", "Tuned", "study_name", "tune"]

# They decide what is fitted to the rows; of all other keys the fitted preprocessing is the same.
_FITTED = ("vocabulary", "minimum_count")
# They decide no trial: with others of them a study goes on with what it has.
_BUDGET = {"trials", "minutes", "parallel", "margin"}


class SearchLog(RunLog, Protocol):
    """Where the numbers of a study go."""

    def trial(self, number: int) -> TrialLog:
        """The log of one trial."""


@dataclass(frozen=True)
class Tuned:
    """A finished search.

    Args:
        best: The best complete trial.
        trials: All trials, in order.
        folder: Storage folder of the study.
        importances: Share of each key in how much the metric varies; empty where there is too little to tell.
        candidates: With automl the best of each family and the logistic regression, else empty.
        chosen: That of the candidates which was chosen; `best` is then its trial, or the best linear one's where the logistic regression was.
    """

    best: Trial
    trials: tuple[Trial, ...]
    folder: str
    importances: Mapping[str, float]
    candidates: tuple[Candidate, ...] = ()
    chosen: Candidate | None = None


def study_name(training_set: TrainingSet, training: TrainingSection, tuning: TuningSection) -> str:
    """Name of the study of these rows, settings and space; more trials or minutes are the same study."""
    document: dict[str, Any] = {
        "training": training.model_dump(mode="json", exclude=OPERATIONAL),
        "tuning": tuning.model_dump(mode="json", exclude=_BUDGET),
        "rows": training_set.content_hash,
    }
    if training.collectives.local_steps > 1:
        document["workers"] = training.ranks
    return f"{training_set.id}-{hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]}"


def tune(
    spark: SparkSession,
    tables: Tables,
    storage: Storage,
    training_set: TrainingSet,
    training: TrainingSection,
    tuning: TuningSection,
    log: SearchLog,
    *,
    say: Callable[[tuple[Trial, ...]], None] = lambda _: None,
) -> Tuned:
    """Search, or go on with a study that was begun; the evaluation split is never read.

    Args:
        spark: The session whose executors train.
        tables: Where the training set lies.
        storage: For the study, under `tuning/<study>`; readable by executors.
        training_set: Rows with the splits `train` and `validation`.
        training: What each trial starts from.
        tuning: Space, sampler, pruner, budget.
        log: Receives settings, trials and pictures.
        say: Called with all finished trials after each.

    Raises:
        ContractError: There is no row to judge a trial by, or no trial is complete.
        RankFailed: A trial raised for another reason than its values.
    """
    name = study_name(training_set, training, tuning)
    folder = f"tuning/{name}"
    rows = _Rows(spark, tables, storage, training_set, training, folder)
    rows.check()
    log.log_params({"training_set": training_set.id, "study": folder, **flat(tuning.model_dump(mode="json", exclude_none=True))})
    runner: Runner = Launched(spark, storage) if tuning.parallel == 1 else InTask(Interruptible(spark, f"sparkml-ops tune {name}"))
    study = StudyFolder(storage, folder)
    search = Search(study, training, tuning, rows.task, runner, log.trial, say)
    trials = search.run()
    found = Tuned(best_trial(trials, tuning.direction), trials, folder, search.sampling.importances())
    if tuning.automl:
        found = _with_family(found, rows, study, tuning)
    log.log_metrics({"best_value": found.best.value or 0.0, "best_trial": float(found.best.number)}, step=len(trials))
    for candidate in found.candidates:
        log.log_metrics({f"{candidate.family}_value": candidate.value, f"{candidate.family}_microseconds": candidate.microseconds}, step=len(trials))
    with TemporaryDirectory() as scratch:
        picture = Path(scratch) / "search.png"
        draw_search(trials, tuning, found.importances, picture)
        log.log_figure("search", picture)
    return found


def _with_family(found: Tuned, rows: _Rows, study: StudyFolder, tuning: TuningSection) -> Tuned:
    """The choice among the families; only the models of the candidates stay."""
    best = best_of_families(found.trials, tuning.direction)
    measured = rows.measure(study, best, tuning.metric)
    chosen = choose(measured, tuning.direction, tuning.margin)
    # What `train` can make of the logistic regression is the linear model, by gradient descent.
    family = "linear" if chosen.family == LOGISTIC and "linear" in best else chosen.family
    for trial in found.trials:
        if trial.number not in {kept.number for kept in best.values()}:
            study.storage.remove(study.model(trial.number))
    return replace(found, best=best.get(family, found.best), candidates=measured, chosen=chosen)


@dataclass
class _Rows:
    """The rows of a study, read for planning once and fitted once for each setting that the fit depends on."""

    spark: SparkSession
    tables: Tables
    storage: Storage
    training_set: TrainingSet
    training: TrainingSection
    folder: str

    def __post_init__(self) -> None:
        self._fits: dict[str, Fitted] = {}
        self._groups = self._job(self.training, "rows").groups

    def check(self) -> None:
        """Refuse rows that a trial cannot be judged on, or that cannot stay at their sites."""
        if not sum(group.rows for group in self._groups["validation"]):
            raise ContractError(
                f"training set {self.training_set.id} without labelled rows of split validation",
                expected="some: a trial is judged on them",
                mend="add training_set.split.validation, and make the training set anew",
            )
        if self.training.sites:
            plans_of(self._groups, self.training)

    def task(self, settings: TrainingSection, checkpoints: str, stop: Asking | None) -> TrainingTask:
        """The task of a trial."""
        fitted = self._fitted(settings)
        weights = row_weights(settings.class_weights, fitted.class_rows, fitted.weights)
        spec = shaped(fitted.spec, settings)
        items = self._fit_job(settings).catalogue(spec)
        return TrainingTask(spec, plans_of(self._groups, settings), settings, self.storage, checkpoints, None, weights, stop, catalogue=items)

    def measure(self, study: StudyFolder, trials: Mapping[str, Trial], metric: str) -> tuple[Candidate, ...]:
        """The best trial of each family and a logistic regression on the same rows, on the validation split."""
        job = self._fit_job(self.training)
        validation, groups = job.frame().where(F.col(SPLIT) == "validation"), self._groups["validation"]
        return candidates(validation, groups, study, trials, job.baseline(job.fit()), self.training, metric)

    def _fitted(self, settings: TrainingSection) -> Fitted:
        job = self._fit_job(settings)
        if job.folder not in self._fits:
            self._fits[job.folder] = job.fit()
        return self._fits[job.folder]

    def _fit_job(self, settings: TrainingSection) -> Job:
        values: dict[str, Any] = {name: getattr(settings, name) for name in _FITTED}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
        return self._job(self.training.model_copy(update=values), f"fit-{digest}")

    def _job(self, settings: TrainingSection, name: str) -> Job:
        return Job(self.spark, self.tables, self.storage, self.training_set, settings, f"{self.folder}/{name}")
