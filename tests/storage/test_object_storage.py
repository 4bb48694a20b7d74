"""Tables and objects in an object store: what is made there, and remade after a kill, is what is made on a disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from drivers import Drivers
from object_store import SECRET, ObjectStore
from pyspark.sql import SparkSession
from tiny_project import AS_OF, WINDOW, Place, content

from feature_store import hooks
from sparkml_ops.project import Project
from sparkml_ops.storage import Storage

pytestmark = pytest.mark.timeout(3600)  # of the fixtures too, on a busy machine


@pytest.fixture(scope="module")
def drivers(spark: SparkSession) -> Iterator[Drivers]:
    """What a kill takes here is the driver; tests/faults also kills it together with its JVM."""
    with closing(Drivers(spark)) as started:
        yield started


@pytest.fixture(scope="module")
def trained(
    places: tuple[Place, Place], store: ObjectStore, drivers: Drivers, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Project]:
    """On the disk without a break; in the store killed after the first checkpoint, and finished by two ranks on executors."""
    remote, disk = (place.project(spark) for place in places)
    hooking = {"kill": "storage.publish.checkpoint_manifest:after", "once": str(tmp_path_factory.mktemp("kill") / "train")}
    assert drivers.start(conf=str(places[0].folder / "conf"), verb="train", window=(), as_of=AS_OF, hooking=hooking) == -signal.SIGKILL
    assert [name for name in store.names("tiny/storage/training") if name.endswith("/manifest.json")]

    overrides = ("training.backend=horovod", "training.workers=2")
    two = Project.open(places[0].folder / "conf", "tiny", overrides=overrides, spark=spark)
    passed = tmp_path_factory.mktemp("passed")
    checkpoints = [_checkpoints(project, passed / name) for name, project in (("two", two), ("disk", disk))]
    # The first one was there already.
    assert checkpoints == [checkpoints[1] - 1, checkpoints[1]]
    for project in (remote, disk):
        project.promote(project.register(as_of=AS_OF), as_of=AS_OF)
    return remote, disk


def _checkpoints(project: Project, passed: Path) -> int:
    """Train, and say how many checkpoints that published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(hooks.VARIABLE, json.dumps({"record": str(passed)}))
        project.train(as_of=AS_OF)
    return passed.read_text().split().count("storage.publish.checkpoint_manifest:after")


def test_a_killed_training_goes_on_from_its_checkpoint_in_the_store(trained: tuple[Project, Project]) -> None:
    """Begun by one process, finished by two ranks: the metrics of the unbroken run on a disk, up to the order of sums."""
    remote, disk = (next(run for run in project.runs() if run.key.verb == "train").record["metrics"] for project in trained)

    assert remote["epochs"] == disk["epochs"] == 2
    for name, value in disk.items():
        if name.startswith("evaluation_"):
            assert remote[name] == pytest.approx(value, abs=1e-4), name


def test_killed_scoring_ends_as_on_a_disk(
    trained: tuple[Project, Project], places: tuple[Place, Place], store: ObjectStore, drivers: Drivers, spark: SparkSession, tmp_path: Path
) -> None:
    """Killed after its commit and started again: the rows of an unbroken run, one commit, one entry in the ledger, nothing staged."""
    hooking = {"kill": "delta.commit.tiny_scores:after", "once": str(tmp_path / "score")}
    assert drivers.start(conf=str(places[0].folder / "conf"), verb="score", window=(WINDOW,), as_of=AS_OF, hooking=hooking) == -signal.SIGKILL

    remote, disk = (project.score(WINDOW, as_of=AS_OF) for project in trained)

    assert (remote.rows, remote.quarantined) == (disk.rows, disk.quarantined)
    assert len(places[0].tables(spark).rows("runs", {"verb": "score"})) == 1
    sets = [content(place.tables(spark).read("tiny_scores_scoring_set")) for place in places]
    keys = [content(place.tables(spark).read("tiny_scores").select("id", "at", "window", "slot", "outcome")) for place in places]
    assert sets[0] == sets[1]
    assert keys[0] == keys[1]
    assert not store.names("tiny/storage/staging")


def test_drift_is_measured_from_the_files_in_the_store(trained: tuple[Project, Project]) -> None:
    """Executors read the table's files by address; the figures are those of a disk."""
    for project in trained:
        project.score(WINDOW, as_of=AS_OF)
    remote, disk = (project.drift(WINDOW, as_of=AS_OF).to_pandas() for project in trained)

    assert len(remote) > 0
    assert remote.equals(disk)


def test_storage_sees_what_other_processes_publish(store: ObjectStore) -> None:
    """Nothing of a listing is kept; both spellings of the address are one place; what is not there can be removed."""
    here = Storage("s3a://lake/objects")
    assert here.list("runs") == []
    program = "import sys; from sparkml_ops.storage import Storage; Storage(sys.argv[1]).publish('runs/1/done.json', b'{}', kind='manifest')"
    subprocess.run([sys.executable, "-c", program, "s3://lake/objects"], check=True, timeout=120)

    assert here.exists("runs/1/done.json")
    assert here.list("runs") == ["runs/1/done.json"]
    assert here.read("runs/1/done.json") == b"{}"
    here.remove("runs")
    here.remove("runs")
    assert not here.exists("runs/1/done.json")


def test_credentials_are_never_shown(trained: tuple[Project, Project], places: tuple[Place, Place]) -> None:
    """They are in the environment and nowhere else: not in what a command prints, nor in an error, nor in the configuration."""
    commands = (["runs", "list"], ["config", "show", "--origin"], ["drift", "--window", "2031-01"])
    said = ""
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "sparkml_ops", *command, "--project", "tiny", "--conf", str(places[0].folder / "conf")],
            capture_output=True,
            text=True,
            timeout=300,
        )
        said += done.stdout + done.stderr

    assert "train" in said
    assert "s3a://lake" in said
    assert "no scores of window 2031-01" in said
    assert SECRET not in said
