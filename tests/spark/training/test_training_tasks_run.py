"""A training of each task from its table to its artifact and figures, held against scikit-learn on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from sklearn.metrics import accuracy_score, log_loss, mean_pinball_loss, mean_poisson_deviance, roc_auc_score, root_mean_squared_error
from training_rows import table

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import TrainingSet
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.storage import Storage
from sparkml_ops.training.run import Trained, train

SETTINGS: dict[str, Any] = {
    "backend": "local",
    "epochs": 4,
    "batch_size": 100,
    "shards": 4,
    "minimum_count": 5,
    "exclude": ("value", "trips", "grade", "kinds"),
    "model": {"hidden": (8,), "dropout": 0.0},
    "optimizer": {"lr": 0.02},
}
LABELS = {"regression": "value", "quantile": "value", "count": "trips", "multiclass": "grade", "multilabel": "kinds"}


def rows() -> pd.DataFrame:
    """Rows of all splits with a label for each task, all of which follow x."""
    data = table(900).to_pandas()
    rng, x = np.random.default_rng(4), data["x"].fillna(0).to_numpy()
    data["value"] = 100 + 20 * x + rng.normal(0, 5, len(data))
    data["trips"] = rng.poisson(np.exp(0.6 * x + 0.5))
    data["grade"] = np.array(["low", "mid", "top"])[np.clip((x + rng.normal(0, 0.3, len(data)) + 1.5).astype(int), 0, 2)]
    data["kinds"] = [[name for name, limit in (("a", -0.5), ("b", 0.5)) if value > limit] for value in x + rng.normal(0, 0.3, len(data))]
    return data.drop(columns="label")


class Notes:
    """A run log that keeps names of pictures."""

    def __init__(self) -> None:
        self.figures: list[str] = []

    def log_params(self, params: Any) -> None:
        pass

    def log_metrics(self, metrics: Any, step: int = 0) -> None:
        pass

    def log_document(self, name: str, document: Any) -> None:
        pass

    def log_figure(self, name: str, path: Path | str) -> None:
        self.figures.append(name)


class Room:
    """A training set and a storage."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder, self.tables = spark, folder, Tables(spark, Warehouse(root=str(folder / "warehouse")))
        schema = "x double, n bigint, c string, split string, row_position bigint, value double, trips int, grade string, kinds array<string>"
        data = rows()
        plain = data.drop(columns="kinds").astype(object).where(data.drop(columns="kinds").notna(), None).assign(kinds=data["kinds"])
        frame = spark.createDataFrame(list(plain.itertuples(index=False, name=None)), schema)
        snapshot = self.tables.overwrite("training_set_t", frame.coalesce(1).sortWithinPartitions("row_position")).snapshot
        self.training_set = TrainingSet("t_1", snapshot, {}, "0" * 16, len(data))

    def train(self, task: str, run: str | None = None, **changes: Any) -> tuple[Trained, Notes]:
        settings, notes = TrainingSection(**{**SETTINGS, "task": task, "label": LABELS[task], **changes}), Notes()
        return train(self.spark, self.tables, Storage(str(self.folder / "storage")), self.training_set, settings, notes, run=run or task), notes


@pytest.fixture(scope="module")
def room(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(spark, tmp_path_factory.mktemp("room"))


@pytest.mark.parametrize("task", LABELS)
def test_a_task_is_trained_and_measured(room: Room, task: str) -> None:
    """Figures of the evaluation split are scikit-learn's of the artifact's predictions, and better than those of the best constant."""
    trained, notes = room.train(task)
    data = rows()
    evaluation, found = data[data["split"] == "evaluation"], trained.metrics
    predicted = artifact.load(room.folder / "storage" / "training" / task / "artifact").predict(evaluation)
    truth, main = evaluation[LABELS[task]], {"regression": "rmse", "count": "poisson_deviance", "quantile": "pinball"}.get(task, "log_loss")

    if task == "regression":
        assert found["evaluation_rmse"] == pytest.approx(root_mean_squared_error(truth, predicted), rel=1e-9)
        assert found["baseline_constant_rmse"] == pytest.approx(
            root_mean_squared_error(truth, np.full(len(truth), data.loc[data["split"] == "train", "value"].mean())), rel=1e-6
        )
    elif task == "count":
        assert found["evaluation_poisson_deviance"] == pytest.approx(mean_poisson_deviance(truth, predicted), rel=1e-9)
    elif task == "quantile":
        assert found["evaluation_pinball_q90"] == pytest.approx(mean_pinball_loss(truth, predicted[:, 2], alpha=0.9), rel=1e-9)
        assert found["baseline_constant_coverage_q50"] == pytest.approx(0.5, abs=0.1)
    elif task == "multiclass":
        assert found["evaluation_log_loss"] == pytest.approx(log_loss(truth, predicted), rel=1e-6)
        assert found["evaluation_accuracy"] == pytest.approx(accuracy_score(truth, np.array(["low", "mid", "top"])[predicted.argmax(axis=1)]))
        assert found["evaluation_macro_auc"] == pytest.approx(roc_auc_score(truth, predicted, multi_class="ovr"), rel=1e-9)
    else:
        applies = np.array([[name in kinds for name in ("a", "b")] for kinds in truth])
        assert found["evaluation_macro_auc"] == pytest.approx(roc_auc_score(applies, predicted), rel=1e-9)
    assert found[f"{main}_gain_constant"] > 0.1 * found[f"baseline_constant_{main}"]
    assert (f"baseline_linear_{main}" in found) == (task in ("regression", "count"))
    assert notes.figures == ["learning_curve"]
    assert found["evaluation_rows"] == len(evaluation)


def test_linear_baselines_know_what_rows_were_made_of(room: Room) -> None:
    """The labels follow x alone, in a straight line on their own scale: no network is far better, and no constant is near."""
    number, count = room.train("regression")[0].metrics, room.train("count")[0].metrics

    assert number["baseline_linear_rmse"] == pytest.approx(5, rel=0.15)  # the noise; where x is missing the label has its mean
    assert number["baseline_linear_r2"] > 0.9
    assert count["baseline_linear_poisson_deviance"] < 0.8 * count["baseline_constant_poisson_deviance"]


def test_a_label_outside_the_range_ends_before_training(room: Room) -> None:
    """Values with fractions are no counts, and texts no numbers."""
    with pytest.raises(ContractError, match="labels that the task count cannot have in `value`"):
        room.train("count", "broken", label="value", exclude=("trips", "grade", "kinds"))
    with pytest.raises(ContractError, match="label `grade` of type string for the task regression"):
        room.train("regression", "broken", label="grade", exclude=("value", "trips", "kinds"))
