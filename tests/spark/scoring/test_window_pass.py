"""A window's pass: every row once, bad rows aside, one commit."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scoring_rows import SCHEMA, SETTINGS, WINDOW, all_bad, bad_rows, good_rows, run, store_rows

from feature_store.delta import Tables
from feature_store.pii import marked_personal, without_statistics
from feature_store.records import Snapshot
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.records import ScoredWindow
from sparkml_ops.scoring import file_pass, finished, predictions, quarantine
from sparkml_ops.scoring.checks import value_checks
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.row_checks import RowChecks

KEY = ["flight_id", "leg"]
GOOD = 120
CHECKS = ScoringSection.model_validate({"checks": {"seats": {"minimum": 0}}}).checks
# Of a window with no duplicate, into a new table, whose first version Delta reads in three jobs. Where tasks write, the table is made
# beforehand. Lower them when they fall, and say why when they must rise.
JOBS = {"pandas": 18, "arrow": 13, "files": 2}


@pytest.fixture(scope="module")
def scoring_set(warehouse: Tables) -> Snapshot:
    """A window with all kinds of bad rows; one of its keys tells of persons."""
    stored = store_rows(warehouse, good_rows(GOOD) + all_bad())
    without_statistics(warehouse, stored.table, warehouse.schema(stored.table), {"leg"}, ("window",))
    return stored


@pytest.fixture(scope="module")
def scored(warehouse: Tables, model: ScoringModel, scoring_set: Snapshot) -> ScoredWindow:
    """That window, scored by the arrow engine."""
    return run(warehouse, model, scoring_set, engine="arrow", checks=CHECKS)


def test_every_row_is_there_once(warehouse: Tables, scored: ScoredWindow) -> None:
    """Scored or quarantined, never lost, never doubled."""
    rows = warehouse.read(SETTINGS.target).where("slot = 'champion'").select(*KEY).collect()

    assert Counter(map(tuple, rows)) == Counter((row[0], row[1]) for row in good_rows(GOOD) + all_bad())
    assert (scored.rows, scored.quarantined) == (GOOD, len(all_bad()))


def test_a_key_that_tells_of_persons_has_no_statistics(warehouse: Tables, scored: ScoredWindow) -> None:
    """The scoring set says which column that is; its neighbours have theirs."""
    assert marked_personal(warehouse, scored.snapshot.table) == {"leg"}
    adds = [
        json.loads(line).get("add") for path in Path(warehouse.location(scored.snapshot.table), "_delta_log").glob("*.json") for line in path.open()
    ]
    bounded = [set(json.loads(add["stats"])["minValues"]) for add in adds if add]
    assert bounded
    assert all("flight_id" in names and "leg" not in names for names in bounded)


def test_each_bad_row_has_its_reason(warehouse: Tables, scored: ScoredWindow) -> None:
    """A user can look up why; rows that share a key are all set aside, since none is known to be the right one."""
    rows = quarantine(warehouse, SETTINGS.target, window=WINDOW, slot="champion").select(*KEY, "reason").collect()

    assert Counter(map(tuple, rows)) == Counter((row[0], row[1], reason) for reason, bad in bad_rows().items() for row in bad)


def test_predictions_are_the_model_s_to_the_last_bit(warehouse: Tables, scored: ScoredWindow, artifact_folder: Path) -> None:
    """Null, NaN and unknown features are scored as the model itself scores them from pandas."""
    names = [part.split()[0] for part in SCHEMA.split(", ")]
    expected = artifact.load(artifact_folder).predict(pd.DataFrame(good_rows(GOOD), columns=names))

    rows = (
        predictions(warehouse, SETTINGS.target)
        .where("slot = 'champion'")
        .orderBy("flight_id")
        .select("flight_id", "prediction.probability")
        .collect()
    )

    assert [tuple(row) for row in rows] == list(enumerate(expected))


@pytest.mark.parametrize("engine", ["files", "pandas"])
def test_engines_agree_to_the_last_bit(
    warehouse: Tables, model: ScoringModel, scoring_set: Snapshot, scored: ScoredWindow, engine: Literal["files", "pandas"]
) -> None:
    """All engines give the same predictions, reasons and places."""
    other = run(warehouse, model, scoring_set, slot=engine, engine=engine, checks=CHECKS)
    slots = warehouse.read(SETTINGS.target)
    arrow, found = (slots.where(F.col("slot") == slot).drop("slot") for slot in ("champion", engine))

    assert arrow.count() == found.count() == GOOD + len(all_bad())
    assert arrow.exceptAll(found).isEmpty()
    assert (other.rows, other.quarantined) == (scored.rows, scored.quarantined)


def test_rows_carry_where_they_come_from(warehouse: Tables, scored: ScoredWindow, scoring_set: Snapshot) -> None:
    """Model, run, versions of the inputs, time and generation stand in each row, quarantined ones included."""
    names = ["model_name", "model_version", "run_id", "feature_versions", "scored_at", "generation", "window"]
    rows = warehouse.read(SETTINGS.target).where("slot = 'champion'").select(*names).distinct().collect()

    assert [row.asDict() for row in rows] == [
        {
            "model_name": "flights",
            "model_version": 1,
            "run_id": "r1",
            "feature_versions": json.dumps({"flights_scores_scoring_set": scoring_set.version, "raw_flights": 3}),
            "scored_at": datetime(2013, 9, 4),
            "generation": 0,
            "window": WINDOW,
        }
    ]


def test_a_repeat_writes_nothing_and_says_the_same(
    spark: SparkSession, warehouse: Tables, model: ScoringModel, scoring_set: Snapshot, scored: ScoredWindow
) -> None:
    """The commit carries the record: who comes later gets it without scoring, also if the model is another one by now."""
    before = warehouse.newest(SETTINGS.target)

    again = run(warehouse, model, scoring_set, run_id="r2", engine="pandas")

    assert again == scored
    assert warehouse.newest(SETTINGS.target) == before
    assert finished(warehouse, SETTINGS.target, window=WINDOW, slot="champion") == scored
    assert finished(warehouse, SETTINGS.target, window=WINDOW, slot="nobody") is None


def test_nothing_is_left_in_staging(warehouse: Tables, model: ScoringModel, scored: ScoredWindow) -> None:
    """Scored rows wait there only until they are committed."""
    assert model.published.storage.list(f"staging/{SETTINGS.target}/{WINDOW}/champion") == []


@pytest.mark.parametrize(("engine", "version"), [("pandas", 0), ("arrow", 0), ("files", 1)])
def test_a_pass_is_one_commit_and_few_jobs_in_any_zone(
    spark: SparkSession, tables: Tables, model: ScoringModel, engine: Literal["pandas", "arrow", "files"], version: int
) -> None:
    """One commit of the rows; the number of Spark jobs is held; `scored_at` is the instant whatever zone the session shows."""
    snapshot = store_rows(tables, good_rows(40) + bad_rows()["null spine time"])
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    spark.sparkContext.setJobGroup(f"one-pass-{engine}", "counted")
    try:
        done = run(tables, model, snapshot, engine=engine)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)

    [row] = tables.read(SETTINGS.target).select(F.unix_micros("scored_at").alias("at")).distinct().collect()
    assert row["at"] == datetime(2013, 9, 4, tzinfo=UTC).timestamp() * 1_000_000
    assert done.snapshot.version == version
    assert len(spark.sparkContext.statusTracker().getJobIdsForGroup(f"one-pass-{engine}")) <= JOBS[engine]


def test_a_refused_window_leaves_the_target_as_it_was(tables: Tables, model: ScoringModel) -> None:
    """Too many bad rows, or none at all: the error has count, share, reasons and limit, no staged row stays, and nothing is written."""
    july = store_rows(tables, good_rows(40))
    first = run(tables, model, july)
    august = store_rows(tables, good_rows(40, "2013-08") + bad_rows("2013-08")["infinite feature: distance"], "2013-08")

    with pytest.raises(ContractError) as refused:
        run(tables, model, august, window="2013-08", max_quarantine_share=0.02)
    with pytest.raises(ContractError, match="no rows in window 2013-09"):
        run(tables, model, august, window="2013-09")

    assert "2 of 42 rows to quarantine" in str(refused.value)
    assert "4.76%: 2 infinite feature (most frequent: 2 infinite feature: distance)" in str(refused.value)
    assert "at most 2.00% (scoring.max_quarantine_share)" in str(refused.value)
    assert tables.newest(SETTINGS.target) == first.snapshot
    assert model.published.storage.list("staging") == []

    # An empty window that is meant is a result, and deletes no other one (`replaceWhere` with an empty frame deletes its own).
    emptied = run(tables, model, august, window="2013-09", allow_empty=True)
    assert (emptied.rows, emptied.quarantined) == (0, 0)
    assert predictions(tables, SETTINGS.target).count() == 40


def test_bad_identities_refuse_before_the_model_runs(tables: Tables, model: ScoringModel) -> None:
    """What the keys alone show costs no pass and makes no table."""
    snapshot = store_rows(tables, good_rows(10) + bad_rows()["duplicate row identity"])

    with pytest.raises(ContractError, match=r"2 of 12 rows .* 2 duplicate row identity; expected"):
        run(tables, model, snapshot, max_quarantine_share=0.1)

    assert not tables.exists(SETTINGS.target)


def test_many_doubled_keys_are_marked_by_spark(tables: Tables, model: ScoringModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fit every task go through the other engine, with the same result."""
    monkeypatch.setattr(file_pass, "_MOST_DOUBLED", 0)
    snapshot = store_rows(tables, good_rows(10) + bad_rows()["duplicate row identity"])

    done = run(tables, model, snapshot, engine="files")

    assert (done.rows, done.quarantined) == (10, 2)
    assert tables.details(SETTINGS.target).details["engine"] == "arrow"


