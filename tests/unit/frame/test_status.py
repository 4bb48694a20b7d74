"""How a project stands: ages, promises, champion and alarms, read without Spark."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import psutil
import pyarrow as pa
import pytest
from finished_work import TRAINING_SET, WALL, Night
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from sparkml_ops import doctor
from sparkml_ops.cli.app import app
from sparkml_ops.retraining.lease import Lease
from sparkml_ops.tracking import Tracking
from sparkml_ops.verbs.alarms import missing_windows
from sparkml_ops.verbs.status import OutputTable, ProjectStatus, perform

FRESH = "scoring.freshness=35d"
DAY = 86_400.0


@pytest.fixture(autouse=True)
def _no_session() -> Iterator[None]:
    """Nothing here may start one."""
    yield
    assert SparkSession.getActiveSession() is None


def table(status: ProjectStatus, holds: str) -> OutputTable:
    return next(item for item in status.tables if item.holds == holds)


def alarms(status: ProjectStatus, about: str) -> list[str]:
    return [f"{alarm.found}; {alarm.mend}" for alarm in status.alarms if alarm.about == about]


def command(night: Night, *words: str) -> Result:
    settings = [word for override in night.overrides for word in ("--set", override)]
    return CliRunner().invoke(app, [*words, "--project", "tiny", "--conf", str(night.place.folder / "conf"), *settings])


class TestFreshness:
    def test_a_promise_holds_up_to_its_last_second(self, tmp_path: Path) -> None:
        """The age counts from the end of the newest window."""
        night = Night(tmp_path / "p", FRESH)
        night.score("2020-02")
        night.score("2020-01")

        kept, broken = (perform(night.work, as_of=at) for at in ("2020-04-05T00:00:00", "2020-04-05T00:00:01"))

        assert (table(kept, "scores").newest, table(kept, "scores").age, kept.stale) == ("2020-02", 35 * DAY, False)
        assert table(broken, "scores").stale
        assert broken.stale

    def test_what_was_never_scored_breaks_its_promise(self, tmp_path: Path) -> None:
        """An empty project is not fresh; looking at it makes nothing."""
        night = Night(tmp_path / "p", FRESH)

        status = perform(night.work, as_of="2020-03-01")

        assert status.stale
        assert (table(status, "scores").newest, table(status, "scores").age) == (None, None)
        assert status.champion is None
        assert len(alarms(status, "champion")) == 1
        assert not (night.place.folder / "data").exists()

    def test_without_a_promise_nothing_is_stale(self, tmp_path: Path) -> None:
        """However old."""
        night = Night(tmp_path / "p")
        night.score("2020-02")

        assert not perform(night.work, as_of="2024-01-01").stale

    def test_drift_and_performance_share_the_promise_once_they_were_measured(self, tmp_path: Path) -> None:
        """A project that never monitors has promised nothing; one that stopped is late."""
        night = Night(tmp_path / "p", FRESH)
        night.score("2020-02")
        night.drift("2019-12", {"distance": "no drift"})

        status = perform(night.work, as_of="2020-03-02")

        assert (table(status, "drift").newest, table(status, "drift").stale) == ("2019-12", True)
        assert (table(status, "performance").freshness, table(status, "performance").stale) == (None, False)

    def test_runs_with_a_later_clock_and_other_slots_do_not_count(self, tmp_path: Path) -> None:
        """A replay sees what was known then."""
        night = Night(tmp_path / "p", FRESH)
        night.score("2020-01", as_of="2020-02-01")
        night.score("2020-02", as_of="2020-03-01")
        night.score("2020-02", as_of="2020-02-01", slot="shadow")

        assert table(perform(night.work, as_of="2020-02-02"), "scores").newest == "2020-01"
        assert table(perform(night.work, as_of="2020-03-02"), "scores").newest == "2020-02"

    def test_a_feature_table_is_as_old_as_its_newest_row(self, tmp_path: Path) -> None:
        """Told from the table's log."""
        night = Night(tmp_path / "p", "features.customers.freshness=2d")
        tables = night.work.tables
        rows = [{"customer": "c1", "at": datetime(2020, 2, day, tzinfo=UTC), "amount": 1.0} for day in (27, 9)]
        absent = perform(night.work, as_of="2020-02-28")
        for row in rows:
            deltalake.write_deltalake(tables.warehouse.path("customers"), pa.Table.from_pylist([row]), mode="append")

        kept, broken = (table(perform(night.work, as_of=at), "features") for at in ("2020-02-29", "2020-02-29T00:00:01"))

        assert table(absent, "features").stale
        assert (kept.table, kept.newest, kept.age, kept.stale) == ("customers", "2020-02-27T00:00:00+00:00", 2 * DAY, False)
        assert broken.stale

    def test_a_feature_table_without_a_promise_is_listed_too(self, tmp_path: Path) -> None:
        """It is an output; it is never stale, whatever its age."""
        night = Night(tmp_path / "p")
        absent = perform(night.work, as_of="2020-02-28")
        row = {"customer": "c1", "at": datetime(2020, 2, 27, tzinfo=UTC), "amount": 1.0}
        deltalake.write_deltalake(night.work.tables.warehouse.path("customers"), pa.Table.from_pylist([row]))

        found = table(perform(night.work, as_of="2024-02-27"), "features")

        assert table(absent, "features") == OutputTable("customers", "features", None, None, None)
        assert (found.table, found.newest, found.freshness, found.stale) == ("customers", "2020-02-27T00:00:00+00:00", None, False)


