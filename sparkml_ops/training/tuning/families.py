"""Which family of models: the best trial of each beside a logistic regression, by the metric and by the time of a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pyarrow as pa
from pyspark.sql import DataFrame

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.config.tuning import FAMILY
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.retriever import Applied
from sparkml_ops.performance.contest import Contest, Contestant, hold
from sparkml_ops.storage import Storage
from sparkml_ops.training.plan import Group, completed, open_parquet
from sparkml_ops.training.tuning.trial import StudyFolder, Trial, ranked

__all__ = ["LOGISTIC", "Candidate", "best_of_families", "candidates", "choose", "speeds"]

LOGISTIC = "logistic"
_ROUNDS = 7
_ROWS = 16_384


@dataclass(frozen=True)
class Candidate:
    """The best model of a family.

    Args:
        family: Of `training.model.kind`, or `logistic`: the regression that Newton's method fits.
        trial: Number of its trial; None of the logistic regression.
        value: The metric on the validation split, measured for all candidates in the same way.
        microseconds: Time of a prediction, a row, on this machine.
    """

    family: str
    trial: int | None
    value: float
    microseconds: float


def choose(found: Sequence[Candidate], direction: str, margin: float) -> Candidate:
    """Of the candidates whose metric is within a margin of the best one, the fastest.

    >>> near = [Candidate("mlp", 3, 0.500, 9.0), Candidate("linear", 1, 0.504, 2.0)]
    >>> choose(near, "minimize", 0.01).family, choose(near, "minimize", 0.001).family
    ('linear', 'mlp')
    """
    sign = 1 if direction == "minimize" else -1
    best = min(sign * candidate.value for candidate in found)
    return min((candidate for candidate in found if sign * candidate.value <= best + margin), key=lambda near: (near.microseconds, sign * near.value))


def best_of_families(trials: Sequence[Trial], direction: str) -> dict[str, Trial]:
    """The best complete trial of each family."""
    found: dict[str, Trial] = {}
    for trial in ranked(trials, direction):
        found.setdefault(trial.params[FAMILY], trial)
    return found


def candidates(
    validation: DataFrame,
    groups: Sequence[Group],
    study: StudyFolder,
    trials: Mapping[str, Trial],
    logistic: str,
    training: TrainingSection,
    metric: str,
) -> tuple[Candidate, ...]:
    """Measure the best of each family and the logistic regression.

    Args:
        validation: Rows of the validation split.
        groups: Row groups that hold some.
        study: Where the models of the trials lie.
        trials: Family to its best trial.
        logistic: Storage folder of the logistic regression.
        training: Label, seed, bootstrap.
        metric: `validation_loss` or `validation_auc`.
    """
    places = {family: study.model(trial.number) for family, trial in trials.items()} | {LOGISTIC: logistic}
    with TemporaryDirectory() as scratch:
        models = {family: _fetched(study.storage, place, Path(scratch) / family) for family, place in places.items()}
    columns = {family: tuple(name for name, _ in model.spec.inputs) for family, model in models.items()}
    values = {}
    for family, place in places.items():
        contestant = Contestant(family, place, columns[family])
        found = hold(
            validation,
            Contest(study.storage, (contestant,), training.label, replicates=training.replicates, confidence=training.confidence, seed=training.seed),
        )
        measured = found.measured[family]
        values[family] = measured.loss / measured.rows if metric == "validation_loss" else measured.counts.auc
    spent = speeds(models, _sample(groups, sorted({name for names in columns.values() for name in names})))
    numbers = {family: trial.number for family, trial in trials.items()}
    return tuple(Candidate(family, numbers.get(family), float(values[family]), spent[family]) for family in places)


def speeds(models: Mapping[str, Applied], rows: pa.RecordBatch, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Microseconds of a prediction a row: the median of some rounds in which the models take turns."""
    spent: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(1 + _ROUNDS):
        for name, model in models.items():
            started = clock()
            model.predict(rows)
            spent[name].append(clock() - started)
    # The first round warms caches up.
    return {name: median(times[1:]) * 1e6 / rows.num_rows for name, times in spent.items()}


def _fetched(storage: Storage, place: str, folder: Path) -> Applied:
    for name in (artifact.WEIGHTS, artifact.DESCRIPTION):
        storage.fetch(f"{place}/{name}", folder / name)
    return artifact.load(folder)


def _sample(groups: Sequence[Group], columns: Sequence[str]) -> pa.RecordBatch:
    """Rows of the first group: their split is no matter for how long they take."""
    if not groups:
        raise ContractError("no row group to predict", expected="validation rows", mend="add training_set.split.validation")
    with open_parquet(groups[0].path) as file:
        rows = file.read_row_group(groups[0].index, columns=list(columns), use_threads=False).slice(0, _ROWS)
    return completed(rows, groups[0].constants).select(list(columns)).combine_chunks().to_batches()[0]
