"""`runs retry`: which work it does once more, and as of when."""

from __future__ import annotations

import json
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from finished_work import TRAINING_SET, Night
from typer.testing import CliRunner

from sparkml_ops.cli.app import app
from sparkml_ops.errors import ContractError
from sparkml_ops.retraining.lease import Lease
from sparkml_ops.verbs.newest import find_run
from sparkml_ops.verbs.retry import find_work

MARCH = datetime(2020, 3, 1, tzinfo=UTC)
RESULT = {"run_id": "abc", "training_set": TRAINING_SET, "metrics": {}, "checkpoint": "training/x", "warm_start": None}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path / "p")


def test_a_finished_run_gets_the_next_generation_and_its_own_clock(night: Night) -> None:
    """One more than the newest of the same work; other windows and slots count for themselves."""
    first = night.score("2020-01", as_of="2020-03-01")
    night.score("2020-01", as_of="2020-04-01", generation=1)
    night.score("2020-02", generation=5)

    again = find_work(night.work, first[:10])

    assert again.key.text == "score/tiny/tiny_scores/2020-01/champion/2"
    assert again.as_of == MARCH
    assert again.text == f"score/tiny/tiny_scores/2020-01/champion/2 as of 2020-03-01T00:00:00+00:00 (after run {first[:8]}, generation 0)"
    assert find_work(night.work, first, as_of="2020-05-01").as_of == datetime(2020, 5, 1, tzinfo=UTC)


def test_the_key_of_a_finished_run_is_as_good_as_its_id(night: Night) -> None:
    """As the log shows it."""
    run = night.drift("2020-01", {})

    assert find_work(night.work, "drift/tiny/tiny_scores/2020-01/champion/0") == find_work(night.work, run)
    assert find_run(night.work, "drift/tiny/tiny_scores/2020-01/champion/0").run_id == run


def test_work_that_failed_is_done_under_its_own_key(night: Night) -> None:
    """There is nothing to repeat: the same generation, and the clock is now or given."""
    again = find_work(night.work, "score/tiny/tiny_scores/2020-02/champion/0", as_of="2020-03-01")

    assert (again.previous, again.key.generation, again.as_of) == (None, 0, MARCH)
    assert "no run of it has finished" in again.text


def test_a_retraining_that_was_cut_off_keeps_its_clock(night: Night) -> None:
    """It goes on by the decision that it had taken."""
    key = "retrain/tiny/tiny/2020-02/-/0"
    expires = datetime.now(UTC) + timedelta(hours=6)
    night.lend(Lease(1, "tiny", key, socket.gethostname(), os.getpid(), 1.0, MARCH, expires, {"decision": "yes"}))

    assert find_work(night.work, key).as_of == MARCH


@pytest.mark.parametrize("target", ["training-set", "train", "register"])
def test_what_the_work_was_about_comes_from_the_ledger(night: Night, target: str) -> None:
    """Range, training set and training result are those of then; its plan is that of the next generation."""
    runs = {
        "training-set": night.enter(
            "training-set", TRAINING_SET, as_of="2020-02-01", target="tiny", window="2019-10-01T00:00:00+00:00..2020-01-01T00:00:00+00:00"
        ),
        "train": night.enter("train", RESULT, as_of="2020-02-01", target="tiny_1a2b"),
        "register": night.enter("register", {"version": 1}, as_of="2020-02-01", target="tiny", window="abc"),
    }
    night.spine()
    work = night.work
    again = find_work(work, runs[target])
    plan = again.plan(work)

    assert plan.key == again.key.text
    assert (plan.key.split("/")[0], plan.key.split("/")[-1]) == (target, "1")
    assert not plan.done
    assert plan.key.split("/")[3] == {"training-set": "2019-10-01T00:00:00+00:00..2020-01-01T00:00:00+00:00", "train": "-", "register": "abc"}[target]


@pytest.mark.parametrize("verb", ["promote", "build-features"])
def test_a_verb_without_generations_names_its_command(night: Night, verb: str) -> None:
    """Promotions and builds look each time at what there is."""
    run = night.enter(verb, {}, as_of="2020-02-01", target="tiny")

    with pytest.raises(ContractError, match=rf"run `sparkml-ops {verb} --project tiny`"):
        find_work(night.work, run)


@pytest.mark.parametrize("text", ["score/other/tiny_scores/2020-02/champion/0", "score/tiny/2020-02", "score/tiny/tiny_scores/2020-02/champion/next"])
def test_what_is_no_key_of_the_project_is_refused(night: Night, text: str) -> None:
    """With the form of a key."""
    with pytest.raises(ContractError, match="verb/tiny/target/window/slot/generation"):
        find_work(night.work, text)


def test_an_unknown_or_ambiguous_id_names_the_newest(night: Night) -> None:
    """Nothing is guessed."""
    run = night.score("2020-01")

    with pytest.raises(ContractError, match=f"the newest are {run[:8]}"):
        find_work(night.work, "zzz")
    night.score("2020-02")
    with pytest.raises(ContractError, match="found 2 runs"):
        find_run(night.work, "")


def test_the_command_says_what_it_will_do_and_plans_without_writing(night: Night) -> None:
    """`--plan` leaves the ledger as it is."""
    night.spine()
    run = night.enter("training-set", TRAINING_SET, as_of="2020-02-01", target="tiny", window="2020-01-01T00:00:00+00:00")

    done = CliRunner().invoke(app, ["runs", "retry", run[:8], "--project", "tiny", "--conf", str(night.place.folder / "conf"), "--plan", "--json"])

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["key"] == "training-set/tiny/tiny/2020-01-01T00:00:00+00:00/-/1"
    assert re.search(rf"retry: training-set/.*after run {run[:8]}, generation 0", done.stderr)
    assert len(night.work.ledger.runs()) == 1
