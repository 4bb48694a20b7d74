"""The year of flights: numbers, decisions, pages, a challenger that is refused, one that takes over, and a second run that repeats nothing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MONTHS = [f"2013-{month:02d}" for month in range(7, 13)]
PATH = ("build-features", "training-set", "train", "register", "promote")
# Spark jobs and commits of each verb: a ratchet. Lower it when a verb
# gets cheaper; a higher number needs a reason.
BUDGET = {
    "build-features": (145, 21),
    "training-set": (35, 4),
    "train": (20, 1),
    "register": (2, 5),
    "promote": (2, 4),
    "score": (30, 3),
    "drift": (8, 3),
    "monitor": (18, 2),
    "retrain": (6, 1),
}
# A new champion has another reference: its profile is made and stored once, with the first window that it scored.
NEW_CHAMPION = {"score": (5, 0), "drift": (2, 0), "monitor": (3, 0)}
COMMITS_A_MONTH = 8  # three each of score and drift, and two of monitor; the decision is retraining's
pytestmark = pytest.mark.timeout(3600)  # of the fixture too: a year on a busy machine

Demo = tuple[dict[str, Any], str]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def demo(data: Path, name: str) -> tuple[dict[str, Any], str]:
    table = data / f"{name}.json"
    command = [sys.executable, "scripts/demo.py", "--months", str(len(MONTHS)), "--data", str(data / "data"), "--json", str(table)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(table.read_text()), done.stdout


@pytest.fixture(scope="module")
def first(data: Path) -> tuple[dict[str, Any], str]:
    return demo(data, "first")


def test_every_verb_ran_within_its_budget(first: Demo) -> None:
    """Jobs and commits of a verb do not creep up; a month makes eight commits at most outside of retraining, its tables' creation included."""
    steps = {step["verb"]: step for step in first[0]["steps"]}

    assert list(steps) == [*PATH, *(f"{verb} {month}" for month in MONTHS for verb in ("score", "drift", "monitor", "retrain"))]
    assert all(step["fresh"] for step in steps.values())
    trained = {month for month in MONTHS if steps[f"retrain {month}"]["made"].startswith("yes")}
    over = {
        name: (step["jobs"], step["commits"], limit)
        for name, step in steps.items()
        if (limit := budget(name, trained)) and (step["jobs"] > limit[0] or step["commits"] > limit[1])
    }
    assert not over
    for month in MONTHS:
        assert sum(steps[f"{verb} {month}"]["commits"] for verb in ("score", "drift", "monitor")) <= COMMITS_A_MONTH, month


def budget(step: str, trained: set[str]) -> tuple[int, int] | None:
    """The limit of a step; None for a decision that trained, whose verbs have limits of their own."""
    verb, _, month = step.partition(" ")
    if verb == "retrain" and month in trained:
        return None
    jobs, commits = BUDGET[verb]
    more = NEW_CHAMPION.get(verb, (0, 0)) if any(before in trained and after == month for before, after in pairwise(MONTHS)) else (0, 0)
    return jobs + more[0], commits + more[1]


def test_the_year_has_a_no_and_a_yes_for_different_reasons(runs: list[dict[str, Any]]) -> None:
    """Each decision is in the ledger with its evidence; a champion that lost its edge is followed by another, and one that is still the better one is not."""
    decisions = [run["record"] for run in runs if run["key"].startswith("retrain/")]

    assert [decision["window"] for decision in decisions] == MONTHS
    assert {decision["decision"] for decision in decisions} == {"yes", "no"}
    assert len({decision["reason"] for decision in decisions}) >= 3
    assert all(decision["evidence"]["drifted"] is not None for decision in decisions)
    assert sum(run["key"].startswith("train/") for run in runs) == 3
    assert sum(run["key"].startswith("promote/") for run in runs) == 2


def test_the_model_beats_its_baselines_on_july(runs: list[dict[str, Any]]) -> None:
    """AUC at least 0.73, above logistic regression with a positive lower limit, no worse log loss, and no leak."""
    metrics = next(run["record"]["metrics"] for run in runs if run["key"].startswith("train/"))

    assert 0.73 <= metrics["evaluation_auc"] < 0.80
    assert metrics["auc_gain_logistic_lower"] > 0
    assert metrics["evaluation_log_loss"] <= metrics["baseline_logistic_log_loss"]
    assert metrics["evaluation_log_loss"] < metrics["baseline_rate_log_loss"]
    assert not any(math.isnan(value) for value in metrics.values())


@pytest.fixture(scope="module")
def runs(first: Demo, data: Path) -> list[dict[str, Any]]:
    """The ledger after the first run, oldest entry first, as the command prints it."""
    command = [sys.executable, "-m", "sparkml_ops", "runs", "list", "--project", "flights", "--last", "1000", "--json", *places(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_memory_stays_within_six_gibibytes(first: Demo) -> None:
    """All processes together."""
    assert first[0]["peak_gib"] <= 6


def test_the_reports_are_pages_with_pictures(first: Demo, data: Path) -> None:
    """Each month has its page and the year has one; none needs a network."""
    for name in (*(f"drift-{month}" for month in MONTHS), "year"):
        page = (data / "data" / "reports" / f"{name}.html").read_text()
        assert "<svg" in page
        assert "http://" not in page.replace("http://www.w3.org/", "")


def test_a_second_run_repeats_nothing(first: Demo, data: Path) -> None:
    """No verb writes; each says what is there."""
    second, text = demo(data, "second")

    assert not any(step["fresh"] or step["commits"] for step in second["steps"])
    assert text.count("already done: ") == len(first[0]["steps"])
    assert [step["made"] for step in second["steps"]] == [step["made"] for step in first[0]["steps"]]


def test_the_doctor_finds_this_machine_healthy(first: Demo, data: Path) -> None:
    """Every check of it, Spark with Delta included; how much memory and disk are free now is not the project's affair. It leaves nothing behind."""
    command = [sys.executable, "-m", "sparkml_ops", "doctor", "--project", "flights", "--json", *places(data)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=600)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}

    assert list(findings) == ["Python", "Java", "memory", "disk", "torch", "Horovod", "MLflow store", "champion", "Spark and Delta"]
    assert not {name: finding for name, finding in findings.items() if not finding["healthy"] and name not in ("memory", "disk")}
    assert "Gloo" in findings["Horovod"]["found"]
    assert not list((data / "data" / "storage").glob("doctor-*"))


def places(data: Path) -> list[str]:
    """Options that point a command at the demo's folder."""
    folder = data / "data"
    values = (f"storage.root={folder}/storage", f"warehouse.root={folder}/warehouse", f"mlflow.tracking_uri=sqlite:///{folder}/mlflow.db")
    return [part for value in values for part in ("--set", value)]


def test_the_notebooks_run_on_the_same_tables(first: Demo, data: Path) -> None:
    """A notebook is a door like the others: finished work is returned, and its cells show it. One process, one session."""
    names = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.py"))
    program = f"import runpy\nfor name in {names!r}: runpy.run_path('notebooks/' + name)"
    environment = {**os.environ, "SPARKML_OPS_CONF": str(ROOT / "conf"), "SPARKML_OPS_SET": " ".join(places(data)[1::2])}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)

    assert len(names) == 6
    assert done.returncode == 0, done.stderr[-3000:]
    for said in (
        "July AUC 0.7",
        "in quarantine",
        "delays seen: [5, 60]",
        "auc_gain_logistic_lower",
        "mean probability 0.",
        "estimated AUC 0.7",
        "files that still tell of it: 0",
    ):
        assert said in done.stdout, said
