"""The guide "run it every night", block by block in a shell, on the tiny project."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from ended import run
from mlflow import MlflowClient
from night_shell import AS_OF, Night, guide

from sparkml_ops.cli.submit import submit_command

GUIDE, BLOCKS = guide("run_it_every_night")
pytestmark = pytest.mark.timeout(1800)  # some thirty commands, most of them in the fixture


def test_the_night_does_all_that_is_due_and_a_second_one_nothing(night: Night) -> None:
    """January was scored on its own, February is caught up; both are measured, a decision is taken.

    Then nothing is due, also where somebody has changed the settings of finished work.
    """
    verbs = [(run.key.verb, run.key.window) for run in night.place.project(night.spark).runs() if run.key.window.startswith("2020-0")]
    before = night.versions()
    settings = night.place.folder / "conf" / "projects" / "tiny" / "monitoring.yaml"
    written = settings.read_text()

    settings.write_text(json.dumps({"drift": {"columns": ["distance"]}}))
    again = night.shell(f"./nightly.sh tiny {AS_OF}")
    settings.write_text(written)

    for verb in ("score", "drift", "monitor"):
        assert [window for found, window in verbs if found == verb] == ["2020-01", "2020-02"], verb
    assert [window for found, window in verbs if found == "retrain"] == ["2020-02"]
    assert again.status == 0, again.errors
    assert night.versions() == before
    assert "nothing is due" in again.errors
    status = again.records[-1]
    assert status["alarms"] == []
    assert not status["stale"]
    assert [table["newest"] for table in status["tables"] if table["holds"] not in ("features", "training rows")] == ["2020-02"] * 3


def test_the_script_ends_with_the_code_of_the_verb_that_failed(night: Night) -> None:
    """March has no rows: exit code 2 is not tried again, and what was done before it stays."""
    ended = night.shell("./nightly.sh tiny 2020-04-01")

    assert ended.status == 2
    assert "no rows in window 2020-03" in ended.errors
    assert ended.errors.count("no rows in window 2020-03") == 1


def test_catching_up_stops_at_the_first_failure_and_keeps_what_came_before(night: Night) -> None:
    """A shadow begins in February: that is scored, March has no rows; run again it goes on there, and an empty window can be allowed."""
    client = MlflowClient(tracking_uri=f"sqlite:///{night.place.folder}/data/mlflow.db")
    client.set_registered_model_alias("tiny", "shadow", "1")
    command = "sparkml-ops score --project tiny --slot shadow --due --as-of 2020-04-15 --json"

    first, again = night.shell(f"{command} --from 2020-02"), night.shell(command)

    assert (first.status, again.status) == (2, 2)
    assert [record["window"] for record in first.records] == ["2020-02"]
    assert again.records == []
    assert "no rows in window 2020-03" in again.errors
    allowed = night.shell(f"{command} --set scoring.allow_empty=true")
    assert allowed.status == 0, allowed.errors
    assert [(record["window"], record["rows"]) for record in allowed.records] == [("2020-03", 0)]


def test_nothing_due_is_no_error_and_a_plan_writes_nothing(night: Night) -> None:
    """The plan shows March; the window that is there already is not due."""
    before = night.versions()

    ended = night.block("catching-up")

    assert ended.status == 0, ended.errors
    assert "score/tiny/tiny_scores/2020-03/champion/0: would run" in ended.output
    assert "2020-02/champion" not in ended.output
    assert "nothing is due" in ended.errors
    assert night.versions() == before


def test_looking_writes_nothing(night: Night) -> None:
    """Status, runs and doctor, as on call; a notebook's handle says the same."""
    before, project = night.versions(), night.place.project(night.spark)

    ended = night.block("looking")

    assert ended.status == 0, ended.errors
    assert "no alarms" in ended.output
    assert "version 1 of tiny, as its events say" in ended.output
    assert (project.status(as_of=AS_OF).alarms, project.score_due(as_of=AS_OF)) == ((), ())
    assert night.versions() == before


def test_a_window_once_more_gets_the_next_generation(night: Night) -> None:
    """Of the same rows; the plan says what it will be."""
    ended = night.block("once-more")

    assert ended.status == 0, ended.errors
    assert "score/tiny/tiny_scores/2020-02/champion/1: would run" in ended.output
    (run,) = (run for run in night.place.project(night.spark).runs() if run.key.text == "score/tiny/tiny_scores/2020-02/champion/1")
    assert (run.as_of.isoformat(), run.record["window"]) == ("2020-03-01T00:00:00+00:00", "2020-02")
    found = (
        night.place.project(night.spark).predictions("2020-02", slot="champion").selectExpr("count(*)", "min(generation)", "max(generation)").first()
    )
    assert tuple(found or ()) == (run.record["rows"], 1, 1)


