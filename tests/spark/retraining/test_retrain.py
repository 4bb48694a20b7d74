"""`retrain` on a tiny project: decisions with their evidence, a training that becomes champion, a kill in the middle."""

from __future__ import annotations

import json
import re
import signal
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pytest
from drivers import Drivers
from played_months import CHAMPION_UNTIL, FEBRUARY, FIRST, JANUARY, NOW, POLICY, declared, write
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tiny_project import FILES, Place, events

from sparkml_ops import clock
from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError
from sparkml_ops.project import Project
from sparkml_ops.records import RetrainDecision
from sparkml_ops.verbs import drift, retrain
from sparkml_ops.verbs.retry import find_work
from sparkml_ops.verbs.work import Work

OWN = {"started_at", "finished_at", "expires_at", "pid", "born", "host", "_cost"}


@pytest.fixture
def place(prepared: Place, tmp_path: Path) -> Place:
    """A copy to work on, under the configuration of the prepared one."""
    return declared(prepared, prepared.copy(tmp_path / "tiny"))


def retrainings(project: Project) -> list[str]:
    return [run.key.window for run in project.runs() if run.key.verb == "retrain"]


def steps(project: Project, verb: str) -> list[tuple[str, str, int]]:
    return [(run.key.window, run.key.slot, run.key.generation) for run in project.runs() if run.key.verb == verb]


def test_a_no_is_recorded_with_its_evidence(place: Place, spark: SparkSession) -> None:
    """After January no new row could be trained on; the ledger keeps what was seen, in one commit, and a repeat returns it."""
    project = place.project(spark)
    before = place.tables(spark).newest("runs").version
    decision = project.retrain(JANUARY, as_of=FIRST)

    assert (decision.decision, decision.trigger, decision.champion) == ("no", "", 1)
    assert decision.evidence["new_labels"] == 0
    assert decision.evidence["drifted"] == [[JANUARY, decision.evidence["drifted"][0][1]]]
    assert place.tables(spark).newest("runs").version == before + 1
    assert not place.tables(spark).exists("retrainings")
    assert project.retrain(JANUARY, as_of=FIRST).reason == decision.reason
    assert retrainings(project) == [JANUARY]


def test_the_store_knows_who_uses_its_tables(prepared: Place, spark: SparkSession) -> None:
    """From the source to the predictions, by what registration and promotion have recorded; two scored windows added nothing."""
    store = prepared.project(spark).store
    (made,) = store.lineage("events").names("training set")
    feature = store.lineage("customers.amount")

    assert prepared.tables(spark).newest("consumers").version == 2
    assert {node.id for node in store.lineage("tiny_scores").upstream} == {
        "scoring set:tiny_scores_scoring_set",
        "model:tiny@1",
        f"training set:{made}",
        "feature table:customers",
        "source:events",
    }
    assert {node.name for node in feature.downstream} == {made, "tiny@1", "tiny_scores"}
    assert {node.name for node in feature.upstream} == {"customers", "events.amount", "events"}


@dataclass(frozen=True)
class Replay:
    """February once more, and a retraining upon it, under a wall clock of its own.

    Args:
        wall: What that clock showed.
        started: When the runs began that were done once more.
        tables: Each table's rows after it, as text.
    """

    place: Place
    wall: datetime
    started: set[datetime]
    decision: RetrainDecision
    tables: dict[str, list[str]]


@pytest.fixture(scope="module")
def replays(prepared: Place, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Replay, Replay]:
    """The same month, decades apart; first with tables in a folder, then in a catalog."""
    copies = (
        prepared.copy(tmp_path_factory.mktemp("1999") / "tiny"),
        prepared.in_catalog(spark, tmp_path_factory.mktemp("2040") / "tiny", "retrained"),
    )
    first, last = (replay(declared(prepared, copy), spark, datetime(year, 1, 1, tzinfo=UTC)) for copy, year in zip(copies, (1999, 2040), strict=True))
    return first, last


