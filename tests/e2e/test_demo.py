"""The demo on the real flights: its numbers, its reports, and a second run that repeats nothing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Spark jobs and commits of each verb: a ratchet. Lower it when a verb gets cheaper; a higher number needs a reason.
BUDGET = {
    "build-features": (160, 21),
    "training-set": (42, 4),
    "train": (130, 1),
    "register": (10, 3),
    "promote": (10, 3),
    "score 2013-07": (42, 5),
    "score 2013-08": (35, 3),
    "drift 2013-07": (29, 6),
    "drift 2013-08": (18, 3),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def demo(data: Path, name: str) -> tuple[dict[str, Any], str]:
    table = data / f"{name}.json"
    command = [sys.executable, "scripts/demo.py", "--data", str(data / "data"), "--json", str(table)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(table.read_text()), done.stdout


@pytest.fixture(scope="module")
def first(data: Path) -> tuple[dict[str, Any], str]:
    return demo(data, "first")


def test_every_verb_ran_within_its_budget(first: tuple[dict[str, Any], str]) -> None:
    """Jobs and commits of a verb do not creep up."""
    steps = {step["verb"]: step for step in first[0]["steps"]}

    assert set(steps) == set(BUDGET)
    assert all(step["fresh"] for step in steps.values())
    over = {
        verb: (step["jobs"], step["commits"]) for verb, step in steps.items() if step["jobs"] > BUDGET[verb][0] or step["commits"] > BUDGET[verb][1]
    }
    assert not over


def test_the_model_beats_its_baselines_on_july(first: tuple[dict[str, Any], str], data: Path) -> None:
    """AUC at least 0.73, above logistic regression with a positive lower limit, no worse log loss, and no leak."""
    runs = subprocess.run(
        [sys.executable, "-m", "sparkml_ops", "runs", "list", "--project", "flights", "--json", *places(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert runs.returncode == 0, runs.stderr
    metrics = next(run["record"]["metrics"] for run in json.loads(runs.stdout) if run["key"].startswith("train/"))

    assert 0.73 <= metrics["evaluation_auc"] < 0.80
    assert metrics["auc_gain_logistic_lower"] > 0
    assert metrics["evaluation_log_loss"] <= metrics["baseline_logistic_log_loss"]
    assert metrics["evaluation_log_loss"] < metrics["baseline_rate_log_loss"]
    assert not any(math.isnan(value) for value in metrics.values())


def test_memory_stays_within_six_gibibytes(first: tuple[dict[str, Any], str]) -> None:
    """All processes together."""
    assert first[0]["peak_gib"] <= 6


def test_the_reports_are_pages_with_pictures(first: tuple[dict[str, Any], str], data: Path) -> None:
    """Each month has its page, and it needs no network."""
    for month in ("2013-07", "2013-08"):
        page = (data / "data" / "reports" / f"drift-{month}.html").read_text()
        assert "<svg" in page
        assert "http://" not in page.replace("http://www.w3.org/", "")


def test_a_second_run_repeats_nothing(first: tuple[dict[str, Any], str], data: Path) -> None:
    """No verb writes; each says what is there."""
    second, text = demo(data, "second")

    assert not any(step["fresh"] or step["commits"] for step in second["steps"])
    assert text.count("already done: ") == len(BUDGET)
    assert [step["made"] for step in second["steps"]] == [step["made"] for step in first[0]["steps"]]


def places(data: Path) -> list[str]:
    """Options that point a command at the demo's folder."""
    folder = data / "data"
    values = (f"storage.root={folder}/storage", f"warehouse.root={folder}/warehouse", f"mlflow.tracking_uri=sqlite:///{folder}/mlflow.db")
    return [part for value in values for part in ("--set", value)]


def test_the_quick_start_notebook_runs_on_the_same_tables(first: tuple[dict[str, Any], str], data: Path) -> None:
    """A notebook is a door like the others: finished work is returned, and its cells show it."""
    values = " ".join(places(data)[1::2])
    environment = {**os.environ, "SPARKML_OPS_CONF": str(ROOT / "conf"), "SPARKML_OPS_SET": values}
    done = subprocess.run([sys.executable, "notebooks/01_quick_start.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr[-3000:]
    assert "July AUC 0.7" in done.stdout
    assert "in quarantine" in done.stdout


def test_spark_submit_is_a_door_like_the_others(first: tuple[dict[str, Any], str], data: Path) -> None:
    """The command of the README: Delta by --packages, one JSON line on standard output, the work entered in the ledger."""
    extensions = "spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension"
    catalog = "spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog"
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}  # as after `source .venv/bin/activate`
    submit = [str(binaries / "spark-submit"), "--master", "local[2]", "--packages", "io.delta:delta-spark_4.2_2.13:4.4.0"]
    command = [
        *submit,
        "--conf",
        extensions,
        "--conf",
        catalog,
        "jobs/drift.py",
        "--project",
        "flights",
        "--window",
        "2013-07",
        "--generation",
        "next",
    ]
    done = subprocess.run([*command, *places(data)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr[-3000:]
    again = json.loads(done.stdout.strip().splitlines()[-1])
    step = next(step for step in first[0]["steps"] if step["verb"] == "drift 2013-07")
    drifted = [name for name, column in again["columns"].items() if column["verdict"] == "drift"]
    assert step["made"] == f"{len(drifted)} of {len(again['columns'])} columns drift"
