"""Faults of a training: a killed rank, a disk that is full, an MLflow that goes away, and many trainings in one session.

What else can befall a launch stands in tests/distributed, a killed driver in test_kills.py, a torn checkpoint in tests/unit/training/test_training_loop.py.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from full_disk import FillUp
from mlflow import MlflowClient
from mlflow_server import MlflowServer
from pyspark.sql import SparkSession
from training_rows import table, task, write

from feature_store import hooks
from feature_store.delta import Tables
from feature_store.records import TrainingSet
from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import RetryableError
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.launch import LaunchSettings, RankFailed, launch
from sparkml_ops.training.loop import TrainingTask
from sparkml_ops.training.run import Trained, train

SETTINGS = TrainingSection(workers=2, epochs=3, batch_size=100, shards=4, checkpoint_every=2, dtype="float64", threads=1)
TWO_RANKS = LaunchSettings(workers=2, attempts=3, start_timeout=300)
FOLDER = "training/test/checkpoints"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", table(600), [250], group=100)


def weights(storage: Storage, results: list[bytes | None]) -> list[float]:
    """The weights after the last epoch."""
    found = Checkpoints(storage, FOLDER).weights(Progress.from_json(results[0] or b""))
    return [value for name in sorted(found) for value in found[name].flatten().tolist()]


@pytest.fixture(scope="module")
def unbroken(spark: SparkSession, scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The weights that two ranks end with when nothing happens."""
    storage = Storage(str(tmp_path_factory.mktemp("unbroken")))
    return weights(storage, launch(spark, task(scan, storage, SETTINGS), TWO_RANKS, storage, "test"))


