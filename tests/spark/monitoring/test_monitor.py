"""Windows of one model against a truth that comes late, is corrected, contradicts itself or is about nothing."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from monitored_project import CLASSES, DAYS, HOURS, Place, evaluation, events, in_words, instant, known, scored
from pyspark.sql import SparkSession
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError
from sparkml_ops.project import Project
from sparkml_ops.verbs import monitor
from sparkml_ops.verbs.work import Work


class TestFigures:
    def test_realised_figures_are_scikit_learn_s_on_the_known_labels(self, lived: Place) -> None:
        """Of the window and of a segment; no label of later counts."""
        report = lived.monitor(DAYS[1], instant(2)).record
        rows = known(events(), DAYS[1], instant(2))
        for segment, part in ((None, rows), ("shop=b", rows[rows["shop"] == "b"]), ("shop=null", rows[rows["shop"].isna()])):
            scores = lived.scores(part)
            assert report.value("auc", segment=segment) == pytest.approx(roc_auc_score(part["label"], scores))
            assert report.value("log_loss", segment=segment) == pytest.approx(log_loss(part["label"], scores))
            assert report.value("brier", segment=segment) == pytest.approx(brier_score_loss(part["label"], scores))
            assert report.value("rate", segment=segment) == pytest.approx(part["label"].mean())

        total = len(scored(events(), DAYS[1]))
        assert (report.rows, report.labelled, report.completeness) == (total, len(rows), len(rows) / total)
        assert (report.final, report.findings) == (False, ())
        lags = (rows["known"] - rows["at"]).dt.total_seconds() / 3600
        assert report.lag == tuple((hours, pytest.approx((lags <= hours).mean())) for hours in HOURS)

    def test_estimates_come_from_the_evaluation_split_alone(self, lived: Place) -> None:
        """Isotonic regression of its labels on the model's scores, applied to all scored rows; kept as one object."""
        report = lived.monitor(DAYS[0], instant(1)).record
        frame, current = evaluation().dropna(subset=["label"]), scored(events(), DAYS[0])
        scores = lived.scores(current)
        chance = IsotonicRegression(out_of_bounds="clip").fit(lived.scores(frame), frame["label"]).predict(scores)
        both, weight = np.repeat([1, 0], len(scores)), np.concatenate([chance, 1 - chance])

        assert report.value("auc", "estimated") == pytest.approx(roc_auc_score(both, np.tile(scores, 2), sample_weight=weight))
        assert report.value("log_loss", "estimated") == pytest.approx(log_loss(both, np.tile(scores, 2), sample_weight=weight))
        assert report.value("rate", "estimated") == pytest.approx(chance.mean())
        auc = next(item for item in report.performance if (item.metric, item.kind, item.segment) == ("auc", "estimated", None))
        assert auc.rows == report.rows
        assert auc.lower < report.value("auc") < auc.upper
        assert lived.work.storage.list("monitoring") == ["monitoring/tiny/1/calibration.json"]

    def test_before_any_truth_there_is_an_estimate(self, fresh: Place, tmp_path: Path) -> None:
        """Realised figures are None, the curve is empty; later the window is measured again under the next generation."""
        place = fresh.copy(tmp_path / "early")
        report = place.monitor(DAYS[2], instant(2)).record
        later = place.monitor(DAYS[2], instant(3))

        assert (report.labelled, report.value("auc"), report.value("rate"), report.lag, report.final) == (0, None, None, (), False)
        assert report.value("auc", "estimated") == later.record.value("auc", "estimated")
        assert later.record.value("auc") is not None
        assert [run.key.generation for run in place.work.ledger.runs({"verb": "monitor"})] == [0, 1]
        assert (place.work.tables.read("performance_metrics").select("as_of").distinct().count()) == 2


