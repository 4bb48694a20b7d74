"""What a decision sees: the rows of the ledger, of leases and of measurements that count, and those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from finished_work import TRAINING_SET, WALL, Night
from pydantic import TypeAdapter

from sparkml_ops.config.retraining import PolicySection
from sparkml_ops.errors import ContractError, RetryableError
from sparkml_ops.records import ModelVersion
from sparkml_ops.retraining.evidence import Sources, gather
from sparkml_ops.retraining.lease import Lease, leases
from sparkml_ops.retraining.policy import Evidence, decide
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import retrain
from sparkml_ops.window import Window, instant

POLICY = {"drift": {"windows": 2, "of": 3, "columns": 1}, "minimum_labels": 0, "cooldown": "20d", "on_demand": True}
DRIFT, FINE, FAULT = {"distance": "drift", "customer": "no drift"}, {"distance": "no drift"}, {"distance": "no drift", "customer": "fault"}


@dataclass
class Seen:
    """What decisions on the windows of a project see."""

    night: Night
    policy: dict[str, Any] = field(default_factory=lambda: dict(POLICY))
    figures: list[Mapping[str, Any]] = field(default_factory=list)
    asked: list[datetime | None] = field(default_factory=list)

    def labels(self, since: datetime | None) -> int:
        self.asked.append(since)
        return 500

    def at(self, window: str, as_of: str, *, since: str | None = None, generation: int = 0, version: int = 1, on_demand: bool = False) -> Evidence:
        """The evidence of a decision."""
        work = self.night.work
        held = leases(work.tables, "tiny")
        sources = Sources(work.ledger, "tiny", "tiny_scores", PolicySection.model_validate(self.policy), held, self.figures, self.labels)
        champion = TypeAdapter(ModelVersion).validate_python({"name": "tiny", "version": version, "digest": "d", "training_set": TRAINING_SET})
        return gather(
            sources,
            Window.parse(window),
            champion,
            key=RunKey("retrain", "tiny", "tiny", window, generation=generation),
            now=instant(as_of),
            train_start=None if since is None else instant(since),
            in_flight=None,
            on_demand=on_demand,
        )

    def verdict(self, evidence: Evidence) -> tuple[str, str]:
        found = decide(evidence, PolicySection.model_validate(self.policy))
        return found.decision, found.reason

    def measured(self, window: str, verdicts: Mapping[str, str] | None = None, *, as_of: str) -> None:
        """A window scored by version 1 and compared."""
        self.night.score(window, as_of=as_of)
        self.night.drift(window, FINE if verdicts is None else verdicts, as_of=as_of)

    def decided(self, window: str, decision: str, as_of: str, generation: int = 0) -> None:
        self.night.enter("retrain", {"decision": decision}, as_of=as_of, target="tiny", window=window, generation=generation)

    def failed(self, window: str, as_of: str, number: int = 1) -> None:
        """The lease of a training that left nothing else."""
        key = f"retrain/tiny/tiny/{window}/-/0"
        self.night.lend(Lease(number, "tiny", key, "elsewhere", 1, 1.0, instant(as_of), WALL - timedelta(hours=1), {"decision": "yes"}))


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(Night(tmp_path / "p"))


def figure(window: str, value: float | None, rows: int, *, kind: str = "realised", version: int = 1, metric: str = "auc") -> dict[str, Any]:
    return {"window": window, "segment": None, "metric": metric, "kind": kind, "value": value, "measured": rows, "version": version}


class TestFaults:
    def test_a_fault_of_an_earlier_window_keeps_its_rows_out_of_a_training(self, seen: Seen) -> None:
        """The newest window has none, and yet the training would read the broken one: not even a person gets a model."""
        seen.measured("2020-01", FAULT, as_of="2020-02-01")
        seen.measured("2020-02", as_of="2020-03-01")
        evidence = seen.at("2020-02", "2020-03-01", on_demand=True)

        assert evidence.faults == (("2020-01", "customer"),)
        decision, reason = seen.verdict(evidence)
        assert decision == "no"
        assert reason.startswith("contract failure in 1 columns (customer in 2020-01): mend the data")

    def test_a_mended_window_holds_nothing_back(self, seen: Seen) -> None:
        """Its newest report counts."""
        seen.measured("2020-01", FAULT, as_of="2020-02-01")
        seen.measured("2020-02", as_of="2020-03-01")
        seen.night.drift("2020-01", FINE, as_of="2020-03-01")

        assert seen.at("2020-02", "2020-03-01").faults == ()

    def test_a_window_before_the_range_is_read_by_nobody(self, seen: Seen) -> None:
        """A rolling range that begins at its end leaves it out; one that begins inside it does not."""
        seen.measured("2020-01", FAULT, as_of="2020-02-01")
        seen.measured("2020-02", as_of="2020-03-01")

        assert seen.at("2020-02", "2020-03-01", since="2020-02-01").faults == ()
        assert seen.at("2020-02", "2020-03-01", since="2020-01-31").faults == (("2020-01", "customer"),)


class TestDrift:
    def test_k_of_n_windows_count_and_only_those_that_the_champion_scored(self, seen: Seen) -> None:
        """Of three windows two drift; another champion has seen none of them, and a later window is not asked."""
        for window, verdicts, as_of in (("2020-01", DRIFT, "2020-02-01"), ("2020-02", FINE, "2020-03-01"), ("2020-03", DRIFT, "2020-04-01")):
            seen.measured(window, verdicts, as_of=as_of)
        evidence = seen.at("2020-03", "2020-04-01")

        assert evidence.drifted == (("2020-01", 1), ("2020-02", 0), ("2020-03", 1))
        assert seen.verdict(evidence) == ("yes", "1 or more columns drift in 2 of 3 windows (2020-01, 2020-03)")
        assert seen.at("2020-03", "2020-04-01", version=2).drifted == ()
        assert seen.at("2020-02", "2020-04-01").drifted == (("2020-01", 1), ("2020-02", 0))

    def test_what_the_clock_does_not_know_is_not_there(self, seen: Seen) -> None:
        """A report of tomorrow is no report."""
        seen.measured("2020-01", as_of="2020-02-01")

        with pytest.raises(ContractError, match="no drift of window 2020-01 known at the clock"):
            seen.at("2020-01", "2020-01-31")


class TestTrainings:
    def test_trainings_are_counted_by_the_clock(self, seen: Seen) -> None:
        """A `no` is none; the cooldown and the day's budget see what was begun before."""
        seen.measured("2020-02", as_of="2020-03-01")
        seen.decided("2020-01", "no", "2020-02-20")
        seen.decided("2020-01", "yes", "2020-02-15", generation=1)
        evidence = seen.at("2020-02", "2020-03-01", on_demand=True)

        assert (evidence.last_training, evidence.trainings_today) == (datetime(2020, 2, 15, tzinfo=UTC), 0)
        assert seen.verdict(evidence) == ("no", "asked for by a person; but the last training was 15 days ago and the cooldown is 20d")
        seen.decided("2020-02", "yes", "2020-03-01T01:00:00")
        assert seen.at("2020-02", "2020-03-01T02:00:00", generation=1).trainings_today == 1

    def test_a_training_that_failed_costs_as_much(self, seen: Seen) -> None:
        """It has left a lease alone; taken over, or entered in the ledger later, it is still one."""
        seen.measured("2020-02", as_of="2020-03-01")
        seen.failed("2020-01", "2020-02-29")
        seen.failed("2020-01", "2020-03-01", number=2)
        evidence = seen.at("2020-02", "2020-03-01T12:00:00")

        assert (evidence.last_training, evidence.trainings_today) == (datetime(2020, 3, 1, tzinfo=UTC), 1)
        seen.decided("2020-01", "yes", "2020-03-01")
        assert seen.at("2020-02", "2020-03-01T12:00:00").trainings_today == 1

    def test_work_done_once_more_does_not_hold_itself_back(self, seen: Seen) -> None:
        """At the same clock it is what is repeated; at a later one it is a training before this one."""
        seen.measured("2020-02", as_of="2020-03-01")
        seen.decided("2020-02", "yes", "2020-03-01")
        again = seen.at("2020-02", "2020-03-01", generation=1, on_demand=True)

        assert (again.last_training, again.trainings_today) == (None, 0)
        assert seen.verdict(again) == ("yes", "asked for by a person")
        assert seen.at("2020-02", "2020-03-02", generation=1).last_training == datetime(2020, 3, 1, tzinfo=UTC)


