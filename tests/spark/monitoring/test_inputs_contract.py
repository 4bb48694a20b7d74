"""What a window keeps to before it is scored, and whether what was scored is what training sees later."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from monitored_project import DAYS, Place, evaluation, events, instant
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from typer.testing import CliRunner

import feature_store as fs
from sparkml_ops.cli.app import app
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.contract import judge_rows
from sparkml_ops.scoring.replay import compare_replay
from sparkml_ops.verbs import contract, drift, score
from sparkml_ops.verbs.skew import skew


def told(place: Place, *rules: dict[str, Any]) -> None:
    """Give a project a contract."""
    document = {"scoring": {"contract": {"rules": list(rules)}}}
    (place.folder / "conf" / "projects" / "tiny" / "contract.yaml").write_text(yaml.safe_dump(document))


class TestJudged:
    def test_every_rule_counts_what_pandas_counts(self, spark: SparkSession) -> None:
        """In one pass: null share with NaN, ranges, values, patterns, uniqueness, predicates, rows, age; of a changed type the type alone."""
        random = np.random.default_rng(1)
        frame = pd.DataFrame(
            {
                "id": np.arange(200),
                "at": [instant(index / 100) for index in range(200)],
                "x": np.where(random.random(200) < 0.1, np.nan, random.normal(size=200)),
                "n": random.integers(0, 50, 200),
                "code": random.choice(["AB1", "CD2", "ef3", "AB12"], 200),
            }
        )
        rules = (
            fs.Expectation("type", "n", type="bigint"),
            fs.Expectation("type", "code", type="int", otherwise="warn"),
            fs.Expectation("not_null", "code", otherwise="warn"),
            fs.Expectation("nulls", "x", high=0.01, otherwise="warn"),
            fs.Expectation("between", "n", low=1, high=40, otherwise="quarantine"),
            fs.Expectation("unique", columns=("n",), otherwise="warn"),
            fs.Expectation("sql", sql="x < n or x is null", otherwise="warn"),
            fs.Expectation("rows", high=100, otherwise="warn"),
            fs.Expectation("fresh", within="1h"),
        )
        rows = spark.createDataFrame(frame).withColumn("x", F.coalesce("x", F.lit(math.nan)))  # on its way to Spark pandas' NaN became null
        found = judge_rows(rows, rules, row_key=["id"], time="at", at=instant(2), what="rows")

        outside = ~frame["n"].between(1, 40)
        outcomes = [(item.outcome, item.failed) for item in found.verdicts]
        assert outcomes == [
            ("pass", 0),
            ("warn", 0),
            ("not judged", 0),
            ("warn", 0),
            ("quarantine", outside.sum()),
            ("warn", frame["n"].duplicated(keep=False).sum()),
            ("warn", (~(frame["x"] < frame["n"])).sum()),  # NaN is greater than every number in SQL
            ("warn", 0),
            ("pass", 0),
        ]
        assert (found.rows, found.bad, [item.name for item in found.apart]) == (200, outside.sum(), ["n between 1 and 40"])
        assert found.verdicts[3].found == f"{frame['x'][~outside].isna().mean():.4g} of x missing"
        assert found.verdicts[1].found == "code of type string"

    def test_a_column_that_is_not_there_is_named(self, spark: SparkSession) -> None:
        """With the nearest one."""
        with pytest.raises(ContractError, match=r"no column `distnce` \(did you mean `distance`\?\) in rows, which its contract names"):
            judge_rows(
                spark.range(1).selectExpr("id", "1.0D as distance"),
                [fs.Expectation("not_null", "distnce")],
                row_key=["id"],
                time="id",
                at=instant(0),
                what="rows",
            )


class TestScored:
    def test_learnt_checked_and_shown(self, fresh: Place, tmp_path: Path) -> None:
        """The training rows keep what was learnt from them; the file is never overwritten unasked; `show` needs no Spark."""
        place = fresh.copy(tmp_path / "learnt")
        learnt = contract.learn(place.work)
        rules = {
            item["column"]: item for item in yaml.safe_load(learnt.text)["scoring"]["contract"]["rules"] if item["rule"] in ("between", "one_of")
        }
        frame = evaluation()

        assert rules["shop"]["values"] == ["a", "b"]
        assert rules["x"]["low"] < frame["x"].min() - 0.09 * (frame["x"].max() - frame["x"].min())
        assert rules["x"]["high"] > frame["x"].max()
        (place.folder / "conf" / "projects" / "tiny" / "contract.yaml").write_text(learnt.text)
        own = Place(place.folder, place.spark)
        found = {item.name: item for item in contract.check(own.work, DAYS[0]).verdicts}
        day = events().query("id < 300")
        assert found["shop not null"].failed == day["shop"].isna().sum()
        assert found["shop one of 2 values"].outcome == "pass"
        assert [item.failed for name, item in found.items() if name.startswith("x between")] == [1]  # the infinite one
        options = ["--conf", str(place.folder / "conf"), "--project", "tiny", "--json"]
        shown = json.loads(CliRunner().invoke(app, ["contract", "show", *options]).stdout)
        assert (len(shown["rules"]), shown["learnt_from"]) == (learnt.rules, "training set tiny_1 of tiny version 1")
        assert "contract.yaml exists" in CliRunner().invoke(app, ["contract", "learn", *options]).stderr

    def test_rows_that_break_it_are_set_aside_with_the_rule_as_reason(self, fresh: Place, tmp_path: Path) -> None:
        """Beside other reasons, in one commit that names the contract; a window that breaks nothing keeps its engine."""
        place = fresh.copy(tmp_path / "apart")
        told(
            place,
            {"rule": "not_null", "column": "shop", "otherwise": "quarantine", "name": "shop is known"},
            {"rule": "rows", "low": 1000, "otherwise": "warn"},
        )
        own = Place(place.folder, place.spark)
        record = score.perform(own.work, window=DAYS[0], as_of=instant(3), generation="next").record

        day = events().query("id < 300")
        absent = day["shop"].isna() & np.isfinite(day["x"])
        assert (record.rows, record.quarantined) == (300 - absent.sum() - 1, absent.sum() + 1)
        rows = own.work.tables.read("tiny_scores").where("outcome = 'quarantined'").select("id", "reason").toPandas()
        assert set(rows.query("reason == 'broken contract: shop is known'")["id"]) == set(day[day["shop"].isna()]["id"]) & set(rows["id"])
        details = own.work.tables.details("tiny_scores").details
        assert details["contract"]["broken"] == ["shop is known", "rows at least 1000"]
        stored = contract.results(own.work, {"window": DAYS[0]})
        assert [(row["name"], row["outcome"], row["failed"]) for row in stored] == [
            ("shop is known", "quarantine", day["shop"].isna().sum()),
            ("rows at least 1000", "warn", 0),
        ]
        assert {row["contract"] for row in stored} == {details["contract"]["hash"]}

    def test_a_rule_that_says_fail_refuses_the_window(self, fresh: Place, tmp_path: Path) -> None:
        """Its verdict is stored, nothing is scored."""
        place = fresh.copy(tmp_path / "fail")
        told(place, {"rule": "one_of", "column": "shop", "values": ["b"]})
        own = Place(place.folder, place.spark)
        before = own.commits()
        with pytest.raises(
            ContractError, match=r"`shop one of 1 values` broken by \d+ rows in the scoring set of window 2020-01-02.*nothing was scored"
        ):
            score.perform(own.work, window=DAYS[1], as_of=instant(3), generation="next")

        after = own.commits()
        assert {name for name in after if after[name] != before.get(name)} == {"contract_results", "tiny_scores_scoring_set"}
        assert [row["outcome"] for row in contract.results(own.work)] == ["fail"]


class TestSkew:
    def test_differences_are_those_of_pandas(self, spark: SparkSession) -> None:
        """Null and NaN equal themselves; gone, late and doubled keys are counted apart; a distance may be within the tolerance."""
        scored = pd.DataFrame({"id": [1, 2, 3, 4, 5, 6, 6], "x": [1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 6.0], "s": ["a", None, "c", "d", "e", "f", "f"]})
        now = pd.DataFrame({"id": [1, 2, 3, 4, 6, 7], "x": [1.0, 2.5, np.nan, 4.0 + 1e-12, 6.0, 7.0], "s": ["a", None, "x", "d", "f", "g"]})
        sides = [spark.createDataFrame(frame) for frame in (scored, now)]
        exact = compare_replay(*sides, row_key=["id"], window="w")
        near = compare_replay(*sides, row_key=["id"], window="w", tolerance=1e-9)

        assert (exact.rows, exact.differing, exact.gone, exact.late, exact.doubled) == (4, 3, 1, 1, 1)
        assert [(item.column, item.rows, item.share, item.largest, item.example) for item in exact.columns] == [
            ("x", 2, 0.5, 0.5, "2"),
            ("s", 1, 0.25, None, "3"),
        ]
        assert (near.differing, near.of("x"), near.of("s"), near.of("id")) == (2, 0.25, 0.25, 0.0)

    def test_corrected_source_rows_are_a_fault_that_drift_stores(self, fresh: Place, tmp_path: Path) -> None:
        """Unchanged tables replay to the same rows; a corrected column is named, with the row where it moved most."""
        place = fresh.copy(tmp_path / "skew", "drift.replay=0.02", "drift.columns=[x,shop]", "drift.minimum_rows=2")
        same = skew(place.work, DAYS[0], as_of=instant(3))
        frame = events()
        frame.loc[:8, "x"] += 0.25
        frame.loc[3, "x"] += 10.0
        place.write("events", frame)
        found = skew(place.work, DAYS[0], as_of=instant(3))
        report = drift.perform(place.work, window=DAYS[0], as_of=instant(3)).record

        assert (same.rows, same.differing, same.columns) == (300, 0, ())
        assert [(item.column, item.rows, item.example) for item in found.columns] == [("x", 8, "3")]  # infinity stays infinity
        assert found.columns[0].largest == pytest.approx(10.25)
        rows = {row["column"]: row for row in place.work.tables.rows("drift_metrics", {"statistic": "skew"})}
        assert [(rows[name]["value"], rows[name]["verdict"]) for name in ("x", "shop")] == [(pytest.approx(8 / 300), "fault"), (0.0, "no drift")]
        assert report["x"].verdict == "fault"
        assert drift.perform(place.work, window=DAYS[0], as_of=instant(3)).record["x"].measures["skew"].value == pytest.approx(8 / 300)