class TestAlarms:
    def test_a_month_that_is_missing_between_scored_ones_is_named(self, tmp_path: Path) -> None:
        """With the command that scores it; the end is no gap."""
        night = Night(tmp_path / "p")
        for window in ("2020-02", "2019-10", "2019-12"):
            night.score(window)

        (found,) = alarms(perform(night.work, as_of="2020-06-01"), "windows")

        assert found == "2019-11, 2020-01 not scored, though later ones are; run `sparkml-ops score --due --project tiny`"

    def test_windows_of_another_size_leave_no_gap(self) -> None:
        """Days before months are another life of the project."""
        assert missing_windows(["2019-06-01", "2019-12", "2020-01"]) == ()
        assert missing_windows([]) == ()

    def test_drifting_and_broken_columns_of_the_newest_window_are_named(self, tmp_path: Path) -> None:
        """At most five by name."""
        night = Night(tmp_path / "p")
        night.drift("2020-01", {"a": "fault"})
        night.drift("2020-02", {**{f"c{number}": "drift" for number in range(7)}, "distance": "fault", "fine": "no drift", "few": "undecided"})

        broken, drifting = alarms(perform(night.work, as_of="2020-03-01"), "drift")

        assert broken.startswith("fault in 1 of 10 columns of 2020-02: distance;")
        assert drifting.startswith("drift in 7 of 10 columns of 2020-02: c0, c1, c2, c3, c4, …;")
        assert "`sparkml-ops drift --window 2020-02 --html drift.html --project tiny`" in drifting

    @pytest.mark.parametrize(("auc", "rows", "count"), [(0.69, 5000, 1), (0.70, 5000, 0), (0.69, 999, 0), (None, 0, 0)])
    def test_performance_beyond_the_policys_limit(self, tmp_path: Path, auc: float | None, rows: int, count: int) -> None:
        """The limit and the least number of rows are the policy's own."""
        night = Night(tmp_path / "p", "retraining.policy.performance.at_least=0.7")
        night.monitor("2020-02", 0.5, as_of="2020-02-20")
        night.monitor("2020-02", auc, rows=rows, generation=1)

        assert len(alarms(perform(night.work, as_of="2020-03-01"), "performance")) == count

    @pytest.mark.parametrize(("aside", "count"), [(50, 0), (51, 1)])
    def test_a_quarantine_of_half_its_limit(self, tmp_path: Path, aside: int, count: int) -> None:
        """Before the limit refuses the window: max_quarantine_share is 0.1."""
        night = Night(tmp_path / "p")
        night.score("2020-02", rows=1000 - aside, quarantined=aside)

        assert len(alarms(perform(night.work, as_of="2020-03-01"), "quarantine")) == count