def test_configured_checks_tell_null_from_nan(spark: SparkSession) -> None:
    """They run where null and NaN still differ, in Spark and in the tasks that read files; limits leave both alone."""
    options = {
        "x": {"minimum": 0, "maximum": 10, "allow_null": False},
        "y": {"minimum": 0, "allow_nan": False},
        "n": {"maximum": 5},
        "d": {"minimum": 0.1},
    }
    checks = ScoringSection.model_validate({"checks": options}).checks
    rows = [(1.0, 1.0, 1), (-0.5, 1.0, 1), (10.5, 1.0, 1), (None, 1.0, 1), (math.nan, 1.0, None), (1.0, None, 1), (1.0, math.nan, 1), (1.0, 1.0, 6)]
    frame = spark.createDataFrame(
        [(*row, Decimal("0.1")) for row in rows] + [(1.0, 1.0, 1, Decimal("0.09"))], "x double, y double, n int, d decimal(9,2)"
    )
    frame = frame.coalesce(1).select("*", F.lit(1).alias("key"), F.timestamp_micros(F.lit(0)).alias("at"))

    found = [row["reason"] for row in frame.select(F.coalesce(*value_checks(frame.schema, checks)).alias("reason")).collect()]

    below, above = "value out of range: x below 0", "value out of range: x above 10"
    nan, many = "missing value: y is NaN", "value out of range: n above 5"
    assert found == [None, below, above, "missing value: x is null", None, None, nan, many, "value out of range: d below 0.1"]
    [batch] = frame.toArrow().combine_chunks().to_batches()
    assert RowChecks(("key",), "at", (), checks)(batch, None).to_arrow().to_pylist() == found
