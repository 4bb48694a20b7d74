"""A verb killed at any named hook and started again ends in the same tables as an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store import hooks
from feature_store.content import measure
from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops.project import Project
from sparkml_ops.records import TrainingResult

ROWS, WINDOW, UNTIL, AS_OF = 900, "2020-02", "2020-02-01", "2020-04-01"
TRAINING = {"label": "label", "exclude": ["id"], "backend": "local", "workers": 1, "epochs": 2, "batch_size": 64, "shards": 4, "minimum_count": 1}
FILES = {
    "sources.yaml": {"sources": {"events": {"table": "events", "event_time": "at", "row_id": ["id"]}}},
    "features.yaml": {"features": {"customers": {"keys": ["customer"], "event_time": "at", "source": "events", "features": {"amount": "double"}}}},
    "training.yaml": {
        "training_set": {
            "spine": "events",
            "time": "at",
            "row_key": ["id"],
            "label": "label",
            "columns": ["customer", "distance"],
            "lookups": [{"table": "customers", "keys": ["customer"], "exact_match": False}],
            "split": {"validation": 0.2, "evaluation": "30d"},
        },
        "training": TRAINING,
    },
    "release.yaml": {
        "release": {
            "model": "tiny",
            "minimum_rows": 10,
            "gates": {"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": 0.5}},
        }
    },
    "scoring.yaml": {"scoring": {"target": "tiny_scores", "max_quarantine_share": 0.1}},
    "monitoring.yaml": {"drift": {"columns": ["distance", "customer"]}},
}


class Place:
    """A project with tables of its own in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path, content in {
            folder / "conf" / "base.yaml": {"warehouse": {"root": "data/warehouse"}},
            folder / "conf" / "env" / "local.yaml": {"spark": {"master": "local[2]", "driver_memory": "1g"}},
            **{folder / "conf" / "projects" / "tiny" / name: content for name, content in FILES.items()},
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content))

    def tables(self, spark: SparkSession) -> Tables:
        return Tables(spark, Warehouse(root=str(self.folder / "data" / "warehouse")))

    def project(self, spark: SparkSession) -> Project:
        return Project.open(self.folder / "conf", "tiny", spark=spark)

    def start(self, verb: str, *options: str, hooking: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The verb in a process of its own: a kill takes Spark's JVM with it."""
        command = [sys.executable, "-m", "sparkml_ops", verb, "--project", "tiny", "--conf", str(self.folder / "conf"), "--as-of", AS_OF, *options]
        environment = {**os.environ, hooks.VARIABLE: json.dumps(hooking or {})}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    def kill_at_each(self, verb: str, names: list[str], *options: str) -> None:
        """One kill after another, each start going on from what the last one left.

        Everything that lasts passes a hook, so that what is there after one is what is there before the next:
        a kill before each, and one after the last, are all the states that a kill can leave.
        """
        for number, name in enumerate([*(name for name in names if name.endswith(":before")), names[-1]]):
            done = self.start(verb, *options, hooking={"kill": name, "once": str(self.folder / f"{verb}.killed.{number}")})
            assert done.returncode == -signal.SIGKILL, f"{verb} was not killed at {name}: {done.returncode} {done.stderr[-3000:]}"


@contextmanager
def recording(names: Path) -> Iterator[None]:
    """Write the name of each hook that this process passes to a file."""
    os.environ[hooks.VARIABLE] = json.dumps({"record": str(names)})
    try:
        yield
    finally:
        del os.environ[hooks.VARIABLE]


def events(spark: SparkSession) -> DataFrame:
    """Rows over January and February, a label that follows two columns, a null identity."""
    frame = spark.range(ROWS, numPartitions=1).select(
        F.when(F.col("id") != ROWS - 1, F.col("id")).alias("id"),
        F.timestamp_micros(F.lit(1_577_836_800_000_000) + F.col("id") * F.lit(5_000_000_000)).alias("at"),
        F.concat(F.lit("c"), (F.col("id") % 7).cast("string")).alias("customer"),
        ((F.col("id") * 37) % 101).cast("double").alias("distance"),
        ((F.col("id") * 17) % 23).cast("double").alias("amount"),
    )
    noise = F.pmod(F.xxhash64("distance", "at"), F.lit(100)) < 20
    return frame.withColumn("label", ((F.col("distance") > 50) != noise).cast("double"))


@pytest.fixture(scope="module")
def places(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Place]:
    """Two equal projects: one runs unbroken, the other is killed."""
    both = tuple(Place(tmp_path_factory.mktemp(name)) for name in ("unbroken", "killed"))
    for place in both:
        place.tables(spark).overwrite("events", events(spark).where("id is not null").coalesce(1))
        place.project(spark).build_features(as_of=AS_OF)
        place.project(spark).training_set(until=UNTIL, as_of=AS_OF)
        place.tables(spark).overwrite("events", events(spark).coalesce(1))
    return both[0], both[1]


def passed(names: Path) -> list[str]:
    """Names of the hooks in the order of their first time."""
    return list(dict.fromkeys(names.read_text().split()))


def test_train_then_score(places: tuple[Place, Place], spark: SparkSession, tmp_path: Path) -> None:
    """Every commit, MLflow call and published object of both verbs is a case: the names come from an unbroken run."""
    unbroken, killed = places
    with recording(tmp_path / "train"):
        expected = unbroken.project(spark).train(as_of=AS_OF)
    names = passed(tmp_path / "train")
    assert {name.split(".")[0] for name in names} == {"delta", "mlflow", "storage"}
    killed.kill_at_each("train", names)
    found = killed.project(spark).train(as_of=AS_OF)

    assert found.metrics == expected.metrics
    assert _artifact(killed, found) == _artifact(unbroken, expected)
    for place in places:
        place.project(spark).promote(place.project(spark).register(as_of=AS_OF), as_of=AS_OF)

    with recording(tmp_path / "score"):
        scored = unbroken.project(spark).score(WINDOW, as_of=AS_OF)
    names = passed(tmp_path / "score")
    assert {name.split(".")[0] for name in names} >= {"delta", "storage"}
    killed.kill_at_each("score", names, "--window", WINDOW)
    again = killed.project(spark).score(WINDOW, as_of=AS_OF)

    assert (again.rows, again.quarantined) == (scored.rows, scored.quarantined)
    assert scored.quarantined == 1
    for name in ("tiny_scores", "tiny_scores_scoring_set"):
        assert _content(killed.tables(spark).read(name)) == _content(unbroken.tables(spark).read(name)), name
    for verb in ("train", "score"):
        assert len(killed.tables(spark).rows("runs", {"verb": verb})) == 1


def _artifact(place: Place, result: TrainingResult) -> dict[str, bytes]:
    folder = place.folder / "data" / "storage" / result.checkpoint
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} | {"model.json": (folder / "model.json").read_bytes()}


def _content(frame: DataFrame) -> object:
    """Everything but when and by which run."""
    return measure(frame.drop("scored_at", "run_id", "model_run_id"))
