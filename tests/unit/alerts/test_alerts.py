"""Alerts of a project: what checks write, what people say of them, and that nothing is doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from scipy.stats import binomtest
from typer.testing import CliRunner, Result
from watched_project import COMMON, POLICIES, Watched

from feature_store import hooks
from sparkml_ops import alerts
from sparkml_ops.cli.app import app
from sparkml_ops.config.load import load
from sparkml_ops.errors import ConfigurationError, ConflictError, ContractError
from sparkml_ops.project import Project
from sparkml_ops.verbs import alerts as verb
from sparkml_ops.verbs.status import perform as status


@pytest.fixture(autouse=True)
def _no_session() -> Iterator[None]:
    """Nothing here may start one."""
    yield
    assert SparkSession.getActiveSession() is None


def told(found: verb.AlertCheck) -> list[tuple[str, str, str]]:
    return [(event.kind, event.policy, event.window) for event in (*found.opened, *found.unmuted, *found.resolved)]


def command(watched: Watched, *words: str) -> Result:
    settings = [word for override in watched.overrides for word in ("--set", override)]
    return CliRunner().invoke(app, ["alerts", *words, "--project", "tiny", "--conf", str(watched.place.folder / "conf"), *settings])


def only(tmp_path: Path, **policies: dict[str, Any]) -> Watched:
    return Watched(tmp_path / "q", f"alerts.policies={json.dumps({name.replace('_', '-'): rule for name, rule in policies.items()})}")


class TestCheck:
    def test_drift_must_last_and_a_fault_hides_it(self, watched: Watched) -> None:
        """Two of three windows open an alert; a column at fault pages by its own policy and counts as no drift."""
        watched.compared("2020-02", {"distance": "drift", "amount": "fault"}, as_of="2020-03-01")
        first = verb.check(watched.work, as_of="2020-03-01")
        watched.compared("2020-03", {"distance": "no drift", "amount": "no drift"}, as_of="2020-04-01")
        second = verb.check(watched.work, as_of="2020-04-01")
        watched.compared("2020-04", {"distance": "drift", "amount": "no drift"}, as_of="2020-05-01")
        third = verb.check(watched.work, as_of="2020-05-01")

        assert told(first) == [("opened", "broken-data", "2020-02")]
        assert "amount (missing 0.3)" in first.opened[0].said
        assert "tiny_scores_scoring_set@3" in first.opened[0].said
        assert told(second) == [("resolved", "broken-data", "2020-03")]
        assert told(third) == [("opened", "columns-drift", "2020-04")]
        assert [cause["column"] for cause in third.opened[0].causes] == ["distance"]

    def test_a_figure_must_certainly_be_beyond_its_limit(self, watched: Watched) -> None:
        """An interval that holds the limit opens nothing; a window of few rows neither opens nor resolves."""
        watched.measured("2020-02", 0.695, as_of="2020-03-01", width=0.01)
        watched.measured("2020-03", 0.5, as_of="2020-04-01", rows=10)
        quiet = verb.check(watched.work, as_of="2020-04-01")
        watched.measured("2020-04", 0.68, as_of="2020-05-01", width=0.01)
        loud = verb.check(watched.work, as_of="2020-05-01")
        watched.measured("2020-05", 0.9, as_of="2020-06-01", rows=10)
        still = verb.check(watched.work, as_of="2020-06-01")
        watched.measured("2020-04", 0.72, as_of="2020-06-02", width=0.01)  # the truth came late, and is better
        better = verb.check(watched.work, as_of="2020-06-02")

        assert (told(quiet), told(loud), told(still)) == ([], [("opened", "poor-scores", "2020-04")], [])
        assert told(better) == [("resolved", "poor-scores", "2020-04")]

    def test_late_scores(self, watched: Watched) -> None:
        """A window that is not scored in time pages, a gap between scored ones too; it is over when nothing is missing."""
        watched.score("2020-01", as_of="2020-02-02")
        watched.score("2020-03", as_of="2020-04-02")

        kept = verb.check(watched.work, as_of="2020-04-05")
        late = verb.check(watched.work, as_of="2020-04-06")
        watched.score("2020-02", as_of="2020-04-07")
        scored = verb.check(watched.work, as_of="2020-04-07")
        again = verb.check(watched.work, as_of="2020-06-06")

        assert (told(kept), told(late)) == ([], [("opened", "late-scores", "2020-03")])
        assert late.opened[0].said.startswith("2020-02 not scored 36d after the end")
        assert told(scored) == [("resolved", "late-scores", "2020-03")]
        assert told(again) == [("opened", "late-scores", "2020-04")]
        replayed = next(item.episodes for item in verb.backtest(watched.work, as_of="2020-06-06") if item.record.policy == "late-scores")
        assert [(episode.window, episode.opened_at.isoformat()[:10]) for episode in replayed] == [
            ("2020-03", "2020-04-05"),
            ("2020-04", "2020-06-05"),
        ]

    def test_rows_aside(self, watched: Watched) -> None:
        """A share between the limit and the one that clears it changes nothing."""
        found = []
        for month, aside in enumerate((90, 120, 80, 40), 1):
            watched.score(f"2020-{month:02}", as_of=f"2020-{month + 1:02}-02", rows=1000 - aside, quarantined=aside)
            found.append(told(verb.check(watched.work, as_of=f"2020-{month + 1:02}-02")))

        assert found == [[], [("opened", "rows-aside", "2020-02")], [], [("resolved", "rows-aside", "2020-04")]]

    @pytest.mark.parametrize("by", ["model", "rule"])
    def test_a_broken_contract(self, tmp_path: Path, by: str) -> None:
        """A warning is no alarm unless the policy says so; the window that keeps the rules again resolves, and few rows say nothing."""
        watched = only(tmp_path, contract={"signal": "contract", "severity": "page", "by": by, "minimum_rows": 10, **COMMON})
        watched.judged("2020-02", {"amount low": "quarantine", "amount high": "warn", "codes": "pass"}, as_of="2020-03-01")
        first = verb.check(watched.work, as_of="2020-03-01")
        watched.judged("2020-03", {"amount low": "pass", "amount high": "fail", "codes": "pass"}, as_of="2020-04-01", rows=9)
        few = verb.check(watched.work, as_of="2020-04-01")
        watched.judged("2020-04", {"amount low": "pass", "amount high": "warn", "codes": "pass"}, as_of="2020-05-01")
        last = verb.check(watched.work, as_of="2020-05-01")

        assert told(first) == [("opened", "contract", "2020-02")]
        assert first.opened[0].subject == ("" if by == "model" else "rule=amount low")
        assert "amount low (7 rows)" in first.opened[0].said
        assert told(few) == []
        assert told(last) == [("resolved", "contract", "2020-04")]

    def test_a_scoring_that_was_taken_back_speaks_for_nothing(self, watched: Watched) -> None:
        """Neither for an alert nor against it; the window counts as not scored."""
        watched.score("2020-01", as_of="2020-02-02", rows=1000)
        watched.score("2020-02", as_of="2020-03-02", rows=700, quarantined=300)
        watched.enter("withdraw", {"withdrawn": 0}, as_of="2020-03-03", window="2020-02", slot="champion", generation=-1)

        assert told(verb.check(watched.work, as_of="2020-03-04")) == []
        assert told(verb.check(watched.work, as_of="2020-04-06")) == [("opened", "late-scores", "2020-02")]

    def test_a_repeat_writes_nothing_and_the_clock_goes_forward(self, watched: Watched) -> None:
        """No commit without news; a check behind the last one is refused."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        verb.check(watched.work, as_of="2020-03-05")
        version = watched.work.tables.newest(alerts.ALERTS_TABLE).version

        assert told(verb.check(watched.work, as_of="2020-03-05")) == []
        assert watched.work.tables.newest(alerts.ALERTS_TABLE).version == version
        with pytest.raises(ContractError, match="after one as of 2020-03-05"):
            verb.check(watched.work, as_of="2020-03-04")

    def test_of_two_checks_at_once_one_opens(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        """The one that is late finds its number taken, reads again, and has nothing left to say."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        appended, rival = alerts.append, []

        def after_the_other(*given: Any) -> alerts.Book:
            if not rival:
                rival.append(None)
                rival[0] = verb.check(watched.work, as_of="2020-03-01")
            return appended(*given)

        monkeypatch.setattr(verb.alerts, "append", after_the_other)
        late = verb.check(watched.work, as_of="2020-03-01")

        assert (told(rival[0]), told(late)) == ([("opened", "poor-scores", "2020-02")], [])
        assert [event.id[-2:] for event in alerts.read(watched.work.tables, "tiny").events] == ["#1"]

    def test_a_stale_book_cannot_be_written(self, watched: Watched) -> None:
        """One batch behind or three: the writer is refused."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        stale = alerts.read(watched.work.tables, "tiny")
        opened = verb.check(watched.work, as_of="2020-03-01").opened[0]
        verb.acknowledge(watched.work, opened.fingerprint, as_of="2020-03-02")

        for _ in range(2):
            with pytest.raises(ConflictError, match="at the same time"):
                alerts.append(watched.work.tables, stale, [opened])
            verb.say(watched.work, opened.fingerprint, "real")

    def test_a_killed_check_opens_once(self, watched: Watched) -> None:
        """Killed just after its commit: the next check has nothing to add."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        program = "import sys; from sparkml_ops.cli.app import app; app(sys.argv[1:])"
        place = ["--project", "tiny", "--conf", str(watched.place.folder / "conf"), "--set", watched.overrides[0]]
        killed = subprocess.run(
            [sys.executable, "-c", program, "alerts", "check", "--as-of", "2020-03-01", *place],
            env={**os.environ, hooks.VARIABLE: json.dumps({"kill": "delta.commit.alerts:after", "once": str(watched.place.folder / "once")})},
            timeout=300,
        )
        verb.check(watched.work, as_of="2020-03-01")

        assert killed.returncode < 0
        assert [event.kind for event in alerts.read(watched.work.tables, "tiny").events] == ["opened"]


class TestPeople:
    @pytest.fixture
    def mark(self, watched: Watched) -> str:
        """An open alert."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        return verb.check(watched.work, as_of="2020-03-01").opened[0].fingerprint

    def test_a_mute_ends_and_speaks_up_again(self, watched: Watched, mark: str) -> None:
        """Nothing is sent until its end; then once, if the alert is still open."""
        muted = verb.mute(watched.work, mark, until="20d", as_of="2020-03-02")
        quiet = verb.check(watched.work, as_of="2020-03-21")
        over = verb.check(watched.work, as_of="2020-03-22")

        assert (muted.state, muted.until and muted.until.isoformat()) == ("muted", "2020-03-22T00:00:00+00:00")
        assert (told(quiet), told(over)) == ([], [("unmuted", "poor-scores", "2020-02")])
        assert over.unmuted[0].notify
        with pytest.raises(ContractError, match="a mute until 2020-01-01"):
            verb.mute(watched.work, mark, until="2020-01-01", as_of="2020-03-22")

    def test_a_mute_outlives_the_episode(self, watched: Watched, mark: str) -> None:
        """What resolves and opens again under a mute stays silent."""
        verb.mute(watched.work, mark, until="2020-12-01", as_of="2020-03-02")
        watched.measured("2020-03", 0.8, as_of="2020-04-01")
        watched.measured("2020-04", 0.5, as_of="2020-05-01")

        found = verb.check(watched.work, as_of="2020-05-01")

        assert [(event.kind, event.notify) for event in (*found.resolved, *found.opened)] == [("resolved", False), ("opened", False)]
        assert verb.open_alerts(watched.work)[0].state == "muted"

    def test_what_a_person_resolved_waits_for_new_evidence(self, watched: Watched, mark: str) -> None:
        """The same window does not open it again; the next one may."""
        verb.resolve(watched.work, mark, note="a wrong join", as_of="2020-03-02")
        same = verb.check(watched.work, as_of="2020-03-03")
        watched.measured("2020-03", 0.5, as_of="2020-04-01")
        new = verb.check(watched.work, as_of="2020-04-01")

        assert (told(same), told(new)) == ([], [("opened", "poor-scores", "2020-03")])
        assert verb.open_alerts(watched.work)[0].episodes == 2
        verb.resolve(watched.work, mark, as_of="2020-04-02")
        with pytest.raises(ContractError, match="which is resolved"):
            verb.acknowledge(watched.work, mark)

    def test_a_policy_that_goes_takes_its_alert_along(self, watched: Watched, mark: str) -> None:
        """Nobody is left with an alert that no check will ever resolve."""
        others = {name: rule for name, rule in POLICIES.items() if name != "poor-scores"}
        watched.overrides = (f"alerts.policies={json.dumps(others)}",)

        found = verb.check(watched.work, as_of="2020-03-05")

        assert [(event.kind, event.fingerprint, event.note) for event in found.resolved] == [("resolved", mark, "its policy is no longer declared")]

    def test_precision_is_what_people_said(self, tmp_path: Path) -> None:
        """Of four alerts two were real and one was noise; the interval is Wilson's."""
        watched = only(tmp_path, poor=POLICIES["poor-scores"])
        for month, verdict in enumerate(("real", "noise", "real", None)):
            watched.measured(f"2020-{2 * month + 1:02}", 0.5, as_of=f"2020-{2 * month + 2:02}-01")
            opened = verb.check(watched.work, as_of=f"2020-{2 * month + 2:02}-01").opened[0]
            if verdict:
                verb.say(watched.work, opened.fingerprint, verdict)  # type: ignore[arg-type]
            watched.measured(f"2020-{2 * month + 2:02}", 0.8, as_of=f"2020-{2 * month + 3:02}-01")
            verb.check(watched.work, as_of=f"2020-{2 * month + 3:02}-01")

        (record,) = verb.precision(watched.work)
        (replayed,) = verb.backtest(watched.work, as_of="2021-01-01")

        wilson = binomtest(2, 3).proportion_ci(0.95, method="wilson")
        assert (record.episodes, record.real, record.noise) == (4, 2, 1)
        assert (record.precision, record.lower, record.upper) == pytest.approx((2 / 3, wilson.low, wilson.high))
        assert (replayed.record, replayed.missed, replayed.delay) == (record, 0, 0.0)

    def test_a_back_test_shows_what_another_policy_would_miss(self, tmp_path: Path) -> None:
        """A laxer policy opens nothing, and misses what people called real."""
        watched = only(tmp_path, poor=POLICIES["poor-scores"])
        watched.measured("2020-01", 0.65, as_of="2020-02-01")
        verb.say(watched.work, verb.check(watched.work, as_of="2020-02-01").opened[0].fingerprint, "real")
        watched.overrides = (f"alerts.policies={json.dumps({'poor': {**POLICIES['poor-scores'], 'at_least': 0.6}})}",)

        (replayed,) = verb.backtest(watched.work, as_of="2021-01-01")

        assert (replayed.episodes, replayed.missed) == ((), 1)


class TestCommands:
    def test_the_commands_of_an_alert(self, watched: Watched) -> None:
        """Check, list, show, ack, mute, verdict, precision, resolve, back-test: for people and for machines."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        checked = json.loads(command(watched, "check", "--as-of", "2020-03-01", "--json").stdout)
        mark = checked["opened"][0]["fingerprint"]

        assert checked["open"] == 1
        assert "poor-scores" in command(watched, "list").stdout
        assert json.loads(command(watched, "ack", mark[:6], "--note", "mine", "--actor", "eve", "--json").stdout)["state"] == "acknowledged"
        assert "muted until 2020-05-01" in command(watched, "mute", mark, "--until", "2020-05-01", "--as-of", "2020-03-02").stdout
        assert command(watched, "verdict", mark, "real").exit_code == 0
        shown = json.loads(command(watched, "show", mark, "--json").stdout)
        assert (shown["owner"], shown["runbook"], shown["verdict"]) == (COMMON["owner"], COMMON["runbook"], "real")
        assert [event["kind"] for event in shown["events"]] == ["opened", "acknowledged", "muted", "verdict"]
        assert shown["events"][1]["actor"] == "eve"
        assert json.loads(command(watched, "precision", "--json").stdout)[2]["precision"] == 1.0
        assert json.loads(command(watched, "backtest", "--json").stdout)[2]["episodes"][0]["verdict"] == "real"
        assert command(watched, "resolve", mark).exit_code == 0
        assert json.loads(command(watched, "list", "--json").stdout) == []
        assert "resolved" in command(watched, "list", "--all").stdout
        assert command(watched, "show", "zz").exit_code == 2

    def test_status_names_open_alerts(self, watched: Watched) -> None:
        """Who looks at the project's status need not ask a second command."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        verb.check(watched.work, as_of="2020-03-01")

        found = [alarm for alarm in status(watched.work, as_of="2020-03-02").alarms if alarm.about == "alert"]

        assert [alarm.found for alarm in found] == [
            "page poor-scores: realised auc 0.5000 of 5,000 rows in 2020-02, between 0.4900 and 0.5100; certainly below 0.7"
        ]
        assert "https://wiki.example/alerts" in found[0].mend

    def test_a_notebook_does_the_same(self, watched: Watched) -> None:
        """The handle checks and lists."""
        watched.measured("2020-02", 0.5, as_of="2020-03-01")
        project = Project.open(watched.place.folder / "conf", "tiny", overrides=watched.overrides)

        assert told(project.check_alerts(as_of="2020-03-01")) == [("opened", "poor-scores", "2020-02")]
        assert [alert.opening.policy for alert in project.alerts()] == ["poor-scores"]

    def test_without_a_policy_there_is_nothing_to_check(self, tmp_path: Path) -> None:
        """A scheduler that checks a project without policies is told so."""
        with pytest.raises(ConfigurationError, match="no alert policy"):
            verb.check(Watched(tmp_path / "p").work)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner": None}, "owner"),
        ({"runbook": "ask ada"}, "runbook"),
        ({"windows": 3, "of": 2}, "could never open"),
        ({"severity": "page"}, "drift alone harms nobody"),
        ({"clear_below": 2.0}, "open and resolve at once"),
        ({"signal": "performance", "at_most": 0.5}, "lower is worse"),
        ({"signal": "burn", "at_least": 0.7, "rate": 500.0}, "could never open"),
        ({"signal": "burn", "at_least": 0.7, "long": 1, "short": 2}, "short is at most long"),
        ({"signal": "freshness"}, "within"),
        ({"signal": "smell"}, "signal"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """Before anything is read: each with the key and what is wrong."""
    place = Watched(tmp_path / "p").place
    rule = {name: value for name, value in {"signal": "drift", **COMMON, **changes}.items() if value is not None}

    with pytest.raises(ConfigurationError, match=said):
        load(place.folder / "conf", "tiny", overrides=(f"alerts.policies={json.dumps({'p': rule})}",))
