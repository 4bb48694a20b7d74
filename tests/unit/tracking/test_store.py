"""Stores that cannot be used are told at once, and telemetry is off."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from feature_store import hooks
from sparkml_ops.errors import ContractError, RetryableError
from sparkml_ops.tracking import Registry, Tracking


def test_a_server_that_does_not_answer_may_answer_later() -> None:
    """MLflow alone would try for minutes; the error ends the verb with exit code 4."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    with pytest.raises(RetryableError, match=f"no MLflow server at 127.0.0.1:{port}"):
        Tracking(f"http://user:secret@127.0.0.1:{port}", "flights", None).run("k", "a")


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says", None], ids=["text", "folder"])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """What lies under the name is told, with the setting to correct."""
    path = tmp_path / "mlflow.db"
    path.mkdir() if content is None else path.write_bytes(content)

    with pytest.raises(ContractError, match=r"mlflow\.db .*correct mlflow.tracking_uri"):
        Tracking(f"sqlite:///{path}", "flights", None).run("k", "a")


def test_a_store_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    """An unwritable place is an error before any work."""
    (tmp_path / "data").write_text("a file")

    with pytest.raises(ContractError, match="a SQLite file that can be written"):
        Tracking(f"sqlite:///{tmp_path / 'data' / 'mlflow.db'}", "flights", None).run("k", "a")


def test_a_file_keeps_its_own_models(tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever registry a notebook has named to MLflow: another process would not find them there."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path / 'another.db'}")
    tracking.open().create_registered_model("flights")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")

    assert [model.name for model in tracking.open().search_registered_models()] == ["flights"]
    assert not (tmp_path / "another.db").exists()


def test_who_only_reads_makes_no_store(tmp_path: Path) -> None:
    """A plan writes nothing."""
    path = tmp_path / "mlflow.db"

    with pytest.raises(ContractError, match="no MLflow store"):
        Registry(f"sqlite:///{path}").resolve("flights", "champion")
    assert not path.exists()


def test_a_store_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    """MLflow cannot go on with half a database: the file appears when it is whole."""
    uri = f"sqlite:///{tmp_path / 'data' / 'mlflow.db'}"

    def work() -> None:
        os.environ[hooks.VARIABLE] = json.dumps({"kill": "mlflow.create_store:before", "once": str(tmp_path / "killed")})
        Registry(uri).open(create=True)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()

    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "data" / "mlflow.db").exists()
    Registry(uri).open(create=True)
    assert Registry(uri).check().endswith("0 registered models")


def test_a_check_says_what_is_there_and_makes_nothing(tracking: Tracking, tmp_path: Path) -> None:
    """A store that works, one that will be made, and one that cannot be."""
    absent = tmp_path / "new" / "mlflow.db"
    (tmp_path / "data").write_text("a file")

    assert tracking.check() == f"{tmp_path / 'mlflow.db'}, 0 registered models"
    assert Registry(f"sqlite:///{absent}").check() == f"{absent}, made at the first training"
    assert not absent.parent.exists()
    with pytest.raises(ContractError, match="cannot be written"):
        Registry(f"sqlite:///{tmp_path / 'data' / 'mlflow.db'}").check()


def test_without_an_address_the_notebooks_store_is_used(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook has set its store already, or its platform has."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)

    assert Registry().uri == tracking.uri


def test_a_process_that_opens_a_store_sends_no_telemetry(tracking: Tracking) -> None:
    """MLflow counts usage unless told not to; neither tests nor CI variables are the reason here."""
    script = (
        "import sys\nfrom sparkml_ops.tracking import Tracking\nassert 'mlflow' not in sys.modules\n"
        "Tracking(sys.argv[1], 'flights', None).open()\n"
        "from mlflow.telemetry.client import get_telemetry_client\nfrom mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(get_telemetry_client(), is_telemetry_disabled())\n"
    )
    plain = ("PATH", "HOME", "LD_LIBRARY_PATH")
    done = subprocess.run(
        [sys.executable, "-c", script, tracking.uri],
        capture_output=True,
        text=True,
        check=False,
        env={key: os.environ[key] for key in plain if key in os.environ},
    )

    assert done.stdout.strip() == "None True", done.stderr