class TestOrder:
    def test_an_earlier_window_comes_too_late(self, seen: Seen) -> None:
        """Also under a later clock: a later window was decided upon."""
        for window in ("2020-01", "2020-02"):
            seen.measured(window, as_of="2020-03-01")
        seen.decided("2020-02", "no", "2020-03-01")

        with pytest.raises(ContractError, match=r"a decision upon 2020-01 as of 2020-03-02.*while 2020-02 was decided as of 2020-03-01"):
            seen.at("2020-01", "2020-03-02")
        assert seen.at("2020-02", "2020-03-02", generation=1).champion == 1

    def test_a_clock_that_steps_back_is_refused(self, seen: Seen) -> None:
        """Whatever the window."""
        seen.measured("2020-02", as_of="2020-02-01")
        seen.decided("2020-01", "no", "2020-03-01")

        with pytest.raises(ContractError, match="clock that goes forward"):
            seen.at("2020-02", "2020-02-28")


class TestFigure:
    @pytest.fixture(autouse=True)
    def floor(self, seen: Seen) -> None:
        seen.policy |= {"performance": {"metric": "auc", "at_least": 0.7, "minimum_rows": 1000}, "drift": None}
        seen.measured("2020-02", as_of="2020-03-01")
        seen.night.monitor("2020-02", None, final=False)

    def test_the_newest_window_with_enough_truth_is_judged(self, seen: Seen) -> None:
        """Labels take longer than a window: the newest one has hardly any, the one before was measured again meanwhile."""
        seen.figures = [figure("2019-12", 0.9, 5000), figure("2020-01", 0.6, 5000), figure("2020-02", 0.9, 999)]
        evidence = seen.at("2020-02", "2020-03-01")

        assert evidence.figure is not None
        assert (evidence.figure.window, evidence.figure.rows) == ("2020-01", 5000)
        assert seen.verdict(evidence) == ("yes", "realised auc 0.6000 in 2020-01, below 0.7")

    def test_without_enough_truth_the_newest_known_figure_is_told(self, seen: Seen) -> None:
        """It decides nothing; a value that does not exist is unknown."""
        seen.figures = [figure("2020-01", 0.5, 998), figure("2020-02", None, 0)]
        few = seen.verdict(seen.at("2020-02", "2020-03-01"))
        seen.figures = [figure("2020-02", None, 0)]

        assert few == ("no", "no trigger fired (realised auc 0.5000 in 2020-01 of only 998 rows, at least 0.7 is good enough)")
        assert seen.verdict(seen.at("2020-02", "2020-03-01")) == ("no", "no trigger fired (auc unknown, at least 0.7 is good enough)")

    def test_figures_of_another_champion_metric_or_later_window_are_not_its_own(self, seen: Seen) -> None:
        """The champion has none of its own then."""
        seen.figures = [
            figure("2020-01", 0.5, 5000, version=2),
            figure("2020-01", 0.5, 5000, metric="brier"),
            figure("2020-03", 0.5, 5000),
            figure("2020-02", 0.5, 5000, kind="estimated"),
        ]

        assert seen.at("2020-02", "2020-03-01").figure is None

    def test_an_estimate_counts_where_it_may_and_there_is_too_little_truth(self, seen: Seen) -> None:
        """Enough truth comes before it."""
        seen.policy["performance"] = {**seen.policy["performance"], "estimated": True}
        seen.figures = [figure("2020-02", 0.9, 10), figure("2020-02", 0.6, 5000, kind="estimated"), figure("2020-01", 0.9, 5000)]
        few = seen.at("2020-02", "2020-03-01").figure
        seen.figures[0] = figure("2020-02", 0.9, 1000)
        enough = seen.at("2020-02", "2020-03-01").figure

        assert few is not None
        assert enough is not None
        assert (few.kind, few.value, enough.kind, enough.value) == ("estimated", 0.6, "realised", 0.9)

    def test_a_window_that_was_not_measured_is_not_decided(self, seen: Seen) -> None:
        """A floor needs the truth of the newest window looked at."""
        seen.measured("2020-03", as_of="2020-04-01")

        with pytest.raises(ContractError, match="no monitor of window 2020-03"):
            seen.at("2020-03", "2020-04-01")


