"""What runs cost: measured of all processes, kept beside the record, and compared with their own history."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from finished_work import WALL, Night
from typer.testing import CliRunner

from feature_store import hooks
from sparkml_ops import meter
from sparkml_ops.cli.app import app
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.meter import Cost, Meter, waited
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.costs import costs, expected
from sparkml_ops.verbs.metrics import collect
from sparkml_ops.window import instant

CHILD = """
import sys, time
held = bytearray(64 << 20)
held[::4096] = b"x" * len(held[::4096])
while time.process_time() < 0.4: pass
print(time.process_time(), flush=True)
sys.stdin.read()
"""


def test_a_meter_sees_what_a_child_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its CPU time as the child itself counts it, and its memory beside ours; what was there before does not count."""
    monkeypatch.setattr(meter, "_EVERY", 0.05)
    with Meter() as idle:
        pass
    with Meter() as busy, subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        used = float(child.stdout.readline())
        busy._look()
        assert child.stdin is not None
        child.stdin.close()

    assert busy.cost.cpu_seconds >= used - 0.05
    assert busy.cost.cpu_seconds - idle.cost.cpu_seconds < used + 2.0
    assert busy.cost.peak_bytes - idle.cost.peak_bytes > 60 << 20


def test_a_meter_tells_writing_and_waiting_apart() -> None:
    """Inside commits, inside objects, and before there was a session; work that is done for other work counts in both."""
    with Meter() as outer:
        with Meter() as inner, hooks.passing("delta.commit.scores"), hooks.passing("storage.publish.model"):
            time.sleep(0.05)
            waited(2.5)
        waited(1.0)

    assert inner.cost.write_seconds is not None
    assert inner.cost.write_seconds >= 0.05
    assert inner.cost.object_seconds == inner.cost.write_seconds
    assert (inner.cost.queue_seconds, outer.cost.queue_seconds) == (2.5, 3.5)
    assert (outer.cost.write_seconds, inner.cost.jvm_seconds) == (inner.cost.write_seconds, 0.0)
    waited(9.0)  # nobody measures


def run(night: Night, number: int, cpu: float, *, rows: int = 1_000_000, verb: str = "score", record: Any = None, cost: bool = True) -> None:
    key = RunKey(verb, "tiny", "tiny_scores", f"2020-{number:02}", "champion")
    started = WALL + timedelta(minutes=number)
    taken = Cost(cpu, 1 << 30, 2 << 20, 1 << 20) if cost else None
    told = {"rows": rows, "quarantined": 0} if record is None else record
    night.work.ledger.append(
        FinishedRun(uuid.uuid4().hex, key, told, "c", "1", instant("2020-12-01"), started, started + timedelta(seconds=10), taken)
    )


def test_the_ledger_gives_back_record_and_cost(tmp_path: Path) -> None:
    """Records are as they were, lists too; a run before costs were measured has none."""
    night = Night(tmp_path)
    run(night, 1, 3.0)
    run(night, 2, 4.0, verb="build-features", record=[{"table": "a", "version": 1}])
    run(night, 3, 0.0, cost=False)

    first, second, third = night.work.ledger.runs()

    assert (first.record, first.cost) == ({"rows": 1_000_000, "quarantined": 0}, Cost(3.0, 1 << 30, 2 << 20, 1 << 20))
    assert (second.record, second.cost and second.cost.cpu_seconds) == ([{"table": "a", "version": 1}], 4.0)
    assert (third.record, third.cost) == ({"rows": 1_000_000, "quarantined": 0}, None)


@pytest.mark.parametrize(("newest", "rows", "regressed"), [(9.0, 2_000_000, False), (9.0, 1_000_000, True), (5.5, 1_000_000, False)])
def test_a_regression_is_against_the_rows(tmp_path: Path, newest: float, rows: int, regressed: bool) -> None:
    """Twice the rows may take twice the time; half as much again of the usual is a regression."""
    night = Night(tmp_path)
    for number, cpu in enumerate((4.0, 4.2, 3.9, 4.1), 1):
        run(night, number, cpu)
    run(night, 5, newest, rows=rows)

    (found,) = costs(night.work)

    assert (found.runs, found.usual, found.rows_per_second) == (4, 4.05, rows / 10)
    assert found.cpu_per_million == pytest.approx(newest * 1e6 / rows)
    assert (found.slower, found.regressed) == (pytest.approx(newest * 1e6 / rows / 4.05), regressed)


def test_prices_and_what_a_plan_expects(tmp_path: Path) -> None:
    """CPU time and memory at their prices, for the run and for a million rows; the median of runs about windows of the size."""
    prices = 'costs={"cpu_hour": 0.36, "gib_hour": 0.036, "currency": "CHF"}'
    night = Night(tmp_path / "p", prices)
    for number, cpu in enumerate((4.0, 6.0, 20.0), 1):
        run(night, number, cpu, rows=2_000_000)
    key = RunKey("score", "tiny", "tiny_scores", "2020-09", "champion")

    (found,) = costs(night.work)

    assert (found.money, found.currency) == (pytest.approx(20 * 0.36 / 3600 + 10 * 0.036 / 3600), "CHF")
    assert found.money_per_million == pytest.approx(found.money / 2)
    assert expected(night.work, key) == "expect 10 s, 6 CPU s and 1.0 GiB, 0.0007 CHF: the median of 3 runs"
    assert expected(night.work, replace(key, window="2020-09-01")) is None
    assert costs(Night(tmp_path / "q").work) == ()
    place = ["--project", "tiny", "--conf", str(night.place.folder / "conf")]
    assert "0.0021 CHF" in CliRunner().invoke(app, ["runs", "costs", *place, "--set", prices]).stdout


def test_two_runs_are_no_history_and_the_command_shows_them(tmp_path: Path) -> None:
    """Nothing is usual before the fourth run; metrics have the newest."""
    night = Night(tmp_path / "p")
    run(night, 1, 1.0)
    run(night, 2, 9.0)
    place = ["--project", "tiny", "--conf", str(night.place.folder / "conf")]

    (found,) = json.loads(CliRunner().invoke(app, ["runs", "costs", *place, "--json"]).stdout)
    listed = json.loads(CliRunner().invoke(app, ["runs", "list", *place, "--json"]).stdout)

    assert (found["usual"], found["regressed"], found["cpu_seconds"]) == (None, False, 9.0)
    assert listed[-1]["cost"]["peak_bytes"] == 1 << 30
    assert "1,024 MiB" in CliRunner().invoke(app, ["runs", "costs", *place]).stdout
    assert {metric.name: metric.value for metric in collect(night.work)}["sparkml_run_cpu_seconds"] == 9.0