@pytest.mark.timeout(600)
def test_a_rank_killed_inside_an_epoch_ends_as_the_unbroken_one(
    spark: SparkSession, scan: Scan, tmp_path: Path, unbroken: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL after the first checkpoint, two steps into the first epoch: bit for bit the same on two ranks again, to 1e-12 on one."""

    def started(name: str) -> tuple[Storage, TrainingTask]:
        kill = {"kill": "storage.publish.checkpoint_manifest:after", "once": str(tmp_path / f"{name}.killed")}
        monkeypatch.setenv(hooks.VARIABLE, json.dumps(kill))
        storage = Storage(str(tmp_path / name))
        return storage, task(scan, storage, SETTINGS)

    storage, training = started("again")
    heard: list[dict[str, Any]] = []
    assert weights(storage, launch(spark, training, TWO_RANKS, storage, "test", on_report=heard.append)) == unbroken
    assert [(report["attempt"], report["epoch"]) for report in heard if report["kind"] == "epoch"] == [(1, 0), (1, 1), (1, 2)]

    storage, training = started("on one")
    with pytest.raises(RankFailed, match="rank 0 died"):
        launch(spark, training, replace(TWO_RANKS, attempts=1), storage, "test")
    newest = Checkpoints(storage, FOLDER).newest()
    assert newest is not None
    assert (newest.epoch, newest.step) == (0, 2)
    alone = launch(None, training, LaunchSettings(backend="local"), storage, "test")
    assert weights(storage, alone) == pytest.approx(unbroken, rel=0, abs=1e-12)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of a mebibyte; None where nobody may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "sparkml-ops-test", str(place)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield place if mounted else None
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.timeout(600)
def test_a_full_disk_ends_the_training_and_costs_it_nothing(
    spark: SparkSession, scan: Scan, tmp_path: Path, disk: Path | None, unbroken: list[float]
) -> None:
    """One error with what to do and the rank's own traceback; the checkpoint before is there, and with room again it ends bit for bit the same."""
    storage = Storage(str((disk or tmp_path) / "storage"))
    filling = replace(task(scan, storage, SETTINGS), stop=FillUp(disk, tmp_path / "filled"))

    with pytest.raises(RankFailed, match=r"rank 0 raised StorageFull: found no room for .*00001-.*2/.*make room, then run the same again") as caught:
        launch(spark, filling, TWO_RANKS, storage, "test")

    assert (caught.value.exit_code, "in _publish" in caught.value.traceback) == (5, True)
    newest = Checkpoints(storage, FOLDER).newest()
    assert newest is not None
    assert (newest.epoch, newest.step) == (1, 0)
    assert list(Path(storage.root).rglob("*.partial")) == []
    if disk is not None:
        (disk / "ballast").unlink()
    heard: list[dict[str, Any]] = []
    results = launch(spark, filling, TWO_RANKS, storage, "test", on_report=heard.append)
    assert [(report["attempt"], report["epoch"]) for report in heard if report["kind"] == "epoch"] == [(1, 1), (1, 2)]
    assert weights(storage, results) == unbroken


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    started = MlflowServer(tmp_path)
    yield started
    started.stop()


@pytest.mark.timeout(600)
def test_an_mlflow_that_goes_away_costs_no_epoch(
    spark: SparkSession, tables: Tables, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Silent for an epoch and again at the end: the ranks train on, the error is one that may pass, and the same call logs what is missing, once."""
    storage, known = Storage(str(tmp_path / "storage")), _training_set(spark, tables)
    settings = TrainingSection(backend="local", epochs=4, batch_size=200, shards=2, minimum_count=5, replicates=200, model={"hidden": (4,)})

    def patient(*, patient: bool) -> None:
        """MLflow tries for minutes; the test does not."""
        for name, value in {"MAX_RETRIES": "7" if patient else "0", "TIMEOUT": "120" if patient else "1"}.items():
            monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)

    def listen(report: dict[str, Any]) -> None:
        happens: dict[int, Callable[[], None]] = {0: server.freeze, 1: server.thaw, 3: server.freeze}
        if report["kind"] == "epoch" and report["epoch"] in happens:
            happens[report["epoch"]]()
            patient(patient=report["epoch"] == 1)

    def start() -> Trained:
        run_log = Tracking(server.uri, "faults", str(tmp_path / "artifacts")).run("train/faults", "faults")
        return train(spark, tables, storage, known, settings, run_log, run="away", on_report=listen)

    with pytest.raises(RetryableError, match="no answer from the MLflow store") as caught:
        start()

    assert caught.value.exit_code == 4
    assert "training goes on without its log" in caplog.text
    server.thaw()
    patient(patient=True)
    trained = start()
    client = MlflowClient(tracking_uri=server.uri)
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    found = {(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "validation_loss")}
    assert found == {(epoch.epoch, epoch.validation_loss) for epoch in trained.history}
    assert Counter(metric.step for metric in client.get_metric_history(run.info.run_id, "train_loss")) == Counter(range(4))
    assert run.data.metrics["evaluation_auc"] == trained.metrics["evaluation_auc"]
    assert storage.list("training/away/attempt-1") == []


def _training_set(spark: SparkSession, tables: Tables) -> TrainingSet:
    data = table(600).to_pandas()
    rows = data.astype(object).where(data.notna(), None)
    frame = spark.createDataFrame(rows, "x double, n bigint, c string, label int, split string, row_position bigint")
    snapshot = tables.overwrite("training_set_t", frame.coalesce(1).sortWithinPartitions("row_position")).snapshot
    return TrainingSet("t_1", snapshot, {}, "0" * 16, len(data))


@dataclass(frozen=True)
class Held:
    """What this process and those below it hold."""

    processes: int
    threads: int
    files: int
    folders: int

    @classmethod
    def now(cls, spark: SparkSession) -> Held:
        """Processes below, threads and open files of this one, and what Spark has on disk but for its blocks."""
        mine = psutil.Process()
        local = Path(spark.conf.get("spark.local.dir") or "")
        folders = [path for path in local.glob("*/*") if not path.parent.name.startswith("blockmgr-")]
        return cls(len(mine.children(recursive=True)), threading.active_count(), mine.num_fds(), len(folders))

    def within(self, most: Held) -> bool:
        """Whether nothing is more than it was."""
        return all(getattr(self, name) <= getattr(most, name) for name in vars(self))


@pytest.mark.timeout(600)
def test_twenty_trainings_in_one_session_leave_nothing_behind(spark: SparkSession, scan: Scan, tmp_path: Path) -> None:
    """One after the other, from the main thread and from others, two at once: the same model each time, and no process, thread or file is left."""
    settings = SETTINGS.model_copy(update={"epochs": 1})

    def training(number: int, backend: Any, workers: int = 1) -> list[float]:
        storage = Storage(str(tmp_path / str(number)))
        chosen = LaunchSettings(workers=workers, backend=backend, attempts=1, start_timeout=300)
        return weights(storage, launch(spark, task(scan, storage, settings), chosen, storage, "test"))

    found = [training(0, "horovod", 2), training(1, "ddp"), training(2, "local")]
    before = Held.now(spark)
    found += [training(number, "local") for number in range(3, 15)]
    found += [training(15, "horovod", 2), training(16, "horovod")]
    with ThreadPoolExecutor(2) as threads:
        found += threads.map(training, (17, 18), ("horovod", "ddp"))
    with ThreadPoolExecutor(1) as threads:
        found += threads.map(training, (19,), ("horovod",), (2,))

    assert len(found) == 20
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=0, abs=1e-12)
    limit = time.monotonic() + 30
    while not (now := Held.now(spark)).within(before) and time.monotonic() < limit:
        time.sleep(0.2)
    assert now.within(before), (before, now, [thread.name for thread in threading.enumerate()])