class TestRange:
    def trained(self, night: Night) -> ModelVersion:
        night.enter("training-set", TRAINING_SET, as_of="2020-02-01", target="tiny", window="2019-10-01..2020-01-01T00:00:00+00:00")
        return self.champion()

    def champion(self) -> ModelVersion:
        return TypeAdapter(ModelVersion).validate_python({"name": "tiny", "version": 1, "digest": "d", "training_set": TRAINING_SET})

    @pytest.mark.parametrize(
        ("overrides", "since"),
        [
            ((), None),
            (("retraining.range.kind=rolling", "retraining.range.length=60d"), "2019-12-03"),
            (("retraining.mode=warm",), "2020-01-01"),
        ],
    )
    def test_the_rows_of_a_training(self, tmp_path: Path, overrides: tuple[str, ...], since: str | None) -> None:
        """All rows, the newest ones alone, or those that the champion has not seen; the last 30 days judge."""
        night = Night(tmp_path / "p", *overrides)
        found = retrain._range(night.work, self.trained(night), instant("2020-03-02"))

        assert found == (None if since is None else instant(since), instant("2020-02-01"))

    def test_a_warm_start_needs_to_know_what_the_champion_has_seen(self, tmp_path: Path) -> None:
        """Else it would go on with all rows, those it was trained on too."""
        night = Night(tmp_path / "p", "retraining.mode=warm")

        with pytest.raises(ContractError, match="no training set of it in the ledger of project tiny"):
            retrain._range(night.work, self.champion(), instant("2020-03-02"))

    def test_labels_are_counted_from_where_the_champion_and_the_range_end_and_begin(self, seen: Seen) -> None:
        """The later of both."""
        self.trained(seen.night)
        seen.measured("2020-02", as_of="2020-03-01")
        for since in (None, "2019-12-01", "2020-01-20"):
            assert seen.at("2020-02", "2020-03-01", since=since).new_labels == 500

        assert seen.asked == [instant("2020-01-01"), instant("2020-01-01"), instant("2020-01-20")]