class TestRepeats:
    def test_a_run_is_two_commits_and_measures_open_windows_again(self, fresh: Place, lived: Place, tmp_path: Path) -> None:
        """The first day was open when the second ended: its newer rows are in the same commit, and readers take them."""
        place = lived.copy(tmp_path / "next")
        before = place.commits()
        report = place.monitor(DAYS[2], instant(3.0)).record
        after = place.commits()

        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {"performance_metrics": 1, "runs": 1}
        assert place.work.tables.details("performance_metrics").details == {"windows": [DAYS[2], DAYS[1]]}  # the first day was final by then
        assert report.snapshot == place.work.tables.newest("performance_metrics")
        newest = {(row["window"], row["as_of"]): row for row in place.rows(where={"metric": "auc", "kind": "realised"}) if row["segment"] is None}
        assert list(newest) == [(DAYS[0], instant(2)), (DAYS[1], instant(3)), (DAYS[2], instant(3))]
        assert [row["final"] for row in newest.values()] == [True, True, False]
        rows = known(events(), DAYS[0], instant(2))
        assert newest[DAYS[0], instant(2)]["value"] == pytest.approx(roc_auc_score(rows["label"], place.scores(rows)))
        earlier = place.rows(as_of=instant(1.5), where={"metric": "auc", "kind": "realised"})
        assert {(row["window"], row["as_of"]) for row in earlier} == {(DAYS[0], instant(1))}

    def test_finished_work_is_returned(self, lived: Place) -> None:
        """The same instant again, or a final window later: no commit, the same record."""
        before = lived.commits()
        first, again = lived.monitor(DAYS[1], instant(2)), lived.monitor(DAYS[1], instant(2))

        assert not first.fresh
        assert first.record == again.record
        assert lived.commits() == before

    def test_a_final_window_stays_and_a_clock_that_steps_back_is_refused(self, lived: Place, tmp_path: Path) -> None:
        """Final by completeness; an instant between two measurements is an error, unless a generation is asked for."""
        place = lived.copy(tmp_path / "final")
        closed = place.monitor(DAYS[0], instant(2.5))
        later = place.monitor(DAYS[0], instant(9))

        assert closed.fresh
        assert closed.record.final
        assert (later.fresh, later.record) == (False, closed.record)
        assert place.monitor(DAYS[0], instant(1)).record.as_of == instant(1).isoformat()
        with pytest.raises(ContractError, match=r"measured as of 2020-01-03T12:00.*a clock that goes forward.*--generation next"):
            place.monitor(DAYS[0], instant(1.5))
        back = place.monitor(DAYS[0], instant(1.5), generation="next").record
        assert back.labelled == len(known(events(), DAYS[0], instant(1.5)))
        assert {row["as_of"] for row in place.rows() if row["window"] == DAYS[0]} == {instant(2.5)}

    def test_the_same_clock_gives_the_same_rows(self, fresh: Place, lived: Place, tmp_path: Path) -> None:
        """Another day of the wall clock, another process's folder: every row is the same but for its run."""
        place = fresh.copy(tmp_path / "again")
        place.monitor(DAYS[0], instant(1))
        place.monitor(DAYS[1], instant(2))

        assert without_runs(place) == without_runs(lived)
        assert len(without_runs(place)) == 3 * 13 * 4

    def test_a_run_that_ended_between_its_commits_is_finished_by_the_next(self, lived: Place, tmp_path: Path) -> None:
        """The figures are there, the ledger's row is not: the same call adds it and nothing else."""
        place = lived.copy(tmp_path / "killed")
        log = place.folder / "data" / "warehouse" / "runs" / "_delta_log"
        last = max(path.stem for path in log.glob("*.json"))
        for path in log.glob(f"*{last}.*"):
            path.unlink()
        before = place.commits()
        again = place.monitor(DAYS[1], instant(2))

        assert again.fresh
        after = place.commits()
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {"runs": 1}
        assert again.record == lived.monitor(DAYS[1], instant(2)).record


