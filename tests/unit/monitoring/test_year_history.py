"""The year from ledger, events and figures on disk, written by the Delta library: no JVM reads or writes here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
import yaml
from months_maker import TRAINING_SET, Maker, model
from tiny_project import Place
from typer.testing import CliRunner

from sparkml_ops.cli.app import app
from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.year import ColumnState, Limit, Takeover
from sparkml_ops.records import MonitorReport, Performance, RetrainDecision, ScoredWindow, Snapshot, to_document
from sparkml_ops.verbs import history
from sparkml_ops.verbs.work import Work

UTC_TIME = pa.timestamp("us", "UTC")


def at(month: int) -> datetime:
    return datetime(2020, month, 1, tzinfo=UTC)


@dataclass
class Disk:
    """A project's folder whose tables are written by Arrow."""

    place: Place
    number: int = 0

    def write(self, table: str, rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> None:
        path = Path(str(self.place.warehouse.root)) / table
        path.parent.mkdir(parents=True, exist_ok=True)
        deltalake.write_deltalake(str(path), pa.Table.from_pylist(list(rows), pa.schema(list(types.items()))), mode="append")

    def run(
        self, verb: str, window: str, record: object, as_of: datetime, *, target: str = "tiny_scores", slot: str = "champion", generation: int = 0
    ) -> None:
        """One row of the ledger."""
        self.number += 1
        done = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=self.number)
        row = {
            "run_id": f"r{self.number}",
            "verb": verb,
            "project": "tiny",
            "target": target,
            "window": window,
            "slot": slot,
            "generation": generation,
            "config_hash": "c",
            "code_version": "0",
            "as_of": as_of,
            "started_at": done,
            "finished_at": done,
            "record": json.dumps(to_document(record)),
        }
        types = dict.fromkeys(row, pa.string()) | {"generation": pa.int32(), **dict.fromkeys(("as_of", "started_at", "finished_at"), UTC_TIME)}
        self.write("runs", [row], types)

    def score(self, window: str, month: int, rows: int, version: int = 1, **key: Any) -> None:
        self.run("score", window, ScoredWindow(model(version), window, key.get("slot", "champion"), Snapshot("s", 1), rows, 2), at(month), **key)

    def event(self, number: int, before: int | None, after: int, moment: datetime) -> None:
        """One move of the champion."""
        row = {
            "event_id": f"tiny@champion#{number}",
            "number": number,
            "model": "tiny",
            "alias": "champion",
            "from_version": before,
            "to_version": after,
            "at": moment,
            "reason": "promote",
            "gate_report": "g",
            "actor": "",
        }
        types = dict.fromkeys(row, pa.string()) | {**dict.fromkeys(("number", "from_version", "to_version"), pa.int32()), "at": UTC_TIME}
        self.write("model_events", [row], types)

    def figures(self, window: str, as_of: datetime, auc: float) -> None:
        """One measurement of a window in `performance_metrics`, as a later window's monitor leaves it."""
        row = {
            "run_id": "later",
            "project": "tiny",
            "target": "tiny_scores",
            "window": window,
            "slot": "champion",
            "generation": 0,
            "model": "tiny",
            "version": 1,
            "as_of": as_of,
            "rows": 100,
            "labelled": 99,
            "completeness": 0.99,
            "final": True,
            "segment": None,
            "metric": "auc",
            "kind": "realised",
            "value": auc,
            "lower": auc - 0.1,
            "upper": auc + 0.1,
            "measured": 99,
        }
        types = {name: pa.float64() if isinstance(value, float) else pa.string() for name, value in row.items()}
        types |= {"generation": pa.int32(), "version": pa.int32(), "as_of": UTC_TIME, "final": pa.bool_()}
        types |= dict.fromkeys(("rows", "labelled", "measured"), pa.int64())
        self.write("performance_metrics", [row], types)

    def work(self) -> Work:
        return Work(load(self.place.folder / "conf", "tiny"))


