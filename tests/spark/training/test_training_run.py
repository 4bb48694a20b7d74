from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score
from training_rows import table

from feature_store import FeatureStore, Split, hooks
from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import TrainingSet
from feature_store.scan import plan_scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.predictor import Predictor
from sparkml_ops.storage import Storage
from sparkml_ops.training.baseline import TrainRows, fit_logistic
from sparkml_ops.training.job import MOMENTS
from sparkml_ops.training.plan import plan_groups
from sparkml_ops.training.run import Trained, train
from sparkml_ops.training.warm import WarmStart
from sparkml_ops.training.weighting import row_weights

SETTINGS = TrainingSection(
    backend="local",
    epochs=3,
    batch_size=200,
    shards=6,
    checkpoint_every=2,
    minimum_count=5,
    replicates=200,
    optimizer={"lr": 0.02},
    model={"hidden": (16,)},
    slices=("c",),
)
FEDERATED = {
    "backend": "ddp",
    "workers": 2,
    "sites": True,
    "collectives": {"local_steps": 4},
    "checkpoint_every": 0,
    "exclude": ("id", "clinic"),
    "slices": (),
}
CHECKPOINTS = 3 * 5  # of an unbroken run: nine steps an epoch, one after every second and after the last


@dataclass
class Notes:
    """A run log in memory."""

    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[tuple[str, int], float] = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.params |= params

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.metrics |= {(name, step): value for name, value in metrics.items()}

    def log_figure(self, name: str, path: Path | str) -> None:
        self.figures[name] = Path(path).read_bytes()

    def log_document(self, name: str, document: Any) -> None:
        self.documents[name] = json.loads(json.dumps(document))


class Killed(Exception):
    """Stands for the end of a process."""


@dataclass(frozen=True)
class Mortal(Storage):
    """A storage whose process ends after the n-th object of a kind."""

    kind: str = ""
    count: int = 1
    seen: list[str] = field(default_factory=list)

    def publish(self, name: str, data: bytes, *, kind: str) -> str:
        address = super().publish(name, data, kind=kind)
        self._pass(kind)
        return address

    def publish_file(self, name: str, source: Path, *, kind: str) -> str:
        address = super().publish_file(name, source, kind=kind)
        self._pass(kind)
        return address

    def __reduce__(self) -> tuple[object, ...]:
        # Executors read as ever.
        return Storage, (self.root,)

    def _pass(self, kind: str) -> None:
        self.seen.append(kind)
        if self.seen.count(self.kind) == self.count:
            raise Killed(kind)


@dataclass(frozen=True)
class Room:
    """A training set and a storage."""

    spark: SparkSession
    tables: Tables
    training_set: TrainingSet
    root: str

    def train(
        self,
        run: str,
        notes: Notes | None = None,
        storage: Storage | None = None,
        settings: TrainingSection = SETTINGS,
        warm_start: WarmStart | None = None,
    ) -> Trained:
        where = storage or Storage(self.root)
        return train(self.spark, self.tables, where, self.training_set, settings, notes or Notes(), run=run, warm_start=warm_start)

    def load(self, name: str) -> artifact.Predictor:
        return artifact.load(Path(self.root) / "training" / name)


