"""What the doors lead to: a prepared project, a second environment made from the wheel, and a cluster that runs it."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import ROOT, Installed
from pyspark.sql import SparkSession
from standalone_cluster import StandaloneCluster
from tiny_plans import FEW_ROWS
from tiny_project import Place


@pytest.fixture(scope="session")
def place(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The project with a champion, ready to score."""
    prepared = Place(tmp_path_factory.mktemp("prepared"), spark={"conf": FEW_ROWS})
    prepared.prepare(spark)
    return prepared


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from the wheel alone, in the versions of the lock; packages are links into the installer's cache."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for package in ("feature_store", "sparkml_ops"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    uv, python, prefix = str(Path(sys.executable).with_name("uv")), sys.executable, folder / "env"
    _run(uv, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", python, "--out-dir", str(folder), str(source))
    _run(uv, "venv", "--quiet", "--python", python, str(prefix))
    wheel = next(folder.glob("sparkml_ops-*.whl"))
    horovod: Path = runpy.run_path(str(ROOT / "scripts" / "bootstrap.py"))["horovod_wheel"](ROOT / ".venv")
    install = [uv, "pip", "install", "--quiet", "--python", str(prefix / "bin" / "python"), "--find-links", str(horovod.parent)]
    install += ["--constraint", str(ROOT / "requirements" / "lock.txt"), f"sparkml-ops[spark,executor] @ {wheel.as_uri()}"]
    try:
        _run(*install, "--offline")
    except subprocess.CalledProcessError:
        _run(*install)  # the cache of `make setup` is gone
    shutil.rmtree(source)
    (folder / "home").mkdir()
    return Installed(prefix, folder / "home")


@pytest.fixture(scope="session")
def cluster(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    """A master and two workers of one slot each, which know the second environment only."""
    home = installed.packages / "pyspark"
    started = StandaloneCluster(tmp_path_factory.mktemp("cluster"), workers=2, cores=1, environment=installed.environment, spark_home=home)
    yield started
    started.close()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=1200)