def report(window: str, auc: float) -> MonitorReport:
    figures = (Performance(None, "auc", "realised", auc, auc - 0.02, auc + 0.02, 50), Performance("k=a", "auc", "realised", 0.1, None, None, 5))
    return MonitorReport(model(1), window, "champion", at(3).isoformat(), 100, 50, 0.5, False, figures, ((1.0, 0.5),), ("odd",), Snapshot("p", 1))


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """February, March and May 2020; February's truth came later; the champion changed before May."""
    made = Disk(Place(tmp_path))
    policy = {"retraining": {"policy": {"performance": {"metric": "auc", "at_least": 0.6}}}}
    (tmp_path / "conf" / "projects" / "tiny" / "retraining.yaml").write_text(yaml.safe_dump(policy))
    for window, month, rows, version in (("2020-02", 3, 100, 1), ("2020-03", 4, 200, 1), ("2020-05", 6, 300, 2)):
        made.score(window, month, rows, version)
    made.score("2020-03", 4, 222, generation=1)
    made.score("2020-03", 4, 999, slot="shadow")
    made.run("score", "2020-02", {}, at(3), target="other_scores")
    columns = {
        "distance": {"verdict": "drift", "ks": 0.25, "psi": 0.3, "total_variation": 0.9, "missing": 0.0},
        "customer": {"verdict": "no drift", "ks": None, "psi": 0.02, "total_variation": 0.05, "missing": 0.5},
        "empty": {"verdict": "undecided", "ks": None, "psi": None, "total_variation": None, "missing": 1.0},
    }
    made.run("drift", "2020-02", {"columns": columns}, at(3))
    made.run("monitor", "2020-02", report("2020-02", 0.7), at(3))
    made.run("monitor", "2020-03", report("2020-03", 0.8), at(4))
    made.figures("2020-02", at(4), 0.65)
    made.figures("2020-02", at(3), 0.7)
    no = RetrainDecision("2020-02", at(3).isoformat(), "no", "", "no trigger fired", {"champion": 1}, 1)
    made.run("retrain", "2020-02", no, at(3), target="tiny", slot="")
    made.run(
        "retrain",
        "2020-03",
        replace(no, window="2020-03", decision="yes", trigger="drift", challenger=model(2), promoted=True),
        at(4),
        target="tiny",
        slot="",
    )
    made.event(1, None, 1, at(2))
    made.event(2, 1, 2, at(4))
    return made


def test_a_month_is_put_together_from_its_runs(disk: Disk) -> None:
    """Rows of the newest generation of the slot, drift over its thresholds, decisions with challengers as records."""
    work = disk.work()
    year = history.months(work, as_of="2020-07-01")

    assert "spark" not in vars(work)
    assert [(month.window, month.rows, month.quarantined, month.model_version) for month in year.months] == [
        ("2020-02", 100, 2, 1),
        ("2020-03", 222, 2, 1),
        ("2020-05", 300, 2, 2),
    ]
    assert year.months[0].as_of == "2020-03-01T00:00:00+00:00"
    assert year.months[0].drift == {
        "distance": ColumnState("drift", 2.5),
        "customer": ColumnState("no drift", 0.5),
        "empty": ColumnState("undecided", None),
    }
    decision = year.months[1].decision
    assert decision is not None
    assert (decision.decision, decision.challenger, decision.promoted) == ("yes", model(2), True)
    assert decision.challenger.training_set == TRAINING_SET
    assert (year.months[2].monitor, year.months[2].decision, year.months[2].drift) == (None, None, {})


def test_champion_limit_and_calendar(disk: Disk) -> None:
    """By the events, the policy, and with a place for the month that nobody scored."""
    year = history.months(disk.work(), as_of="2020-07-01")

    assert (year.project, year.model, year.champion, year.limit) == ("tiny", "tiny", 2, Limit("auc", at_least=0.6))
    assert year.takeovers == (Takeover("2020-02-01T00:00:00+00:00", 1, "promote"), Takeover("2020-04-01T00:00:00+00:00", 2, "promote"))
    assert [(month.window, month.rows) for month in year.calendar] == [("2020-02", 100), ("2020-03", 222), ("2020-04", None), ("2020-05", 300)]
    assert any("2020-04" in alarm for alarm in year.alarms)


