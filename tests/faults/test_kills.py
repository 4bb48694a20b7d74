"""A verb killed at any named hook and started again ends in the same tables as an unbroken run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from drivers import Drivers
from hook_names import PASSED, RESUMED, STAGED
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from tiny_plans import FEW_ROWS
from tiny_project import AS_OF, FILES, UNTIL, WINDOW, Place, content, events

from feature_store import hooks
from feature_store.delta import TableFiles
from sparkml_ops.records import ScoredWindow, TrainingResult


@contextmanager
def recording(names: Path) -> Iterator[None]:
    """Write the name of each hook that this process passes to a file."""
    os.environ[hooks.VARIABLE] = json.dumps({"record": str(names)})
    try:
        yield
    finally:
        del os.environ[hooks.VARIABLE]


def kill_at_each(place: Place, drivers: Drivers, verb: str, names: list[str], *window: str) -> None:
    """One kill after another, each start going on from what the last one left.

    Everything that lasts passes a hook, so that what is there after one is what is there before the next:
    a kill before each, after those that only a start after a kill passes, and after the last, are all the states
    that a kill can leave. The JVM dies too before the last of them, where work of every room has been done.
    """
    before, resumed = [name for name in names if name.endswith(":before")], [f"{name}:after" for name in RESUMED.get(verb, [])]
    for number, name in enumerate([*before, *resumed, names[-1]]):
        hooking = {"kill": name, "once": str(place.folder / f"{verb}.killed.{number}")}
        if number == len(before) - 1:
            status = place.start(verb, *window, hooking=hooking)
        else:
            status = drivers.start(conf=str(place.folder / "conf"), verb=verb, window=window, as_of=AS_OF, hooking=hooking)
        assert status == -signal.SIGKILL, f"{verb} was not killed at {name}: status {status}"


@dataclass(frozen=True)
class Runs:
    """An unbroken run of both verbs and, beside it, one that was killed at each hook and started again."""

    unbroken: Place
    killed: dict[str, Place]
    names: dict[str, list[str]]
    trained: TrainingResult
    scored: ScoredWindow


@pytest.fixture(scope="module")
def runs(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The names of the hooks come from the unbroken run; the chains of kills go on from copies."""
    folder = tmp_path_factory.mktemp("kills")
    unbroken = Place(folder / "unbroken", spark={"conf": FEW_ROWS})
    project = unbroken.project(spark)
    unbroken.tables(spark).overwrite("events", events(spark).where("id is not null").coalesce(1))
    project.build_features(as_of=AS_OF)
    project.training_set(until=UNTIL, as_of=AS_OF)
    unbroken.tables(spark).overwrite("events", events(spark).coalesce(1))
    killed = {"train": unbroken.copy(folder / "killed_train")}
    with recording(folder / "train"):
        trained = project.train(as_of=AS_OF)
    project.promote(project.register(as_of=AS_OF), as_of=AS_OF)
    killed["score"] = by_engine(unbroken.copy(folder / "killed_score"), "files")
    killed["staged"] = by_engine(unbroken.copy(folder / "killed_staged"), "pandas")
    project = by_engine(unbroken, "files").project(spark)
    with recording(folder / "score"):
        scored = project.score(WINDOW, as_of=AS_OF)
    names = {verb: passed(folder / verb) for verb in ("train", "score")}
    with closing(Drivers(spark)) as drivers:
        for verb, window in (("train", ()), ("score", (WINDOW,))):
            kill_at_each(killed[verb], drivers, verb, names[verb], *window)
        points = [f"{name}:before" for name in STAGED] + [f"{[*STAGED][-1]}:after"]
        for number, name in enumerate(points):
            hooking = {"kill": name, "once": str(killed["staged"].folder / f"staged.killed.{number}")}
            conf = str(killed["staged"].folder / "conf")
            assert drivers.start(conf=conf, verb="score", window=(WINDOW,), as_of=AS_OF, hooking=hooking) == -signal.SIGKILL
    return Runs(unbroken, killed, names, trained, scored)


