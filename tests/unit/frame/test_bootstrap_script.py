"""The set-up script: what it refuses, and that a finished set-up is found again."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def bootstrap(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "bootstrap.py"), *options]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("printed", "found"), [('openjdk version "11.0.20"', "11"), ('java version "1.8.0_381"', "8"), ("nothing", "of unknown version")]
)
def test_an_old_java_is_refused_with_what_to_install(tmp_path: Path, printed: str, found: str) -> None:
    """Before anything is installed."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{printed}' >&2\n")
    java.chmod(0o755)
    done = bootstrap("--venv", str(tmp_path / "venv"), JAVA_HOME=str(tmp_path))

    assert done.returncode == 2
    assert f"found Java {found} at {java}, expected 17 or later: install Java 17" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_java_is_refused_with_what_to_install(tmp_path: Path) -> None:
    """JAVA_HOME that leads nowhere counts as none."""
    done = bootstrap("--venv", str(tmp_path / "venv"), JAVA_HOME=str(tmp_path))

    assert done.returncode == 2
    assert f"found no Java under JAVA_HOME={tmp_path}: install Java 17" in done.stderr


def test_a_finished_set_up_is_found_again(tmp_path: Path) -> None:
    """A stamp of the same locks and the same Python: nothing is installed; another stamp would be no reason to stop."""
    venv = tmp_path / "venv"
    venv.mkdir()
    stamp = venv / "sparkml-ops.stamp"
    script = runpy.run_path(str(ROOT / "scripts" / "bootstrap.py"))
    stamp.write_text(script["fingerprint"](script["check_java"]()))
    done = bootstrap("--venv", str(venv))

    assert (done.returncode, done.stdout) == (0, "setup: up to date\n")
    assert [path.name for path in venv.iterdir()] == [stamp.name]
