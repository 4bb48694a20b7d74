"""Studies on Spark: trials in tasks side by side, trials as launches of ranks, their runs in MLflow."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from sklearn.metrics import roc_auc_score
from training_rows import table

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import TrainingSet
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.config.tuning import TuningSection
from sparkml_ops.errors import ContractError
from sparkml_ops.interruption import Interruptible
from sparkml_ops.model import artifact
from sparkml_ops.model.spec import ModelSpec, NumericInput
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Run, Tracking
from sparkml_ops.training.launch import RankContext, RankFailed
from sparkml_ops.training.loop import TrainingTask
from sparkml_ops.training.tuning.families import LOGISTIC, best_of_families
from sparkml_ops.training.tuning.runners import InTask
from sparkml_ops.training.tuning.trial import best_trial
from sparkml_ops.training.tuning.tune import Tuned, tune

TRAINING = TrainingSection(backend="local", epochs=2, batch_size=200, shards=4, minimum_count=5, dtype="float64", model={"hidden": (8,)})
SPACE: dict[str, Any] = {"training.optimizer.lr": {"low": 1e-3, "high": 0.1, "log": True}, "training.model.hidden": {"choices": [[4], [8, 4]]}}
#: The second never learns, the order is the seed's.
GRID = {"training.optimizer.lr": {"choices": [0.02, 1e-9]}}


@dataclass(frozen=True)
class Log:
    """A study's run, and those of its trials below it."""

    tracking: Tracking
    run: Run
    name: str

    def trial(self, number: int) -> Run:
        return self.tracking.run(f"{self.name}/{number}", f"trial {number}", parent=self.run.run_id)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.run.log_params(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.run.log_metrics(metrics, step)

    def log_figure(self, name: str, path: Path | str) -> None:
        self.run.log_figure(name, path)


@dataclass(frozen=True)
class Room:
    """A training set, a storage and a store of runs."""

    spark: SparkSession
    tables: Tables
    training_set: TrainingSet
    tracking: Tracking
    root: Path

    def tune(self, name: str, training: TrainingSection = TRAINING, **options: Any) -> tuple[Tuned, Log]:
        log = Log(self.tracking, self.tracking.run(name, name), name)
        tuning = TuningSection(**{"space": SPACE, "sampler": "random", **options})
        return tune(self.spark, self.tables, self.storage(name), self.training_set, training, tuning, log), log

    def storage(self, name: str) -> Storage:
        return Storage(str(self.root / name))


def made(tables: Tables, spark: SparkSession, name: str, where: str = "true") -> TrainingSet:
    data = table(1200).to_pandas()
    rows = data.astype(object).where(data.notna(), None)
    frame = spark.createDataFrame(rows, "x double, n bigint, c string, label int, split string, row_position bigint").where(where)
    snapshot = tables.overwrite(f"training_set_{name}", frame.coalesce(1).sortWithinPartitions("row_position")).snapshot
    return TrainingSet(name, snapshot, {}, "0" * 16, len(data))


@pytest.fixture(scope="module")
def rows(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, TrainingSet]:
    tables = Tables(spark, Warehouse(root=str(tmp_path_factory.mktemp("rows"))))
    return tables, made(tables, spark, "t")


@pytest.fixture
def room(spark: SparkSession, rows: tuple[Tables, TrainingSet], tracking: Tracking, tmp_path: Path) -> Room:
    return Room(spark, *rows, tracking, tmp_path)


def test_trials_side_by_side_come_to_what_they_come_to_one_by_one(room: Room) -> None:
    """Same draws, same values; one fit for all; a run for each trial below the study's, which has the picture."""
    side, log = room.tune("side", parallel=2, trials=4)
    single, _ = room.tune("single", trials=4)

    assert [trial.params for trial in side.trials] == [trial.params for trial in single.trials]
    assert [trial.epochs for trial in side.trials] == [pytest.approx(trial.epochs, rel=1e-9) for trial in single.trials]
    assert side.best.number == single.best.number == best_trial(single.trials, "minimize").number
    names = room.storage("side").list("tuning")
    assert sum(name.endswith("/spec.json") for name in names) == 1
    assert not [name for name in names if "checkpoints" in name or "/asked/" in name]
    client = MlflowClient(tracking_uri=room.tracking.uri)
    parent = client.get_run(log.run.run_id)
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{log.run.run_id}'")
    assert len(children) == 4
    assert parent.data.metrics["best_value"] == side.best.value
    assert [item.path for item in client.list_artifacts(log.run.run_id)] == ["search.png"]
    for child in children:
        trial = side.trials[int(child.info.run_name.removeprefix("trial "))]
        assert child.data.params["training.optimizer.lr"] == str(trial.params["training.optimizer.lr"])
        assert [item.value for item in client.get_metric_history(child.info.run_id, "validation_loss")] == list(trial.epochs)
        assert child.info.status == "FINISHED"


def test_the_ranks_of_a_pruned_trial_stop(room: Room) -> None:
    """Two real ranks a trial: the one that does not learn ends after one epoch, the other has all three, as one rank would have them."""
    training = TRAINING.model_copy(update={"backend": "ddp", "workers": 2, "epochs": 3})
    found, log = room.tune("ranks", training, space=GRID, sampler="grid", pruner="median", spared_trials=1, seed=first_learns())
    local, _ = room.tune("local", TRAINING.model_copy(update={"epochs": 3}), space=GRID, sampler="grid", trials=1, seed=first_learns())

    assert [(trial.state, len(trial.epochs)) for trial in found.trials] == [("complete", 3), ("pruned", 1)]
    assert found.trials[0].epochs == pytest.approx(local.trials[0].epochs, rel=1e-9)
    client = MlflowClient(tracking_uri=room.tracking.uri)
    child = room.tracking.run(f"{log.name}/1", "", parent=None).run_id
    assert len(client.get_metric_history(child, "train_loss")) == 1
    assert room.storage("ranks").list("training") == []


def first_learns() -> int:
    """A seed under which the grid begins with the first choice."""
    return next(seed for seed in range(9) if np.random.default_rng(seed).permutation(2)[0] == 0)


def test_rows_without_validation_are_refused(room: Room, spark: SparkSession) -> None:
    """Before a worker starts: there is nothing to judge a trial by."""
    bare = made(room.tables, spark, "bare", "split <> 'validation'")

    with pytest.raises(ContractError, match="without labelled rows of split validation"):
        Room(spark, room.tables, bare, room.tracking, room.root).tune("bare")


def test_a_trial_in_a_task_tells_its_own_fault(room: Room) -> None:
    """Type, message and traceback of the task, and no try of Spark's own."""
    task = TrainingTask(ModelSpec("linear", (NumericInput("x", "double", 0.0, 0.0, 1.0),), ()), {}, TRAINING, room.storage("fault"), "f")
    with pytest.raises(RankFailed, match="KeyError") as failed:
        InTask(Interruptible(room.spark, "tag"))(task, "trial 7")

    assert "Traceback" in failed.value.traceback
    assert "trial 7" in str(failed.value)


def test_a_task_that_dies_is_told_from_one_that_raises(room: Room) -> None:
    """As of a model too large for its memory: that is the trial's own end, not the study's."""

    @dataclass(frozen=True)
    class Dying(TrainingTask):
        def __call__(self, context: RankContext) -> bytes | None:
            os.kill(os.getpid(), signal.SIGKILL)
            return None

    task = Dying(ModelSpec("linear", (NumericInput("x", "double", 0.0, 0.0, 1.0),), ()), {}, TRAINING, room.storage("dying"), "f")
    with pytest.raises(RankFailed, match="trial 7, whose task died") as failed:
        InTask(Interruptible(room.spark, "tag"))(task, "trial 7")

    assert failed.value.kind == "died"


def test_families_compete_with_a_logistic_regression(room: Room) -> None:
    """Each family has a trial; all candidates are measured alike, as scikit-learn measures their predictions on the validation rows; the choice follows the rule."""
    space = {"training.optimizer.lr": {"low": 0.005, "high": 0.05}}
    found, _ = room.tune("families", space=space, trials=3, automl=True, margin=10.0, metric="validation_auc", direction="maximize")
    best, measured = best_of_families(found.trials, "maximize"), {candidate.family: candidate for candidate in found.candidates}
    places = {family: f"tuning/{Path(found.folder).name}/trials/{trial.number:05d}/model" for family, trial in best.items()}
    (places[LOGISTIC],) = {str(Path(name).parent) for name in room.storage("families").list("tuning") if "/baseline/" in name}
    data = table(1200).to_pandas()
    rows = data[(data["split"] == "validation") & data["label"].notna()]

    assert [trial.params["training.model.kind"] for trial in found.trials][:2] == ["linear", "mlp"]
    assert measured.keys() == {"linear", "mlp", LOGISTIC}
    for family, place in places.items():
        scores = artifact.load(room.root / "families" / place).predict(rows)
        assert measured[family].value == pytest.approx(roc_auc_score(rows["label"], scores), abs=1e-12)
    assert found.chosen == min(found.candidates, key=lambda candidate: candidate.microseconds)
    assert found.best == best["linear" if found.chosen.family == LOGISTIC else found.chosen.family]
    kept = {name.split("/")[3] for name in room.storage("families").list(f"{found.folder}/trials") if "/model/" in name}
    assert kept == {f"{trial.number:05d}" for trial in best.values()}