def by_engine(place: Place, engine: str) -> Place:
    """The project with an engine: one whose tasks write the target's files, or one that stages rows, which another kind of table would need."""
    settings = {"scoring": {**FILES["scoring.yaml"]["scoring"], "engine": engine}}
    (place.folder / "conf" / "projects" / "tiny" / "scoring.yaml").write_text(yaml.safe_dump(settings))
    return place


def passed(names: Path) -> list[str]:
    """Names of the hooks in the order of their first time."""
    return list(dict.fromkeys(names.read_text().split()))


@pytest.mark.timeout(1200)  # some thirty processes
def test_every_hook_of_the_verbs_is_a_case(runs: Runs) -> None:
    """What the tiny project passes is what tests/hook_names.py says, which a test without a JVM compares with the source."""
    for verb, names in PASSED.items():
        assert set(runs.names[verb]) == {f"{name}:{side}" for name in names for side in ("before", "after")}


@pytest.mark.timeout(1200)
def test_a_killed_training_ends_as_the_unbroken_one(runs: Runs, spark: SparkSession) -> None:
    """The same weights and metrics, one entry in the ledger."""
    found = runs.killed["train"].project(spark).train(as_of=AS_OF)

    assert found.metrics == runs.trained.metrics
    assert _artifact(runs.killed["train"], found) == _artifact(runs.unbroken, runs.trained)
    assert len(runs.killed["train"].tables(spark).rows("runs", {"verb": "train"})) == 1


@pytest.mark.timeout(1200)
def test_mlflow_has_one_run_with_each_epoch_once(runs: Runs) -> None:
    """However often training was killed: a finished run, each metric of an epoch at its step, the final ones, the settings and the pictures."""
    histories = []
    for place in (runs.killed["train"], runs.unbroken):
        client = MlflowClient(tracking_uri=f"sqlite:///{place.folder}/data/mlflow.db")
        (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
        run_id = run.info.run_id

        assert run.info.status == "FINISHED"
        histories.append(
            # An epoch whose report came while nobody listened is logged at the end.
            {
                name: sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))
                for name in ("train_loss", "validation_loss")
            }
        )
        assert run.data.metrics.items() >= runs.trained.metrics.items()
        assert run.data.params["epochs"] == "2"
        pictures = {file.path for file in client.list_artifacts(run_id) if file.path.endswith(".png")}
        assert pictures == {"confusion.png", "learning_curve.png", "reliability.png"}
    assert histories[0] == histories[1]
    assert [step for step, _ in histories[0]["validation_loss"]] == [0, 1]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("chain", ["score", "staged"])
def test_killed_scoring_ends_as_the_unbroken_one(runs: Runs, spark: SparkSession, chain: str) -> None:
    """By either engine the same scoring set, predictions and quarantine, one entry in the ledger, and no file that no version has."""
    place = runs.killed[chain]
    found = place.project(spark).score(WINDOW, as_of=AS_OF)

    assert (found.rows, found.quarantined) == (runs.scored.rows, runs.scored.quarantined)
    assert runs.scored.quarantined == 1
    for name in ("tiny_scores", "tiny_scores_scoring_set"):
        assert content(place.tables(spark).read(name)) == content(runs.unbroken.tables(spark).read(name)), name
    assert len(place.tables(spark).rows("runs", {"verb": "score"})) == 1
    files = TableFiles(place.tables(spark), "tiny_scores")
    assert {path.relative_to(files.place).as_posix() for path in Path(files.place).rglob("part-*.parquet")} == {file.path for file in files.live}
    assert not list((place.folder / "data" / "storage" / "staging").rglob("*.parquet"))


def _artifact(place: Place, result: TrainingResult) -> dict[str, bytes]:
    folder = place.folder / "data" / "storage" / result.checkpoint
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} | {"model.json": (folder / "model.json").read_bytes()}