class TestTruth:
    def test_late_corrected_contradicting_and_unscored_truth(self, lived: Place, tmp_path: Path) -> None:
        """The label known last counts, if it was known; contradictions and truth about nothing are findings."""
        place, frame = lived.copy(tmp_path / "truth"), events()
        base = known(frame, DAYS[2], instant(3)).set_index("id")
        ids = base.index[:8].tolist()
        tie = base.loc[ids[4], "known"]

        def row(id: int, label: float | None, when: datetime, at: datetime | None = None) -> dict[str, Any]:
            return {"id": id, "at": at or base.loc[id, "at"], "shop": "a", "x": 0.0, "label": label, "known": when}

        flipped = {id: 1 - base.loc[id, "label"] for id in ids}
        extra = [
            row(ids[0], flipped[ids[0]], instant(2.99)),  # corrected
            row(ids[1], flipped[ids[1]], instant(3.01)),  # corrected, but not yet known
            row(ids[2], flipped[ids[2]], base.loc[ids[2], "known"] - timedelta(minutes=1)),  # older than what is known
            row(ids[3], flipped[ids[3]], base.loc[ids[3], "known"]),
            row(ids[3], base.loc[ids[3], "label"], instant(2.999)),  # a contradiction that was settled
            row(ids[4], flipped[ids[4]], tie),  # a contradiction
            row(ids[5], base.loc[ids[5], "label"], base.loc[ids[5], "known"]),  # the same twice
            row(ids[6], None, instant(2.995)),  # taken back
            row(ids[7], None, instant(2.99)),  # taken back, and given again
            row(ids[7], flipped[ids[7]], instant(2.995)),
            *(row(5000 + index, 1.0, instant(2.6), at=instant(2.5)) for index in range(5)),  # never scored
            row(5100, 1.0, instant(2.6), at=instant(3.5)),  # of another window
            row(700, 1.0, instant(2.9), at=instant(2.34)),  # in quarantine
        ]
        place.write("events", pd.DataFrame(extra), append=True)
        report = place.monitor(DAYS[2], instant(3)).record

        truth = base["label"].copy()
        truth[ids[0]] = flipped[ids[0]]
        truth[ids[7]] = flipped[ids[7]]
        truth = truth.drop([ids[4], ids[6]])
        assert report.labelled == len(truth)
        assert report.value("auc") == pytest.approx(roc_auc_score(truth, place.scores(base.loc[truth.index])))
        assert report.value("rate") == pytest.approx(truth.mean())
        assert report.findings == (
            f"contradicting truth: 1 keys with different labels known at the same time, which count as not labelled ({ids[4]})",
            "truth without a prediction: 5 keys that were neither scored nor in quarantine (5000, 5001, 5002, ...)",
        )

    def test_labels_other_than_0_and_1_are_refused(self, lived: Place, tmp_path: Path) -> None:
        """Nothing is written."""
        place, mine = lived.copy(tmp_path / "labels"), known(events(), DAYS[2], instant(3)).head(1)
        place.write("events", mine.assign(label=7.0, known=instant(2.999)), append=True)
        before = place.commits()
        with pytest.raises(ContractError, match=rf"1 labels other than 0 and 1 .* window {DAYS[2]}, of {mine['id'].iloc[0]}"):
            place.monitor(DAYS[2], instant(3))

        assert place.commits() == before


class TestWorth:
    def test_worth_reward_and_disparities_stand_beside_the_other_figures(self, fresh: Place, tmp_path: Path) -> None:
        """By window and segment, in the table; a column that is only sensitive is no segment, and a window whose labels stay away says so."""
        value = "monitoring.value={true_positive: 3, false_positive: -1, false_negative: -2, amount: x, reward: x}"
        place = fresh.copy(tmp_path / "worth", value, "monitoring.sensitive=[shop]", "monitoring.segments=[]", "monitoring.sensitive_rows=5")
        report = place.monitor(DAYS[0], instant(1), generation="next").record
        rows = known(events(), DAYS[0], instant(1))
        scores, label, x = place.scores(rows), rows["label"].to_numpy(), rows["x"].to_numpy()

        decided = scores >= 0.5
        worth = np.where(label == 1, np.where(decided, 3, -2), np.where(decided, -1, 0)) * x
        assert report.value("value") == pytest.approx(worth.mean(), abs=1e-5)
        assert report.value("value", "estimated") is None
        assert report.value("reward") == pytest.approx(x.mean(), abs=1e-5)
        whole = scored(events(), DAYS[0])
        shares = [np.mean(place.scores(part) >= 0.5) for _, part in whole.groupby("shop", dropna=False)]
        assert report.value("demographic_parity") == pytest.approx(max(shares) - min(shares))
        assert report.value("demographic_parity", segment="shop") == report.value("demographic_parity")
        assert {item.segment for item in report.performance} == {None, "shop"}
        stored = place.rows(where={"metric": ("value", "equal_opportunity"), "kind": "realised"})
        assert [row["measured"] for row in stored if row["metric"] == "value"] == [len(rows)]

    def test_a_window_whose_labels_stay_away_says_so(self, fresh: Place, tmp_path: Path) -> None:
        """It is final when its time is over; what was measured is measured of the others."""
        place = fresh.copy(tmp_path / "half")
        frame = events()
        gone = frame["id"].between(0, 299) & (frame["id"] % 2 == 0)
        place.write("events", frame[~gone])
        report = place.monitor(DAYS[0], instant(12)).record

        assert report.final
        missing = f"labels missing: {report.labelled} of {report.rows} rows have a truth 10d after the window's end, {report.completeness:.1%}"
        assert report.findings == (f"{missing}: realised figures are about these alone",)