class TestRetraining:
    def lease(self, *, pid: int, born: float, key: str = "retrain/tiny/tiny/2020-02/-/0") -> Lease:
        at = datetime(2020, 3, 1, tzinfo=UTC)
        return Lease(1, "tiny", key, socket.gethostname(), pid, born, at, datetime.now(UTC) + timedelta(hours=6), {"decision": "yes"})

    def test_one_in_flight_and_one_that_died_differ(self, tmp_path: Path) -> None:
        """This process lives; one of its number that began at another time does not."""
        alive, dead = Night(tmp_path / "alive"), Night(tmp_path / "dead")
        alive.lend(self.lease(pid=os.getpid(), born=psutil.Process().create_time()))
        dead.lend(self.lease(pid=os.getpid(), born=1.0))

        assert "in flight in process" in alarms(perform(alive.work), "retraining")[0]
        assert "`sparkml-ops runs retry retrain/tiny/tiny/2020-02/-/0 --project tiny`" in alarms(perform(dead.work), "retraining")[0]

    def test_a_finished_one_is_told_as_the_last_decision(self, tmp_path: Path) -> None:
        """A challenger that its gates refused is an alarm as well."""
        night = Night(tmp_path / "p")
        night.lend(self.lease(pid=1, born=1.0))
        record = {"window": "2020-02", "decision": "yes", "trigger": "schedule", "reason": "old; the challenger stays one", "promoted": False}
        night.enter("retrain", record, as_of="2020-03-01", target="tiny", window="2020-02")

        status = perform(night.work, as_of="2020-03-01")

        assert status.decision == {name: record[name] for name in ("window", "decision", "trigger", "reason")}
        (found,) = alarms(status, "retraining")
        assert found.startswith("the challenger of 2020-02 is not champion: old;")


class TestChampion:
    @pytest.fixture
    def night(self, tmp_path: Path, tracking: Tracking) -> Night:
        """Versions 1 and 2, of which 2 is champion since March."""
        night = Night(tmp_path / "p", f"mlflow.tracking_uri={tracking.uri}")
        client = MlflowClient(tracking_uri=tracking.uri)
        client.create_registered_model("tiny")
        for version in (1, 2):
            client.create_model_version("tiny", str(tmp_path / "none"))
            record = {"name": "tiny", "version": version, "digest": "d", "training_set": {**TRAINING_SET, "id": f"tiny_{version}"}}
            night.enter("training-set", record["training_set"], as_of="2020-01-01", target="tiny", window=f"2020-0{version}-01T00:00:00+00:00")
            night.enter("register", record, as_of="2020-01-01", target="tiny", window=f"run{version}")
        night.move(1, None, 1, "2020-02-01")
        night.move(2, 1, 2, "2020-03-01")
        client.set_registered_model_alias("tiny", "champion", "2")
        client.set_registered_model_tag("tiny", "sparkml_ops.champion.event", "tiny@champion#2")
        self.client = client
        return night

    def test_it_is_told_with_its_training_rows(self, night: Night) -> None:
        """As of the clock: a month earlier another version was champion."""
        now, before = perform(night.work, as_of="2020-03-02"), perform(night.work, as_of="2020-02-02")

        assert now.champion is not None
        assert before.champion is not None
        assert (now.champion.version, now.champion.since, now.champion.reason) == (2, "2020-03-01T00:00:00+00:00", "promote")
        assert now.champion.trained_until == "2020-02-01T00:00:00+00:00"
        assert before.champion.version == 1
        assert alarms(now, "champion") == []
        assert [finding.healthy for finding in doctor.examine(night.work, ["champion"])] == [True]

    @pytest.mark.parametrize("how", ["alias", "version", "model"])
    def test_a_champion_deleted_by_hand_is_told_by_status_and_doctor(self, night: Night, how: str) -> None:
        """MLflow takes the alias along without a word."""
        if how == "alias":
            self.client.delete_registered_model_alias("tiny", "champion")
        elif how == "version":
            self.client.delete_model_version("tiny", "2")
        else:
            self.client.delete_registered_model("tiny")

        (found,) = alarms(perform(night.work, as_of="2020-03-02"), "champion")
        findings = {finding.check: finding for finding in doctor.examine(night.work, ("MLflow store", "champion"))}

        assert "tiny@champion at no version, moved by hand in MLflow" in found if how != "model" else "no registered model `tiny`" in found
        assert findings["MLflow store"].healthy
        assert not findings["champion"].healthy
        assert findings["champion"].found in found
        assert findings["champion"].mend

    def test_an_alias_moved_by_hand_and_a_move_that_was_cut_off_differ(self, night: Night) -> None:
        """One asks for a decision, the other is finished by a command."""
        self.client.set_registered_model_alias("tiny", "champion", "1")
        moved = alarms(perform(night.work, as_of="2020-03-02"), "champion")
        self.client.set_registered_model_tag("tiny", "sparkml_ops.champion.event", "tiny@champion#1")
        cut_off = alarms(perform(night.work, as_of="2020-03-02"), "champion")

        assert "at version 1, moved by hand" in moved[0]
        assert "cut off" in cut_off[0]
        assert [finding.mend for finding in doctor.examine(night.work, ["champion"])] == ["`sparkml-ops reconcile` finishes it"]
        printed = command(night, "doctor", "--check", "champion")
        assert (printed.exit_code, "`sparkml-ops reconcile --project tiny` finishes it" in printed.output) == (2, True)