def replay(place: Place, spark: SparkSession, wall: datetime) -> Replay:
    write(place, "retraining.yaml", {"retraining": {"policy": {**POLICY, "performance": {"at_least": 0.01, "minimum_rows": 100}}}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "wall", lambda: wall)
        project = place.project(spark)
        for verb in (project.score, project.drift, project.monitor):
            verb(FEBRUARY, as_of=NOW, generation="next")
        decision = project.retrain(FEBRUARY, as_of=NOW)
    started = {run.started_at for run in project.runs() if run.key.window == FEBRUARY and run.key.generation}
    return Replay(place, wall, started, decision, {table: stored(path) for table, path in place.locations(spark).items()})


def test_a_yes_trains_judges_and_promotes(replays: tuple[Replay, Replay], spark: SparkSession) -> None:
    """The rows are those up to the evaluation part before the clock; then the cooldown holds."""
    project, decision = replays[1].place.project(spark), replays[1].decision

    assert (decision.decision, decision.trigger, decision.promoted) == ("yes", "labels", True)
    assert decision.reason.endswith("new labels, 300 are enough")
    assert decision.evidence["trained_until"] == f"{CHAMPION_UNTIL}T00:00:00+00:00"
    assert decision.challenger is not None
    assert project.champion == decision.challenger
    assert decision.challenger.training_set.rows > 700
    later = project.retrain(FEBRUARY, as_of=NOW, generation="next", on_demand=True)
    assert (later.decision, later.trigger) == ("no", "on demand")
    assert "only 0 new labels of 200 needed" in later.reason


def test_a_retraining_killed_after_its_promotion_is_finished(place: Place, spark: SparkSession) -> None:
    """The champion has moved already when it starts again: the decision is the one that was taken. A rolling range leaves old rows out."""
    write(place, "retraining.yaml", {"retraining": {"policy": POLICY, "range": {"kind": "rolling", "length": "25d"}}})
    hooking = {"kill": "delta.commit.model_events:after", "once": str(place.folder / "killed")}
    with closing(Drivers(spark)) as drivers:
        status = drivers.start(conf=str(place.folder / "conf"), verb="retrain", window=[FEBRUARY], as_of=NOW, hooking=hooking)
    project = place.project(spark)
    decision = project.retrain(FEBRUARY, as_of=NOW)

    assert status == -signal.SIGKILL
    assert (decision.decision, decision.trigger, decision.champion, decision.promoted) == ("yes", "labels", 1, True)
    assert decision.challenger is not None
    assert (decision.challenger.version, project.champion) == (2, decision.challenger)
    assert retrainings(project) == [FEBRUARY]
    assert steps(project, "training-set")[1:] == [("2020-01-26T00:00:00+00:00..2020-02-20T00:00:00+00:00", "", 0)]
    users = [(consumer.kind, consumer.version) for consumer in project.store.consumers.all()]
    assert users == [("model", "1"), ("model", "2"), ("predictions", "1"), ("predictions", "2"), ("scoring set", "")]


def test_a_challenger_that_its_gates_refuse_stays_one(place: Place, spark: SparkSession) -> None:
    """The decision says which gate; the champion is the old one, from whose weights and optimiser it went on, with some old rows.

    Done once more it trains again, and from scratch where that is due by then.
    """
    goes_on = {"policy": POLICY, "mode": "stateful", "replay": 0.25, "full_every": 2}
    write(place, "retraining.yaml", {"retraining": goes_on})
    gates = {"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": 0.9999}}
    write(place, "release.yaml", {"release": {**FILES["release.yaml"]["release"], "gates": gates}})
    project = place.project(spark)
    decision = project.retrain(FEBRUARY, as_of=NOW)

    assert (decision.decision, decision.promoted) == ("yes", False)
    assert "the challenger stays one" in decision.reason
    assert "gate auc: fail" in decision.reason
    assert project.champion is not None
    assert project.champion.version == 1
    write(place, "retraining.yaml", {"retraining": {**goes_on, "full_every": 1}})
    work = Work(load(place.folder / "conf", "tiny"), spark)
    again = find_work(work, f"retrain/tiny/tiny/{FEBRUARY}/-/0").perform(work).record
    assert (again.decision, again.trigger) == ("yes", "labels")
    assert decision.challenger is not None
    assert (decision.challenger.version, again.challenger.version) == (2, 3)
    unseen = f"{CHAMPION_UNTIL}T00:00:00+00:00..2020-02-20T00:00:00+00:00"  # ten days of evaluation before the clock
    assert steps(project, "training-set")[1:] == [(unseen, "replay-0.25", 0), ("2020-02-20T00:00:00+00:00", "", 1)]
    assert steps(project, "train")[1:] == [("", "stateful-tiny-1", 0), ("", "", 1)]
    old = F.col("at") < F.lit(f"{CHAMPION_UNTIL} 00:00:00").cast("timestamp")
    rows = project.store.load(decision.challenger.training_set).where(old).groupBy("split").count().collect()
    assert [row["split"] for row in rows] == ["train"]
    assert 60 < rows[0]["count"] < 180  # a quarter of some 430 rows of labels known by then