def test_a_champion_deleted_by_hand_is_told_and_comes_back(night: Night) -> None:
    """Scoring stops with 2, status and doctor say why; the guide's commands make it champion again, though a promotion would be refused."""
    client = MlflowClient(tracking_uri=f"sqlite:///{night.place.folder}/data/mlflow.db")
    client.delete_registered_model_alias("tiny", "champion")

    status, sick = (
        night.shell(f"sparkml-ops status --project tiny --as-of {AS_OF}"),
        night.shell("sparkml-ops doctor --project tiny --check champion"),
    )
    scored = night.shell(f"sparkml-ops score --project tiny --window 2020-01 --generation next --as-of {AS_OF}")
    gates = night.place.folder / "conf" / "projects" / "tiny" / "release.yaml"
    written = gates.read_text()
    gates.write_text(written.replace("at_least: 0.5", "at_least: 0.999"))
    healed, refused = night.block("deleted"), night.shell(f"sparkml-ops promote --project tiny --as-of {AS_OF}")
    gates.write_text(written)

    assert "at_least: 0.5" in written
    assert status.status == 0
    assert refused.status == 3
    assert "tiny@champion at no version, moved by hand in MLflow" in status.output
    assert sick.status == 2
    assert "sparkml-ops reconcile" in sick.output
    assert scored.status == 2
    assert healed.status == 0, healed.errors
    assert int(client.get_registered_model("tiny").aliases["champion"]) == 1


def stubs(folder: Path, **programs: str) -> dict[str, str]:
    """Programs of the PATH that write down how they were called, then do what their text says."""
    for name, text in programs.items():
        program = folder / "bin" / name.replace("_", "-")
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/bash\necho "{program.name} $*" >> calls\n{text}\n')
        program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("codes", "status", "pauses"), [("4 4 0", 0, ["sleep 60", "sleep 600"]), ("4 4 4", 4, ["sleep 60", "sleep 600"]), ("4 3", 3, ["sleep 60"])]
)
def test_what_may_pass_by_itself_is_tried_three_times(codes: str, status: int, pauses: list[str], tmp_path: Path) -> None:
    """The script waits a minute, then ten; any other code than 4 ends it at once, and a later success lets it go on."""
    times = f'codes=({codes}); echo >> "$1.times"; exit "${{codes[$(wc -l < "$1.times") - 1]}}"'
    environment = stubs(tmp_path, sparkml_ops=f'[ "$1" = build-features ] || exit 0\n{times}', sleep="")
    assert run(["bash", "-e", "-c", BLOCKS["script"]], environment, tmp_path).status == 0

    ended = run(["./nightly.sh", "tiny", AS_OF], environment, tmp_path)

    calls = (tmp_path / "calls").read_text().splitlines()
    assert ended.status == status, ended.errors
    assert [call for call in calls if call.startswith("sleep")] == pauses
    assert sum("build-features" in call for call in calls) == len(codes.split())
    assert any(call.startswith("sparkml-ops status") for call in calls) == (status == 0)


def test_the_line_of_cron_makes_its_logs_and_tells_a_held_lock_from_a_failure(tmp_path: Path) -> None:
    """In a fresh folder, by cron's own shell; 75 is in the table of exit codes, and the night that is at work is left alone."""
    (line,) = re.findall(r"^15 2 \* \* \*  (.*)$", GUIDE, re.MULTILINE)
    command = ["/bin/sh", "-c", line.replace("/srv/flights", str(tmp_path))]
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    nightly = tmp_path / "nightly.sh"
    nightly.write_text("#!/bin/bash\necho record; echo log >&2; exit 3\n")
    nightly.chmod(0o755)

    failed = run(command, os.environ, tmp_path)
    with subprocess.Popen(
        ["flock", "nightly.lock", "-c", "echo held; read line"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as held:
        assert held.stdout
        assert held.stdout.readline() == b"held\n"
        waited = run(command, os.environ, tmp_path)

    assert (failed.output, waited.output) == ("flights: exit code 3\n", "flights: exit code 75\n")
    assert [(tmp_path / "logs" / name).read_text() for name in ("records.log", "nightly.log")] == ["record\n", "log\n"]
    assert re.search(r"^\| 75 \|", GUIDE, re.MULTILINE)


def test_every_block_was_executed(night: Night) -> None:
    """A block that no test runs would be a promise; the cluster's command is the one that README prints."""
    assert set(BLOCKS) <= set(night.done)
    assert submit_command("score").replace("--window 2013-07", "--due") in GUIDE