class TestClasses:
    def test_a_model_of_classes_is_measured_with_and_without_the_truth(self, spark: SparkSession, tmp_path: Path, mlflow_template: Path) -> None:
        """Realised figures are scikit-learn's, estimates come from its evaluation rows; a class that it does not know is a finding."""
        place = Place.make(tmp_path / "classes", spark, mlflow_template, CLASSES, DAYS[:1])
        first = known(events(), DAYS[0], instant(2)).head(1)
        place.write("events", first.assign(label="maybe", known=instant(1.9)), append=True)
        report = place.monitor(DAYS[0], instant(2)).record
        rows = in_words(known(events(), DAYS[0], instant(2)).iloc[1:])
        scores = place.scores(rows)

        assert report.labelled == len(rows)
        assert report.value("accuracy") == pytest.approx(np.mean(rows["label"] == np.array(["no", "yes"])[scores.argmax(axis=1)]))
        assert report.value("log_loss") == pytest.approx(log_loss(rows["label"], scores))
        assert report.value("macro_auc") == pytest.approx(roc_auc_score(rows["label"] == "yes", scores[:, 1]))
        told, whole = in_words(evaluation()).dropna(subset=["label"]), place.scores(scored(events(), DAYS[0]))
        learnt = place.scores(told)
        maps = [IsotonicRegression(out_of_bounds="clip").fit(learnt[:, k], told["label"] == name) for k, name in enumerate(("no", "yes"))]
        chance = np.column_stack([found.predict(whole[:, k]) for k, found in enumerate(maps)])
        chance /= chance.sum(axis=1, keepdims=True)
        assert report.value("accuracy", "estimated") == pytest.approx(chance[np.arange(len(whole)), whole.argmax(axis=1)].mean(), abs=1e-5)
        assert report.findings == (f"truth of a class that the model does not know: 1 keys, which count as not labelled ({first['id'].iloc[0]})",)
        assert place.work.storage.list("monitoring") == ["monitoring/tiny/1/class_calibration.json"]
        assert not place.monitor(DAYS[0], instant(2)).fresh
        assert {item.segment for item in report.performance} == {None, "shop=a", "shop=b", "shop=null"}


class TestRefusals:
    def test_a_window_that_was_never_scored_is_refused(self, lived: Place) -> None:
        """The mend is the command."""
        with pytest.raises(
            ContractError, match=r"no scores of window 2020-01-09 in slot champion.*sparkml-ops score --project tiny --window 2020-01-09"
        ):
            lived.monitor("2020-01-09", instant(9))

    def test_unknown_and_crowded_segments_are_named(self, lived: Place, tmp_path: Path) -> None:
        """A column that is nowhere, and one that would be a segment for each row."""
        for segment, message in (("shap", r"`shap` \(did you mean `shop`\?\)"), ("id", "more than 200 values of the segment `id`")):
            config = load(lived.folder / "conf", "tiny", overrides=(f"monitoring.segments=[{segment}]",))
            with pytest.raises(ContractError, match=message):
                monitor.perform(Work(config, lived.spark), window=DAYS[2], as_of=instant(3))

    def test_a_plan_writes_nothing(self, fresh: Place, lived: Place, spark: SparkSession) -> None:
        """It names the windows that would be measured, and the calibration that would be made."""
        before = lived.commits()
        found = monitor.plan(lived.work, window=DAYS[2], as_of=instant(2.1))

        assert found.writes == (f"table performance_metrics ({DAYS[2]}, {DAYS[1]})",)
        assert found.reads[0] == f"predictions tiny_scores ({DAYS[2]}, {DAYS[1]}; champion)"
        assert lived.commits() == before
        first = monitor.plan(fresh.work, window=DAYS[0], as_of=instant(1))
        assert first.writes[1:] == ("object monitoring/tiny/1/calibration.json",)
        done = monitor.plan(lived.work, window=DAYS[1], as_of=instant(2))
        assert (done.done, done.writes) == (True, ())

    def test_the_notebook_s_handle_returns_the_report(self, lived: Place, spark: SparkSession) -> None:
        """The same record as the verb's."""
        project = Project.open(lived.folder / "conf", "tiny", spark=spark)

        assert project.monitor(DAYS[0], as_of=instant(1)) == lived.monitor(DAYS[0], instant(1)).record
        versions = {json.loads(row[0]).get("events") for row in project.predictions().select("feature_versions").distinct().collect()}
        assert versions == {0}, "each prediction says which version of the spine it was made from"


def without_runs(place: Place) -> list[dict[str, Any]]:
    rows = place.work.tables.rows("performance_metrics")
    return sorted(({name: value for name, value in row.items() if name != "run_id"} for row in rows), key=str)
