"""What was scored, why not, what happened to one row, and a scoring taken back."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from played_months import FEBRUARY, FIRST, JANUARY, NOW, declared
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from tiny_project import Place, content
from typer.testing import CliRunner

from sparkml_ops import release, scoring
from sparkml_ops.cli.app import app
from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.project import Project
from sparkml_ops.records import GateResult
from sparkml_ops.scoring.side_by_side import compare_sides
from sparkml_ops.verbs import due, predictions, publish, score, withdraw
from sparkml_ops.verbs.rollout import ended_after
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window


@pytest.fixture(scope="module")
def place(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A copy of two scored months."""
    return declared(prepared, prepared.copy(tmp_path_factory.mktemp("predictions") / "tiny"))


@pytest.fixture(scope="module")
def work(place: Place, spark: SparkSession) -> Work:
    return Work(load(place.folder / "conf", "tiny"), spark)


def call(folder: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, ["predictions", *words, "--project", "tiny", "--conf", str(folder / "conf"), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_every_fact_about_one_prediction(work: Work, place: Place) -> None:
    """What the model was given, from which version and time it came, which model, and what came out; times are instants in UTC."""
    [facts] = predictions.explain(work, {"id": "700"}, window=FEBRUARY)

    events = pd.DataFrame(place.rows("events")).set_index("id")
    mine = events.loc[700]
    before = events[(events["customer"] == mine["customer"]) & (events["at"] < mine["at"])].sort_values("at").iloc[-1]
    [source] = facts.sources
    assert (facts.key, facts.outcome, facts.model_version, facts.champion_then) == ({"id": 700}, "scored", 1, 1)
    assert facts.spine_time == mine["at"].to_pydatetime()
    assert facts.inputs == {"customer": mine["customer"], "distance": mine["distance"], "amount": before["amount"]}
    assert (source.table, source.event_time, source.known_time, source.features) == (
        "customers",
        before["at"].to_pydatetime(),
        before["at"].to_pydatetime(),
        ("amount",),
    )
    [row] = [row for row in place.rows("tiny_scores") if row["id"] == 700]
    assert facts.prediction == row["prediction"]
    assert facts.scored_at == datetime(2020, 3, 1, tzinfo=UTC)
    assert facts.model is not None
    assert facts.model.version == 1
    assert call(place.folder, "explain", "id=700")[0]["sources"][0]["version"] == source.version


def test_another_unit_than_the_model_s_is_refused_before_any_work(work: Work) -> None:
    """Registration kept the unit that the feature's table declared; a model of another one scores nothing, and plans nothing."""
    model = work.tracking.resolve("tiny", "champion")
    assert model.units == {"amount": "EUR"}
    before = work.tables.newest("tiny_scores")

    assert "times as many rows" not in " ".join(score.plan(work, window=FEBRUARY, generation="next", as_of=NOW).notes)
    stored = release.reports_on(work.tables, "tiny")[-1].report
    speeds = GateResult("parity", "pass", {"rows_per_second": 8000.0, "onnx_rows_per_second": 4000.0}, {}, "")
    release.store_report(work.tables, replace(stored, results=(speeds,)), run_id=model.run_id, at=datetime(2020, 4, 1, tzinfo=UTC))
    said = "its ONNX export scored 0.50 times as many rows a second at registration (4,000 beside 8,000)"
    assert said in " ".join(score.plan(work, window=FEBRUARY, generation="next", as_of=NOW).notes)

    client = work.tracking.open()
    client.set_model_version_tag("tiny", str(model.version), "sparkml_ops.units", json.dumps({"amount": "cent", "distance": "km"}))
    try:
        for perform in (score.plan, score.perform):
            with pytest.raises(ContractError, match=f"for version {model.version} of `tiny`: `amount` in EUR where it was trained on cent; expected"):
                perform(work, window=FEBRUARY, generation="next", as_of=NOW)
    finally:
        client.set_model_version_tag("tiny", str(model.version), "sparkml_ops.units", json.dumps({"amount": "EUR"}))
    assert work.tables.newest("tiny_scores") == before
    assert scoring.stored_set(work.tables, "tiny_scores", Window.parse(FEBRUARY), 1) is None


@pytest.mark.parametrize(
    ("key", "found"), [({"di": "7"}, "the key \\['di'\\]"), ({"id": "seven"}, "no row id=seven"), ({"id": "100000"}, "no row id=100000")]
)
def test_a_row_that_is_not_there_is_said(work: Work, key: dict[str, str], found: str) -> None:
    """A wrong column, a value that is no number, a number that nobody has."""
    with pytest.raises(ContractError, match=found):
        predictions.explain(work, key)


def test_what_was_scored_is_listed_without_spark(place: Place) -> None:
    """One line a window and slot."""
    work = Work(load(place.folder / "conf", "tiny"))
    listed = [(run.key.window, run.key.slot, run.record["rows"]) for run in predictions.scorings(work)]

    assert [item[:2] for item in listed] == [(JANUARY, "champion"), (FEBRUARY, "champion")]
    assert predictions.scorings(work, window="2021-01") == []
    assert [(row["window"], row["rows"]) for row in call(place.folder, "show")] == [(window, rows) for window, _, rows in listed]
    assert "spark" not in work.__dict__


def test_two_sets_of_predictions_beside_each_other(spark: SparkSession) -> None:
    """Counts and distances are those of pandas; a row in quarantine is on neither side's alone."""
    left = pd.DataFrame({"id": [1, 2, 3, 4, 5], "p": [0.1, 0.4, 0.9, 0.6, None], "outcome": ["scored"] * 4 + ["quarantined"]})
    right = pd.DataFrame({"id": [2, 3, 4, 6, 5], "p": [0.6, 0.9, 0.5, 0.2, 0.3], "outcome": ["scored"] * 5})
    frames = [
        spark.createDataFrame(side).select("id", F.when(F.col("outcome") == "scored", F.struct("p")).alias("prediction"), "outcome")
        for side in (left, right)
    ]
    found = compare_sides(frames[0], frames[1], ["id"])

    both = left[left["outcome"] == "scored"].merge(right, on="id")
    assert (found.rows, found.only_left, found.only_right, found.quarantined_left, found.quarantined_right) == (3, 1, 1, 1, 0)
    output = found.outputs["p"]
    assert output.changed == pytest.approx((both["p_x"] != both["p_y"]).mean())
    assert output.left == pytest.approx(both["p_x"].mean())
    assert output.mean_change == pytest.approx((both["p_x"] - both["p_y"]).abs().mean())
    assert output.largest_change == pytest.approx((both["p_x"] - both["p_y"]).abs().max())
    assert output.correlation == pytest.approx(both["p_x"].corr(both["p_y"]))
    assert output.crossed == pytest.approx(((both["p_x"] >= 0.5) != (both["p_y"] >= 0.5)).mean())
    same = compare_sides(frames[0].where("id = 1"), frames[0].where("id = 1"), ["id"]).outputs["p"]
    assert (same.changed, same.correlation) == (0.0, None)


@pytest.fixture(scope="module")
def second(place: Place, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A copy with a second version, of the weights of the first."""
    copy = declared(place, place.copy(tmp_path_factory.mktemp("second") / "tiny"))
    work = Work(load(copy.folder / "conf", "tiny"), spark)
    first = work.tracking.resolve("tiny", 1)
    folder = Path(first.source.removeprefix("file://")) / "data" / "artifact"
    spec = ModelSpec.from_json((folder / "model.json").read_text())
    run = work.tracking.run("train/second", "train").run_id
    work.tracking.register(run, folder, name="tiny", training_set=first.training_set, inputs=spec.requested, outputs=spec.outputs)
    return work


class TestCanary:
    """A share of the entities gets another version's predictions."""

    CANARY = ("rollout.canary.entity=[customer]", "rollout.canary.salt=spring", "rollout.canary.share=0.4", "scoring.target=arms")

    def test_each_entity_has_its_arm_and_one_prediction_is_acted_on(self, second: Work, spark: SparkSession) -> None:
        """The arm is the hash that anybody can compute; the champion scores all rows, and stands where the canary fails."""
        project = Project.open(second.config.base / "conf", "tiny", overrides=self.CANARY, spark=spark)
        project.score(JANUARY, as_of=FIRST)
        rows = pd.DataFrame(map(Row.asDict, second.tables.read("arms").where("window = '2020-01'").collect()))
        customers = {row["id"]: row["customer"] for row in second.tables.read("events").select("id", "customer").collect()}
        places = {f"c{index}": int(hashlib.sha256(f"spring\x1fc{index}".encode()).hexdigest()[:13], 16) / 16**13 for index in range(7)}
        chosen = {name for name, place in places.items() if place < 0.4}

        assert 0 < len(chosen) < 7
        champion, canary = (rows[rows["slot"] == slot] for slot in ("champion", "canary"))
        assert set(champion["id"]) == {index for index in customers if index in set(rows["id"])}
        assert {row.id for row in champion.itertuples() if row.arm == "canary"} == set(canary["id"])
        assert {customers[index] for index in canary["id"]} == chosen
        assert set(canary["model_version"]) == {2}
        assert dict(zip(champion["arm"], champion["propensity"], strict=True)) == {"canary": 0.4, "champion": 0.6}
        acted = {row["id"]: row["model_version"] for row in project.served(JANUARY).select("id", "model_version").collect()}
        assert acted == {index: 2 if customers[index] in chosen else 1 for index in champion["id"]}
        assert project.score(JANUARY, as_of=FIRST).rows == len(champion)

        grown = Project.open(
            second.config.base / "conf", "tiny", overrides=(*self.CANARY[:2], "rollout.canary.share=0.7", self.CANARY[3]), spark=spark
        )
        grown.score(FEBRUARY, as_of=NOW)
        later = {row["customer"] for row in grown.served(FEBRUARY).where("slot = 'canary'").join(second.tables.read("events"), "id").collect()}
        assert chosen <= later == {name for name, place in places.items() if place < 0.7}

    def test_an_entity_that_is_not_there_is_named(self, second: Work, spark: SparkSession) -> None:
        """Before anything is scored."""
        wrong = ("rollout.canary.entity=[custumer]", *self.CANARY[1:3], "scoring.target=wrong")
        with pytest.raises(ContractError, match="did you mean `customer`"):
            Project.open(second.config.base / "conf", "tiny", overrides=wrong, spark=spark).score(JANUARY, as_of=FIRST)
        assert not second.tables.exists("wrong")


def test_only_what_changed_is_scored(second: Work, spark: SparkSession) -> None:
    """A corrected row, a late one and one that was set aside are; one that went away goes; the rest keep run and prediction."""
    project = Project.open(second.config.base / "conf", "tiny", overrides=("scoring.target=changes",), spark=spark)
    events, tables = second.tables.read("events", second.tables.newest("events").version), second.tables
    distance = F.when(F.col("id") == 7, math.inf).otherwise(F.col("distance"))
    tables.overwrite("events", events.withColumn("distance", distance))
    assert project.score(JANUARY, changed=True, as_of=NOW).quarantined == 1  # nobody has scored it: all of it
    corrected = F.when(F.col("id") == 3, 1.5).otherwise(F.col("distance"))
    late = events.where("id = 20").withColumn("id", F.lit(2000).cast("bigint"))
    tables.overwrite("events", events.where("id <> 5").withColumn("distance", corrected).unionByName(late))
    done = project.score(JANUARY, changed=True, as_of=NOW)
    whole = project.score(JANUARY, slot="whole", version=1, generation=1, as_of=NOW)
    again = project.score(JANUARY, changed=True, as_of=NOW)
    tables.overwrite("events", events)

    assert (done.rows, done.quarantined) == (whole.rows, 0) == (again.rows, again.quarantined)
    champion, other = (project.predictions(JANUARY, slot=slot).drop("slot", "generation", "feature_versions") for slot in ("champion", "whole"))
    assert content(champion) == content(other)
    generations = {row["id"]: row["generation"] for row in project.predictions(JANUARY, slot="champion").collect()}
    assert {index for index, generation in generations.items() if generation == 1} == {3, 7, 2000}
    assert 5 not in generations
    assert set(generations.values()) == {0, 1}  # the third time nothing had changed
    with pytest.raises(ContractError, match="a slot of its own: --slot version-2"):
        project.score(JANUARY, version=2, as_of=NOW)


def test_consumers_read_a_new_table_when_it_holds_all_they_have(second: Work, spark: SparkSession) -> None:
    """Half of it is refused, and what is read stays; the whole becomes what is read, and goes back in one step."""
    blue = Project.open(second.config.base / "conf", "tiny", overrides=("scoring.target=blue",), spark=spark)
    project = Project.open(second.config.base / "conf", "tiny", spark=spark)
    blue.score(JANUARY, as_of=NOW)
    with pytest.raises(ContractError, match=r"in `blue`: no window 2020-02; \d+ of \d+ rows that have a prediction now and would have none"):
        publish.publish(second, "blue")
    assert set(map(tuple, project.served().select("run_id").distinct().collect())) == {
        (run.run_id,) for run in predictions.scorings(second, slot="champion")
    }

    blue.score(FEBRUARY, as_of=NOW)
    look = call(second.config.base, "publish", "blue", "--plan")
    assert (look["missing"], look["beside"]["outputs"]["probability"]["changed"]) == ([], 0.0)
    moved = call(second.config.base, "publish", "blue")
    assert (moved["number"], moved["from_target"], moved["to_target"]) == (1, "tiny_scores", "blue")
    assert call(second.config.base, "publish", "blue") == moved
    assert content(project.served()) == content(blue.predictions(slot="champion"))
    assert call(second.config.base, "publish", "--back")["to_target"] == "tiny_scores"
    assert content(project.served()) == content(project.predictions(slot="champion"))
    with pytest.raises(ContractError, match="nothing that was published before"):
        publish.back(second)


class TestShadows:
    """Another version scores what the champion has scored, in a slot of its own."""

    SHADOWS = ("rollout.shadows.next=newest", "rollout.shadows.same=1", "rollout.shadows.absent=nobody")

    def test_a_shadow_scores_the_same_rows_and_a_broken_one_harms_nobody(
        self, second: Work, spark: SparkSession, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The champion itself is no shadow, neither is an alias that nothing has; changed files are refused, and said."""
        project = Project.open(second.config.base / "conf", "tiny", overrides=self.SHADOWS, spark=spark)
        work = Work(project.config, spark)
        champion = content(project.predictions(JANUARY, slot="champion"))

        project.score(JANUARY, as_of=FIRST)
        assert [run.key.slot for run in predictions.scorings(work, window=JANUARY)] == ["champion", "next"]
        assert content(project.predictions(JANUARY, slot="champion")) == champion
        beside = predictions.compare(work, "champion", "next", window=JANUARY)
        assert (beside.only_left, beside.only_right, beside.outputs["probability"].changed) == (0, 0, 0.0)

        weights = next(Path(work.tracking.resolve("tiny", 2).source.removeprefix("file://")).rglob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        caplog.clear()
        scored = project.score(FEBRUARY, as_of=NOW, generation="next")
        assert scored.rows
        assert [run.key.slot for run in predictions.scorings(work, window=FEBRUARY)] == ["champion"]
        (told,) = [
            record for record in caplog.records if "shadow next of window 2020-02 failed, the champion's predictions stand" in record.getMessage()
        ]
        assert told.exc_info  # where it happened, for whoever mends the shadow

    def test_a_shadow_that_never_ends_is_ended(self, spark: SparkSession) -> None:
        """Its jobs alone: those of other threads go on."""

        def sleep(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            time.sleep(600)
            yield from batches

        with pytest.raises(Exception, match=r"cancelled|interrupt|CANCEL"), ended_after(spark, "2s") as session:
            session.range(1).mapInArrow(sleep, "id bigint").count()
        assert spark.range(3).count() == 3


class TestRollback:
    """A scoring of broken rows is taken back after another month was scored."""

    def test_the_window_has_its_former_rows_and_is_scored_anew(self, place: Place, spark: SparkSession) -> None:
        """Also though a later commit of another window exists; the newest goes first, and once."""
        project, work = place.project(spark), Work(load(place.folder / "conf", "tiny"), spark)
        first, plain = content(project.predictions(JANUARY)), content(project.predictions(JANUARY).drop("feature_versions", "generation"))
        events = work.tables.read("events", work.tables.newest("events").version)
        first_run, first_scored = predictions.scorings(work, window=JANUARY)[0].run_id, project.score(JANUARY, as_of=FIRST)
        work.tables.overwrite("events", events.withColumn("distance", F.when(F.col("id") == 3, math.inf).otherwise(F.col("distance"))))
        again = project.score(JANUARY, as_of=NOW, generation="next")
        work.tables.overwrite("events", events)
        [reason] = call(place.folder, "reasons")
        assert reason == {"example": {"id": 3}, "reason": "infinite feature: distance", "rows": 1, "slot": "champion", "window": JANUARY}
        project.score(FEBRUARY, as_of=NOW, generation="next")
        run = predictions.scorings(work, window=JANUARY)[0].run_id

        with pytest.raises(ContractError, match="the newest scoring that stands there"):
            withdraw.perform(work, scoring_run=first_run)
        back = call(place.folder, "rollback", run)
        assert (back["rows"], back["withdrawn"]) == (again.rows + 1, 1)
        assert content(project.predictions(JANUARY)) == first
        assert withdraw.perform(work, scoring_run=run).fresh is False
        assert project.score(JANUARY, as_of=NOW).snapshot.version == predictions.scorings(work, window=JANUARY)[0].record["snapshot"]["version"]

        # As a killed one leaves it: the commit has landed, and the ledger does not know.
        once = scoring.withdraw(work.tables, "tiny_scores", first_scored, run_id=first_run, generation=0, number=3)
        assert withdraw.perform(work, scoring_run=first_run).record == once
        assert project.predictions(JANUARY).isEmpty()
        assert project.predictions(FEBRUARY).count() == predictions.scorings(work, window=FEBRUARY)[0].record["rows"]
        assert due.open_windows(work, "score", as_of=NOW) == ()  # February is the first that stands
        assert [run.key.window for run in predictions.scorings(work)] == [FEBRUARY]

        anew = project.score(JANUARY, as_of=NOW)
        assert anew.snapshot == work.tables.newest("tiny_scores")
        assert anew == replace(again, snapshot=anew.snapshot, rows=again.rows + 1, quarantined=0)
        assert project.score(JANUARY, as_of=NOW) == anew
        assert content(project.predictions(JANUARY).drop("feature_versions", "generation")) == plain
        with pytest.raises(ContractError, match="which took generation 1 back"):
            project.score(JANUARY, as_of=NOW, generation=2)