class TestCommand:
    def test_stale_is_exit_code_4_and_fresh_is_0(self, tmp_path: Path) -> None:
        """A scheduler asks nothing else; one line of JSON has the whole."""
        night = Night(tmp_path / "p", FRESH)
        night.score("2020-02", quarantined=99)

        fresh = command(night, "status", "--as-of", "2020-03-02", "--json")
        stale = command(night, "status", "--as-of", "2021-01-01", "--json")

        assert (fresh.exit_code, stale.exit_code) == (0, 4)
        assert len(stale.stdout.splitlines()) == 1
        document = json.loads(stale.stdout)
        assert document["stale"]
        assert [item["stale"] for item in document["tables"]] == [False, True, False, False]
        assert document["tables"][1] | {"age": 0} == {
            "table": "tiny_scores",
            "holds": "scores",
            "newest": "2020-02",
            "age": 0,
            "freshness": 35 * DAY,
            "stale": True,
        }
        assert {alarm["about"] for alarm in document["alarms"]} == {"champion", "quarantine"}

    def test_people_get_a_table_and_the_alarms(self, tmp_path: Path) -> None:
        """The same facts in words."""
        night = Night(tmp_path / "p", FRESH)
        night.score("2020-02", quarantined=99)

        lines = command(night, "status", "--as-of", "2020-05-01T06:00:00").output.splitlines()

        assert lines[1].split() == ["customers", "features", "nothing"]
        assert lines[2].split() == ["tiny_scores", "scores", "2020-02", "61d", "6h", "35d", "STALE"]
        assert any(line.startswith("champion  none") for line in lines)
        assert sum(line.startswith("ALARM") for line in lines) == 2

    def test_runs_are_listed_by_verb_window_and_number(self, tmp_path: Path) -> None:
        """The newest, oldest first."""
        night = Night(tmp_path / "p")
        ids = [night.score(window) for window in ("2019-12", "2020-01", "2020-02")]
        night.drift("2020-02", {"distance": "no drift"})

        def listed(*options: str) -> list[str]:
            return [run["run_id"] for run in json.loads(command(night, "runs", "list", "--json", *options).stdout)]

        assert listed("--verb", "score") == ids
        assert listed("--verb", "score", "--last", "2") == ids[1:]
        assert listed("--verb", "score", "--window", "2020-01") == [ids[1]]
        assert len(listed("--window", "2020-02")) == 2
        printed = command(night, "runs", "list", "--verb", "score").output
        assert all(name in printed for name in (*(run[:8] for run in ids), "tiny_scores", "2019-12", f"{WALL:%Y-%m-%d}"))

    def test_the_page_of_the_year_is_told_by_its_whole_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever reads the log of a night stands in another folder."""
        night = Night(tmp_path / "p")
        night.score("2020-02")
        monkeypatch.chdir(tmp_path)

        ended = command(night, "report", "--html", "pages/year.html")

        assert ended.exit_code == 0, ended.output
        assert f"report: page at {tmp_path}/pages/year.html" in ended.stderr
