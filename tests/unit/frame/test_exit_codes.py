"""How a command ends: the exit code of each error, one line for people, one object for machines."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import typer
from finished_work import TRAINING_SET, Night
from mlflow import MlflowClient
from pydantic import TypeAdapter
from tiny_project import Place
from typer.testing import CliRunner, Result

from feature_store.errors import ConflictError, ContractError, ErasedError, OpsError, TableNotFound
from sparkml_ops.cli.app import app
from sparkml_ops.cli.options import Common, command, refusing
from sparkml_ops.errors import ConfigurationError, GateRefused, RetryableError
from sparkml_ops.records import ModelVersion, TrainingSet
from sparkml_ops.storage import StorageFull
from sparkml_ops.tracking import Tracking
from sparkml_ops.tracking.registered import tags_of
from sparkml_ops.training.launch.errors import PeerLost, RankFailed, StartTimeout
from sparkml_ops.training.loop import NotFiniteError

PACKAGES = [Path(__file__).resolve().parents[3] / name for name in ("feature_store", "sparkml_ops")]
CODES: dict[type[OpsError], int] = {
    ConfigurationError: 2,
    ContractError: 2,
    ErasedError: 2,
    TableNotFound: 2,
    GateRefused: 3,
    ConflictError: 4,
    PeerLost: 4,
    RetryableError: 4,
    StartTimeout: 4,
    NotFiniteError: 5,
    OpsError: 5,
    RankFailed: 5,
    StorageFull: 5,
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Place(tmp_path / "p").folder / "conf"


def end(conf: Path, error: BaseException, *options: str) -> Result:
    """A command of ours that ends so."""
    program = typer.Typer()

    def body(common: Common) -> None:
        raise error

    program.command()(command(body))
    return CliRunner().invoke(program, ["--conf", str(conf), *options])


class TestTypedErrors:
    @pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
    def test_each_error_has_its_exit_code(self, conf: Path, kind: type[OpsError]) -> None:
        """What README promises to a scheduler, on standard error with its mend; standard output stays empty."""
        people = end(conf, kind("two heads", expected="one", mend="take one off"))
        machines = end(conf, kind("two heads", expected="one", mend="take one off"), "--json")

        assert (people.exit_code, machines.exit_code) == (CODES[kind], CODES[kind])
        assert people.stderr == f"{kind.__name__}: found two heads; expected one; take one off\n"
        assert json.loads(machines.stderr) == {
            "error": kind.__name__,
            "found": "two heads",
            "expected": "one",
            "mend": "take one off",
            "exit_code": CODES[kind],
        }
        assert people.stdout == machines.stdout == ""

    def test_no_error_of_ours_is_left_out(self) -> None:
        """A new kind enters this table."""
        text = "\n".join(path.read_text() for package in PACKAGES for path in package.rglob("*.py"))
        parents = {kind.__name__ for kind in CODES}

        found = {name for name, bases in re.findall(r"^class (\w+)\(([\w, ]+)\):", text, re.MULTILINE) if parents & set(bases.split(", "))}

        assert found == parents - {"OpsError"}

    def test_a_gate_that_refuses_is_exit_code_3(self, tmp_path: Path, tracking: Tracking) -> None:
        """A registered version without a gate report is no champion."""
        night, client = Night(tmp_path / "p"), MlflowClient(tracking_uri=tracking.uri)
        client.create_registered_model("tiny")
        made = ModelVersion("tiny", 1, "d", TypeAdapter(TrainingSet).validate_python(TRAINING_SET))
        client.create_model_version("tiny", str(tmp_path / "none"), tags=tags_of("d", {}, "sparkml_ops.model", made.training_set))
        night.enter("register", asdict(made), as_of="2020-01-01", target="tiny")

        ended = CliRunner().invoke(app, ["promote", "--conf", str(night.place.folder / "conf"), "--set", f"mlflow.tracking_uri={tracking.uri}"])

        assert ended.exit_code == 3, ended.output
        assert "GateRefused" in ended.stderr


class TestUnforeseen:
    def test_it_is_exit_code_5_and_one_line(self, conf: Path) -> None:
        """The first line of what a library says; the log has the traceback, without the values of variables."""
        log, line = end(conf, ZeroDivisionError("by nought\nat java.lang.Thread")).stderr.splitlines()

        assert end(conf, ZeroDivisionError("by nought")).exit_code == 5
        assert line == "ZeroDivisionError: found by nought; this was not foreseen: the traceback is in the log"
        assert "in body" in json.loads(log)["traceback"]

    def test_machines_get_an_object(self, conf: Path) -> None:
        """As for every other error; passwords stay hidden."""
        ended = end(conf, OSError("postgresql://me:hunter2@db is away"), "--json")
        error = json.loads(ended.stderr.splitlines()[-1])

        assert (ended.exit_code, error["error"], error["exit_code"]) == (5, "OSError", 5)
        assert error["found"] == "postgresql://me:***@db is away"

    def test_a_command_without_a_project_ends_the_same_way(self) -> None:
        """`init` too."""
        program = typer.Typer()

        def body() -> None:
            raise KeyError

        program.command()(refusing(body))
        ended = CliRunner().invoke(program, [])

        assert ended.exit_code == 5
        assert ended.stderr.splitlines()[-1].startswith("KeyError: found no message; ")

    def test_an_interrupt_and_a_wrong_option_end_as_everywhere(self, conf: Path) -> None:
        """Ctrl-C is no bug, and neither is a typing error."""
        assert end(conf, KeyboardInterrupt()).exit_code == 130
        assert end(conf, typer.BadParameter("no")).exit_code == 2
        assert end(conf, typer.Exit(7)).exit_code == 7


class TestProject:
    def test_the_only_project_need_not_be_named(self, tmp_path: Path) -> None:
        """So README's short commands do as printed."""
        place = Place(tmp_path / "p")

        shown = CliRunner().invoke(app, ["config", "show", "--origin", "--conf", str(place.folder / "conf")])

        assert shown.exit_code == 0, shown.output
        lines = {words[0]: words[1:] for line in shown.stdout.splitlines() if (words := line.split())}
        assert lines["scoring.max_quarantine_share"] == ["conf/projects/tiny/scoring.yaml", "0.1"]

    def test_of_several_one_must_be_named(self, conf: Path) -> None:
        """The names are in the message; hidden folders are no projects."""
        for name in ("shop", ".git"):
            (conf / "projects" / name).mkdir()

        ended = CliRunner().invoke(app, ["runs", "list", "--conf", str(conf)])

        assert ended.exit_code == 2
        assert ended.stderr.startswith("ConfigurationError: found 2 projects under")
        assert "--project with one of ['shop', 'tiny']" in ended.stderr

    def test_the_commands_in_a_mend_name_the_project(self, conf: Path) -> None:
        """They can be typed as they stand."""
        error = ContractError("x", mend="see `sparkml-ops runs list`, run `sparkml-ops train --project tiny` or `sparkml-ops init`")

        ended = end(conf, error, "--project", "tiny", "--json")

        mend = "see `sparkml-ops runs list --project tiny`, run `sparkml-ops train --project tiny` or `sparkml-ops init`"
        assert json.loads(ended.stderr)["mend"] == mend
