"""The verb before any session: its plan, what it refuses, its retry, its table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_work import TRAINING_SET, Night
from typer.testing import CliRunner

from feature_store.records import Snapshot, TrainingSet
from sparkml_ops.cli.app import app
from sparkml_ops.cli.trials import show_trials
from sparkml_ops.config.load import load
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.config.tuning import TuningSection
from sparkml_ops.records import TuningResult
from sparkml_ops.training.tuning.tune import study_name
from sparkml_ops.verbs.retry import find_work

SPACE = ("tuning.space={training.optimizer.lr: {low: 0.001, high: 0.1, log: true}, training.model.hidden: {choices: [[8], [16, 8]]}}",)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    made = Night(tmp_path / "p", *SPACE)
    made.enter("training-set", TRAINING_SET, as_of="2020-02-01", target="tiny", window="..2020-01-01T00:00:00+00:00")
    return made


def call(night: Night, *words: str, space: tuple[str, ...] = SPACE) -> Any:
    options = [word for line in space for word in ("--set", line)]
    return CliRunner().invoke(app, ["tune", "--project", "tiny", "--conf", str(night.place.folder / "conf"), *options, *words])


def test_the_plan_says_what_would_be_tried_and_where(night: Night) -> None:
    """Space, budget, place, judge; nothing is written."""
    before = sorted(night.place.folder.rglob("*"))
    done = call(night, "--plan", "--json", "--set", "tuning.minutes=30", "--set", "tuning.parallel=2")

    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["key"] == "tune/tiny/tiny_1a2b/-/-/0"
    assert plan["reads"] == ["table training_set_tiny_1a2b@0, splits train and validation"]
    assert plan["notes"] == [
        "20 trials or 30 minutes: 2 at a time, each by one rank in one Spark task",
        "minimize validation_loss in at most 2 epochs, sampler tpe, pruner none",
        "training.optimizer.lr: 0.001 to 0.1, by order of magnitude",
        "training.model.hidden: one of [8], [16,8]",
    ]
    assert sorted(night.place.folder.rglob("*")) == before


def test_an_empty_space_is_refused_before_anything_starts(night: Night) -> None:
    """With the line to add."""
    done = call(night, space=())

    assert done.exit_code == 2
    assert "an empty tuning.space" in done.stderr
    assert "training.optimizer.lr: {low: 0.0001" in done.stderr


def test_a_search_is_done_again_on_its_training_set(night: Night) -> None:
    """As every verb with generations."""
    night.enter("tune", {"value": 0.5}, as_of="2020-02-01", target="tiny_1a2b")
    again = find_work(night.work, "tune/tiny/tiny_1a2b/-/-/0")

    assert again.plan(night.work).key == "tune/tiny/tiny_1a2b/-/-/1"


def test_a_study_is_known_by_what_decides_its_trials() -> None:
    """More trials, minutes or workers go on with it; another seed, space or epoch is another study."""
    rows = TrainingSet("t_1", Snapshot("training_set_t_1", 0), {}, "c0ffee", 9)
    training, tuning = TrainingSection(), TuningSection(space={"training.optimizer.lr": {"low": 0.1, "high": 1}})
    name = study_name(rows, training, tuning)

    def named(**changes: Any) -> str:
        own = {key: value for key, value in changes.items() if key in TuningSection.model_fields and key != "seed"}
        others = {key: value for key, value in changes.items() if key not in own}
        return study_name(rows, training.model_copy(update=others), tuning.model_copy(update=own))

    assert name.startswith("t_1-")
    assert {named(trials=99), named(minutes=1.0), named(parallel=4), named(margin=0.5), named(workers=8), named(backend="ddp")} == {name}
    others = [named(epochs=9), named(sampler="random"), named(direction="maximize"), named(seed=8), named(space={})]
    others.append(study_name(replace(rows, content_hash="dead"), training, tuning))
    assert len({name, *others}) == 1 + len(others)


def test_the_table_ends_with_the_command_to_paste(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    """Its options, read by the configuration, are the best trial's values."""
    lines = ("training.optimizer.lr=0.012", "training.model.hidden=[16,8]", "training.optimizer.kind=adamw")
    leader = {"number": 3, "value": 0.5, "params": {"training.optimizer.lr": 0.012, "training.model.hidden": [16, 8]}, "seconds": 1.25, "epochs": 2}
    result = TuningResult("r", TrainingSet(**{**TRAINING_SET, "snapshot": Snapshot("t", 0)}), "tuning/s", "validation_loss", 0.5, lines, {"complete": 4, "pruned": 1, "failed": 0}, (leader,), {"training.optimizer.lr": 0.9})  # fmt: skip
    show_trials(result)
    shown = capsys.readouterr().err
    found = load(night.place.folder / "conf", "tiny", overrides=lines).sections.training

    assert "the best of 5 trials (4 complete, 1 pruned, 0 failed)" in shown
    assert "what mattered: optimizer.lr 90%" in shown
    assert "sparkml-ops train --set training.optimizer.lr=0.012 --set 'training.model.hidden=[16,8]' --set training.optimizer.kind=adamw" in shown
    assert (found.optimizer.lr, found.model.hidden) == (0.012, (16, 8))