YES = {"window": "2020-01", "as_of": "2020-02-01", "decision": "yes", "trigger": "on demand", "reason": "r", "evidence": {}, "champion": 1}


def lent(night: Night, number: int, window: str, expires_at: datetime) -> Lease:
    """A lease of a process on another machine."""
    held = Lease(number, "tiny", f"retrain/tiny/tiny/{window}/-/0", "elsewhere", 1, 1.0, instant("2020-02-01"), expires_at, {**YES, "window": window})
    night.lend(held)
    return held


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_work_that_is_interrupted_gives_its_lease_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]) -> None:
    """A notebook whose cell was stopped lives on; what it had decided is gone on with by whoever comes next."""
    night = Night(tmp_path / "p")
    lent(night, 1, "2020-01", WALL - timedelta(hours=1))

    def stopped(*given: object) -> None:
        raise stop

    monkeypatch.setattr(retrain, "_path", stopped)
    with pytest.raises(stop):
        retrain.perform(night.work, window="2020-01", as_of="2020-02-01")
    held = leases(night.work.tables, "tiny")

    assert [lease.mine for lease in held] == [False, True, True]
    assert (held[-2].alive(held[-1].expires_at - timedelta(seconds=1)), held[-1].alive(held[-1].expires_at)) == (True, False)
    assert held[-1].decision == YES


def test_a_decision_of_before_waits_for_who_trains_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work that was cut off looks at no evidence any more; the lease of another window holds it back until that one is in the ledger."""
    night = Night(tmp_path / "p")
    lent(night, 1, "2020-01", WALL - timedelta(hours=1))
    other = lent(night, 2, "2020-02", datetime.now(UTC) + timedelta(hours=1))
    monkeypatch.setattr(retrain, "_path", lambda work, decision, repeat: decision)

    with pytest.raises(RetryableError, match="retrain/tiny/tiny/2020-02/-/0 in training in process 1 on elsewhere"):
        retrain.perform(night.work, window="2020-01", as_of="2020-02-01")
    night.enter("retrain", other.decision, as_of="2020-02-01", target="tiny", window="2020-02")
    assert retrain.perform(night.work, window="2020-01", as_of="2020-02-01").record.window == "2020-01"
