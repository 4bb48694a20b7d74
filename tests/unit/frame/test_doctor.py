"""`doctor` on machines with real faults: each is found and its mend named. Spark is looked at in tests/spark/frame, a healthy machine in tests/e2e."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_project import Place
from typer.testing import CliRunner

from sparkml_ops.cli.app import app
from sparkml_ops.config.load import load
from sparkml_ops.doctor import Finding, examine
from sparkml_ops.verbs.work import Work


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tiny")


def look(place: Place, check: str, *overrides: str) -> Finding:
    (finding,) = examine(Work(load(place.folder / "conf", "tiny", overrides=overrides)), [check])
    return finding


def java(folder: Path, version: str) -> str:
    """A JAVA_HOME whose program says that it is of a version, as old and new ones do."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(("version", "healthy"), [("1.8.0_392", False), ("11.0.2", False), ("17.0.9", True), ("21", True)])
def test_java_is_17_or_later(version: str, healthy: bool, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one is found with its number."""
    monkeypatch.setenv("JAVA_HOME", java(tmp_path / "jdk", version))
    finding = look(place, "Java")

    assert (finding.healthy, finding.found) == (healthy, version)
    assert "openjdk-17-jre-headless" in finding.mend


def test_no_java_at_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither JAVA_HOME nor the PATH has one, or JAVA_HOME names a folder that is gone."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    none = look(place, "Java")
    monkeypatch.setenv("JAVA_HOME", "/nowhere")

    assert [(finding.healthy, finding.found) for finding in (none, look(place, "Java"))] == [(False, "none")] * 2
    assert "JAVA_HOME" in none.mend


@pytest.mark.parametrize(("name", "module"), [("torch", "torch"), ("Horovod", "horovod/torch")])
def test_a_library_that_does_not_load(name: str, module: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed, and its native part is broken: the message is the loader's, the process that asks goes on."""
    broken = tmp_path / "path" / f"{module}.py"
    broken.parent.mkdir(parents=True)
    (broken.parent / "__init__.py").touch()
    broken.write_text("raise ImportError('libgloo.so: undefined symbol')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    finding = look(place, name)

    assert not finding.healthy
    assert "undefined symbol" in finding.found
    assert "make setup" in finding.mend


def test_too_little_memory_and_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is stands beside what is wanted."""
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(place.folder)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk._replace(free=2**30))
    small, full = look(place, "memory"), look(place, "disk")

    assert (small.healthy, small.found) == (False, "1.0 GiB available, 6 wanted")
    assert "spark.driver_memory" in small.mend
    assert (full.healthy, full.found) == (False, "1.0 GiB free, 2 wanted")
    assert "storage.root" in full.mend


def test_an_mlflow_store_that_is_no_store(place: Place, tmp_path: Path) -> None:
    """A damaged file, and a server that nobody runs: the mend is about the store."""
    damaged = tmp_path / "mlflow.db"
    damaged.write_text("this is no database")
    broken = look(place, "MLflow store", f"mlflow.tracking_uri=sqlite:///{damaged}")
    away = look(place, "MLflow store", "mlflow.tracking_uri=http://127.0.0.1:9")

    for finding in (broken, away):
        assert not finding.healthy
        assert "mlflow.tracking_uri" in finding.mend or "server" in finding.mend, finding
    assert damaged.read_text() == "this is no database"


def test_a_fault_is_exit_code_2_and_people_read_the_mend(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json` gives machines the same."""
    monkeypatch.setenv("JAVA_HOME", java(tmp_path / "jdk", "11.0.2"))
    command = ["doctor", "--project", "tiny", "--conf", str(place.folder / "conf"), "--check", "Python", "--check", "Java"]
    text, machine = CliRunner().invoke(app, command), CliRunner().invoke(app, [*command, "--json"])
    found: list[dict[str, Any]] = json.loads(machine.stdout)

    assert (text.exit_code, machine.exit_code) == (2, 2)
    assert "FAULT Java" in text.stdout
    assert "openjdk-17-jre-headless" in text.stdout
    assert [(finding["check"], finding["healthy"]) for finding in found] == [("Python", True), ("Java", False)]
    assert found[0]["found"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