def test_figures_are_those_of_the_newest_measurement(disk: Disk) -> None:
    """A later window's monitor measured February again: its figures and counts stand, findings stay; March keeps its report."""
    year = history.months(disk.work(), as_of="2020-07-01")
    february, march = year.months[0].monitor, year.months[1].monitor

    assert february is not None
    assert february.value("auc") == 0.65
    assert (february.labelled, february.completeness, february.final, february.findings) == (99, 0.99, True, ("odd",))
    assert february.as_of == "2020-04-01T00:00:00+00:00"
    assert february.performance == (Performance(None, "auc", "realised", 0.65, 0.55, 0.75, 99),)
    assert march == report("2020-03", 0.8)


def test_the_clock_hides_what_came_later(disk: Disk) -> None:
    """As of March: one window, its first figures, the first champion, no later decision."""
    year = history.months(disk.work(), as_of="2020-03-01")

    assert [month.window for month in year.months] == ["2020-02"]
    assert year.months[0].monitor == report("2020-02", 0.7)
    assert (year.champion, len(year.takeovers), year.as_of) == (1, 1, "2020-03-01T00:00:00+00:00")


def test_another_slot_has_its_own_year(disk: Disk) -> None:
    """Decisions are about the champion alone."""
    year = history.months(disk.work(), as_of="2020-07-01", slot="shadow")

    assert [(month.window, month.rows, month.decision) for month in year.months] == [("2020-03", 999, None)]


def test_days_beside_months_are_left_out_and_long_histories_cut(disk: Disk) -> None:
    """One size of windows on an axis, the one that was scored most often, and the newest of them."""
    for day in range(1, 29):
        disk.score(f"2020-06-{day:02}", 7, 10)
    year = history.months(disk.work(), as_of="2020-07-01")

    assert [month.window for month in year.months] == [f"2020-06-{day:02}" for day in range(5, 29)]
    assert year.earlier == 4


def test_without_scores_the_error_says_what_to_run(tmp_path: Path) -> None:
    """An empty project has no year."""
    with pytest.raises(ContractError, match="sparkml-ops score --project tiny"):
        history.months(Disk(Place(tmp_path)).work())


def test_the_command_prints_the_table_and_writes_the_page(disk: Disk) -> None:
    """Table and alarms for people, one line of JSON for machines, and the page where it was asked for."""
    page = disk.place.folder / "pages" / "year.html"
    words = ["report", "--project", "tiny", "--conf", str(disk.place.folder / "conf"), "--as-of", "2020-07-01"]
    people, machine = CliRunner().invoke(app, [*words, "--html", str(page)]), CliRunner().invoke(app, [*words, "--json"])

    assert people.exit_code == 0, people.output
    assert [line.split()[0] for line in people.stdout.splitlines() if line.startswith("2020-")] == ["2020-02", "2020-03", "2020-04", "2020-05"]
    assert "open alarm: " in people.stdout
    assert "<h1>tiny: February 2020 to May 2020" in page.read_text(encoding="utf-8")
    document = json.loads(machine.stdout)
    assert [month["rows"] for month in document["months"]] == [100, 222, 300]
    assert document["months"][0]["drift"]["distance"] == {"verdict": "drift", "effect": 2.5}


def test_the_notebook_gets_the_same_year(disk: Disk, tmp_path: Path) -> None:
    """`Project.report` is the same function."""
    year = disk.place.project(None).report(tmp_path / "year.html", as_of="2020-07-01")

    assert year == history.months(disk.work(), as_of="2020-07-01")
    assert (tmp_path / "year.html").read_text(encoding="utf-8") == year.html()


def test_records_of_the_maker_survive_the_ledger(disk: Disk, maker: Maker) -> None:
    """A report read back from its document is the report."""
    monitor = maker.monitor("2020-05", 2)
    disk.run("monitor", "2020-05", monitor, at(6))

    assert history.months(disk.work(), as_of="2020-07-01").months[2].monitor == monitor