def test_what_was_not_measured_is_not_decided(place: Place, spark: SparkSession) -> None:
    """A month that is missing, and a clock that steps back, are told."""
    project = place.project(spark)
    with pytest.raises(ContractError, match="no drift of window 2020-03"):
        project.retrain("2020-03", as_of=NOW)
    project.retrain(JANUARY, as_of="2020-02-05")
    with pytest.raises(ContractError, match="clock that goes forward"):
        project.retrain(JANUARY, as_of=FIRST, generation="next")


def test_a_month_replayed_under_other_wall_clocks_gives_the_same_tables(replays: tuple[Replay, Replay]) -> None:
    """Years apart, scores, profiles, drift, figures, decision and the new model's rows are the same: `as_of` alone counts.

    So they are in a catalog: nothing was written where paths would look.
    """
    for found in replays:
        figure = found.decision.evidence["figure"]

        assert found.decision.promoted
        assert (figure["window"], figure["kind"]) == (FEBRUARY, "realised")
        assert found.started == {found.wall}

    assert not (replays[1].place.folder / "data" / "warehouse").exists()
    first, last = (found.tables for found in replays)
    assert len(first) > 12
    assert first.keys() == last.keys()
    for table, rows in first.items():
        assert rows, table
        assert not sorted({*rows} ^ {*last[table]}), table


def stored(path: str) -> list[str]:
    """All rows of a table as text, since not-a-number equals nothing, in an order of their own, without what each run decides for itself."""
    rows = deltalake.DeltaTable(path).to_pyarrow_table().to_pylist()
    return sorted(re.sub(r"\b[0-9a-f]{32}\b", "a run", repr(plain(row))) for row in rows)


def plain(value: Any) -> Any:
    """A value without what each run decides for itself."""
    if isinstance(value, str) and value.startswith("{"):
        return plain(json.loads(value))
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items() if name not in OWN}
    return [plain(part) for part in value] if isinstance(value, list) else value


def test_the_plan_says_what_would_be_decided_and_writes_nothing(place: Place, spark: SparkSession) -> None:
    """The decision as a note; nothing is entered anywhere."""
    work = Work(load(place.folder / "conf", "tiny"), spark)
    plan = retrain.plan(work, window=FEBRUARY, as_of=NOW)

    assert not plan.done
    assert plan.notes[0].startswith("yes: ")
    assert "alias champion, if the gates pass" in plan.writes
    assert not place.tables(spark).exists("retrainings")
    assert retrainings(place.project(spark)) == []


def test_an_earlier_window_that_lost_its_values_is_not_trained_on(place: Place, spark: SparkSession) -> None:
    """The newest window is sound and its labels are enough; the report of the one before says fault, and the plan no."""
    broken = F.when(F.col("at") >= F.lit("2020-02-01").cast("timestamp"), F.col("distance"))
    place.tables(spark).overwrite("events", events(spark).where("id is not null").withColumn("distance", broken).coalesce(1))
    project = place.project(spark)
    project.score(JANUARY, as_of=NOW, generation="next")
    assert project.drift(JANUARY, as_of=NOW, generation="next")["distance"].verdict == "fault"
    plan = retrain.plan(Work(load(place.folder / "conf", "tiny"), spark), window=FEBRUARY, as_of=NOW)

    assert plan.notes[0].startswith("no: contract failure in 1 columns (distance in 2020-01)")
    assert plan.writes == ()


def test_a_window_is_compared_with_the_one_before(place: Place, spark: SparkSession) -> None:
    """`drift.reference` names another scored window, whose profile is there already; one that was not scored is named."""
    before = place.tables(spark).newest("profile_state").version
    compared = Work(load(place.folder / "conf", "tiny", overrides=["drift.reference=previous"]), spark)
    report = drift.perform(compared, window=FEBRUARY, as_of=NOW, generation="next").record

    assert "window=2020-01" in report.reference
    assert place.tables(spark).newest("profile_state").version == before + 1
    assert f"scoring set of {JANUARY}" in drift.plan(compared, window=FEBRUARY, generation="next").reads
    with pytest.raises(ContractError, match="no scores of window 2019-12"):
        drift.perform(compared, window=JANUARY, as_of=NOW, generation="next")
    renewed = drift.perform(Work(load(place.folder / "conf", "tiny"), spark), window=FEBRUARY, as_of=NOW, generation="next", renew=True).record
    assert "split=train" in renewed.reference