@pytest.fixture(scope="module")
def room(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Room:
    root = tmp_path_factory.mktemp("room")
    tables = Tables(spark, Warehouse(root=str(root / "warehouse")))
    data = table(2400).to_pandas()
    frame = spark.createDataFrame(
        data.astype(object).where(data.notna(), None), "x double, n bigint, c string, label int, split string, row_position bigint"
    )
    snapshot = tables.overwrite("training_set_t", frame.repartitionByRange(2, "row_position").sortWithinPartitions("row_position")).snapshot
    return Room(spark, tables, TrainingSet("t_1", snapshot, {}, "0" * 16, len(data)), str(root / "storage"))


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def trained(room: Room, notes: Notes) -> Trained:
    return room.train("unbroken", notes)


@pytest.mark.parametrize(
    ("odd", "feature", "statement"),
    [
        ("vectors", "'delta.enableDeletionVectors' = 'true'", "DELETE FROM {} WHERE row_position = 3"),
        ("renamed", "'delta.columnMapping.mode' = 'name'", "ALTER TABLE {} RENAME COLUMN x TO y"),
    ],
)
def test_a_training_set_that_spark_alone_reads_is_refused(room: Room, odd: str, feature: str, statement: str) -> None:
    """A vector of deleted rows, a renamed column: before the first job, with nothing written."""
    room.tables.overwrite(f"training_set_{odd}", room.tables.read("training_set_t").coalesce(1))
    name = room.tables.warehouse.qualified(f"training_set_{odd}")
    room.spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({feature})")
    room.spark.sql(statement.format(name))
    there = replace(room, training_set=replace(room.training_set, snapshot=room.tables.newest(f"training_set_{odd}")))

    with pytest.raises(ContractError, match=f"`training_set_{odd}` with deletion vectors, column mapping"):
        there.train(odd)
    assert not (Path(room.root) / "training" / odd).exists()


def part(split: str) -> pd.DataFrame:
    data = table(2400).to_pandas()
    return data[(data["split"] == split) & data["label"].notna()]


def test_metrics_are_those_of_scikit_learn(room: Room, trained: Trained, notes: Notes) -> None:
    """AUC to 1e-9, log loss and Brier score of model and logistic regression on the labelled evaluation rows, and on each slice of them."""
    rows, rate = part("evaluation"), part("train")["label"].mean()
    label = rows["label"].to_numpy()
    for name, prefix in (("artifact", "evaluation"), ("baseline", "baseline_logistic")):
        scores = room.load(f"unbroken/{name}").predict(rows)
        assert trained.metrics[f"{prefix}_auc"] == pytest.approx(roc_auc_score(label, scores), abs=1e-9)
        assert trained.metrics[f"{prefix}_log_loss"] == pytest.approx(log_loss(label, scores), abs=1e-12)
        assert trained.metrics[f"{prefix}_brier"] == pytest.approx(brier_score_loss(label, scores), abs=1e-12)
    assert trained.metrics["baseline_rate_log_loss"] == pytest.approx(log_loss(label, np.full(len(label), rate)), abs=1e-12)
    scores = room.load("unbroken/artifact").predict(rows)
    assert trained.metrics["evaluation_average_precision"] == pytest.approx(average_precision_score(label, scores), abs=1e-9)
    assert trained.metrics["evaluation_accuracy"] == pytest.approx(accuracy_score(label, scores >= 0.5), abs=1e-12)
    assert trained.metrics["evaluation_f1"] == pytest.approx(f1_score(label, scores >= 0.5), abs=1e-12)
    assert 0 < trained.metrics["evaluation_calibration_error"] < 0.2
    assert trained.metrics["evaluation_rows"] == len(rows)
    assert trained.metrics["pending_rows"] == table(2400).column("label").null_count
    cuts = {cut["slice"]: cut for cut in notes.documents["slices"]}
    assert set(cuts) == {"c=a", "c=b", "c=d", "c=z", "c=null"}
    for name, cut in rows.groupby(rows["c"].fillna("null")):
        found, score, truth = cuts[f"c={name}"], scores[rows["c"].fillna("null") == name], cut["label"]
        assert found["rows"] == len(cut)
        assert found["auc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-9)
        assert found["log_loss"] == pytest.approx(log_loss(truth, score), abs=1e-12)
        assert found["f1"] == pytest.approx(f1_score(truth, score >= 0.5), abs=1e-12)


def test_gains_are_differences_with_an_interval_around_them(trained: Trained) -> None:
    """Positive where the model is better, in AUC and in log loss."""
    found = trained.metrics

    assert found["auc_gain_logistic"] == pytest.approx(found["evaluation_auc"] - found["baseline_logistic_auc"], abs=1e-12)
    assert found["log_loss_gain_logistic"] == pytest.approx(found["baseline_logistic_log_loss"] - found["evaluation_log_loss"], abs=1e-12)
    for name in ("auc_gain_logistic", "log_loss_gain_logistic"):
        assert found[f"{name}_lower"] < found[name] < found[f"{name}_upper"]


def test_the_logistic_regression_is_that_of_scikit_learn(room: Room, trained: Trained, spark: SparkSession) -> None:
    """Same rows, features and penalty give the same probabilities: by few passes, and by the gradient alone as a wide model is fitted."""
    rows = part("train")
    predictor = room.load("unbroken/baseline")
    encoded = Encoder(predictor.spec).encode(rows)
    hot = np.hstack([np.eye(len(column.vocabulary) + 1)[encoded.categories[:, index]] for index, column in enumerate(predictor.spec.categorical)])
    design = np.hstack([encoded.numeric, hot])
    # Spark's penalty is on the coefficients of columns scaled to unit deviation.
    deviation = np.where(design.std(axis=0, ddof=1) > 0, design.std(axis=0, ddof=1), 1.0)
    oracle = LogisticRegression(C=1 / (1e-5 * len(rows)), solver="newton-cholesky", tol=1e-12).fit(design / deviation, rows["label"])
    probabilities = oracle.predict_proba(design / deviation)[:, 1]
    frame = room.tables.read(room.training_set.snapshot.table).where("split = 'train' and label is not null")
    scan = plan_scan(room.tables, room.training_set.snapshot)
    assert scan is not None
    groups = plan_groups(scan, label="label", splits=["train"])["train"]

    np.testing.assert_allclose(predictor.predict(rows), probabilities, atol=1e-7)
    jobs: list[int] = []
    for widest, error in ((design.shape[1] + 1, 1e-7), (design.shape[1], 2e-4)):
        before = set(spark.sparkContext.statusTracker().getJobIdsForGroup(None))
        spec, state = fit_logistic(TrainRows(frame.coalesce(1), groups, "label"), predictor.spec, widest=widest)
        jobs.append(len(set(spark.sparkContext.statusTracker().getJobIdsForGroup(None)) - before))
        np.testing.assert_allclose(Predictor(spec, state).predict(rows), probabilities, atol=error)
    assert jobs[0] <= 8 < jobs[1]
    counts = row_weights((1.0, 3.0), tuple(rows["label"].value_counts().sort_index()))
    oracle = oracle.fit(design / deviation, rows["label"], 1.0 + 2.0 * rows["label"])
    for widest in (design.shape[1] + 1, design.shape[1]):
        spec, state = fit_logistic(TrainRows(frame, groups, "label", counts), predictor.spec, widest=widest)
        # Spark's deviations are weighted, too: the penalty is not quite that of the oracle.
        np.testing.assert_allclose(Predictor(spec, state).predict(rows), oracle.predict_proba(design / deviation)[:, 1], atol=3e-4)


def test_the_model_is_better_than_chance(trained: Trained) -> None:
    """It learned: the label depends on two of the features."""
    assert trained.metrics["evaluation_auc"] > 0.65
    assert trained.metrics["log_loss_gain_rate"] > 0


def test_numbers_and_curve_are_logged_once(room: Room, trained: Trained, notes: Notes) -> None:
    """Each epoch at its step, the final metrics, the settings and the pictures."""
    assert [notes.metrics["validation_loss", epoch] for epoch in range(3)] == [epoch.validation_loss for epoch in trained.history]
    assert notes.metrics["evaluation_auc", 0] == trained.metrics["evaluation_auc"]
    assert (notes.params["optimizer.lr"], notes.params["training_set"]) == (0.02, "t_1")
    assert set(notes.figures) == {"learning_curve", "confusion", "reliability"}
    assert all(picture.startswith(b"\x89PNG") for picture in notes.figures.values())


def test_a_run_killed_again_and_again_ends_in_the_same_artifact(room: Room, trained: Trained) -> None:
    """Between two checkpoints, between two files, before the manifest, after the last stage: what is done is not done again."""
    kills = (("spec", 1), ("checkpoint_manifest", 4), ("trained", 1), ("artifact_file", 1), ("baseline_file", 2), ("evaluation", 1))
    broken = {kind: Mortal(room.root, kind, count) for kind, count in kills}
    for kind, storage in broken.items():
        with pytest.raises(Exception, match=kind):
            room.train("broken", storage=storage)
    last = Mortal(room.root)
    finished = room.train("broken", storage=last)

    assert last.seen == []
    assert broken["trained"].seen.count("checkpoint_manifest") == CHECKPOINTS - 4
    assert [kind for kind in broken["artifact_file"].seen if kind.startswith("checkpoint")] == []
    assert finished.metrics == trained.metrics
    assert [epoch.validation_loss for epoch in finished.history] == [epoch.validation_loss for epoch in trained.history]
    assert artifact.digest(Path(room.root) / finished.artifact) == artifact.digest(Path(room.root) / trained.artifact)
    assert not [name for name in Storage(room.root).list("training/broken") if "checkpoints" in name]


def test_a_run_is_not_continued_with_other_settings(room: Room, trained: Trained) -> None:
    """But with another number of workers it is."""
    room.train("unbroken", settings=SETTINGS.model_copy(update={"attempts": 7}))

    with pytest.raises(ContractError, match="begun with other settings"):
        room.train("unbroken", settings=SETTINGS.model_copy(update={"seed": 8}))


def test_a_killed_warm_training_ends_as_the_unbroken_one(room: Room, trained: Trained) -> None:
    """From model and optimiser of another run: killed before its first weights are whole, inside an epoch and after the last one."""
    folder = Path(room.root) / trained.artifact
    start = WarmStart.read("flights version 3", artifact.digest(folder), folder, f"training/unbroken/{MOMENTS}", room.training_set)
    notes = Notes()
    unbroken = room.train("warm", notes, warm_start=start)
    for kind, count in (("start_file", 2), ("checkpoint_manifest", 3), ("trained", 1), ("forgetting", 1)):
        with pytest.raises(Exception, match=kind):
            room.train("warm_broken", storage=Mortal(room.root, kind, count), warm_start=start)
    finished = room.train("warm_broken", warm_start=start)

    assert artifact.digest(Path(room.root) / finished.artifact) == artifact.digest(Path(room.root) / unbroken.artifact)
    assert finished.metrics == unbroken.metrics
    assert notes.params["warm_start"] == "flights version 3"
    assert room.load("warm/artifact").spec == room.load("unbroken/artifact").spec
    assert unbroken.history[0].train_loss < trained.history[0].train_loss
    with pytest.raises(ContractError, match="another model to go on from"):
        room.train("warm")


def test_a_killed_rank_of_horovod_changes_nothing(room: Room, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 dies after its first checkpoint; two ranks start again from it and end where one process ended, but for float summation order."""
    kill = {"kill": "storage.publish.checkpoint_manifest:after", "once": str(tmp_path / "killed"), "record": str(tmp_path / "passed")}
    monkeypatch.setenv(hooks.VARIABLE, json.dumps(kill))
    found = room.train("horovod", settings=SETTINGS.model_copy(update={"backend": "horovod", "workers": 2}))

    assert (tmp_path / "killed").exists()
    assert (tmp_path / "passed").read_text().split().count(kill["kill"]) == CHECKPOINTS
    for name in ("evaluation_auc", "evaluation_log_loss"):
        assert found.metrics[name] == pytest.approx(trained.metrics[name], abs=1e-4)
    assert [epoch.train_loss for epoch in found.history] == pytest.approx([epoch.train_loss for epoch in trained.history], abs=1e-5)


def test_sites_train_together_and_their_rows_stay(room: Room, tmp_path: Path) -> None:
    """From a training set of sites to figures of all of them, by two ranks; a set without sites and too many ranks are refused before the first job."""
    store = FeatureStore(room.spark, root=str(tmp_path / "warehouse"))
    at, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    spine = room.tables.read("training_set_t").select(
        F.col("row_position").alias("id"), F.lit(at).alias("at"), "x", "n", "c", "label", F.expr("if(n < 3, 'north', 'south / 2')").alias("clinic")
    )
    split = Split({"train": end}, {"validation": 0.2, "evaluation": 0.2})
    made = store.training_set(spine, (), name="clinics", spine_time="at", label="label", row_key=("id",), split=split, as_of=end, site="clinic")
    settings = TrainingSection(**{**SETTINGS.model_dump(exclude_unset=True), **FEDERATED})
    there = Room(room.spark, store.tables, made, str(tmp_path / "storage"))

    found = there.train("sites", settings=settings)

    rows = store.load(made).toPandas()
    held, trained = rows[rows["split"] == "evaluation"], rows[rows["split"] == "train"]
    scores = there.load("sites/artifact").predict(held)
    assert found.metrics["evaluation_auc"] == pytest.approx(roc_auc_score(held["label"], scores), abs=1e-9)
    assert found.metrics["evaluation_auc"] > 0.65
    assert (found.metrics["train_rows"], found.metrics["evaluation_rows"]) == (len(trained), len(held))
    assert "clinic" not in [name for name, _ in there.load("sites/artifact").spec.inputs]
    with pytest.raises(ContractError, match=r"not of one site; .*make the training set anew"):
        room.train("no_sites", settings=settings)
    with pytest.raises(ContractError, match=r"4 workers for 2 sites with rows to train on"):
        there.train("few_sites", settings=settings.model_copy(update={"workers": 4}))
    with pytest.raises(ContractError, match="begun with other settings"):
        there.train("sites", settings=settings.model_copy(update={"backend": "local"}))
    assert {path.name for root in (room.root, there.root) for path in Path(root).glob("training/*_sites")} == set()
