"""The scoring set: a window's rows with what was known at their time, kept as the log of what the model saw."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from tiny_project import Place

import feature_store as fs
from feature_store.delta import Tables
from feature_store.pii import marked_personal
from feature_store.records import Snapshot
from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring import materialise
from sparkml_ops.scoring.scoring_set import input_versions
from sparkml_ops.verbs import score
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

JULY, AUGUST = Window.parse("2013-07"), Window.parse("2013-08")
DELAYS = "origin string, hour timestamp, delay double"


def spine(tables: Tables, window: Window, rows: int = 4) -> DataFrame:
    data = [(index, ["JFK", None][index % 2], window.start + timedelta(hours=index)) for index in range(rows)]
    return tables.spark.createDataFrame(data, "flight_id bigint, origin string, scheduled timestamp")


def delays(tables: Tables) -> DataFrame:
    data = [("JFK", JULY.start - timedelta(hours=1), 5.0), ("JFK", JULY.start + timedelta(hours=1), 7.0)]
    return tables.spark.createDataFrame(data, DELAYS)


def made(tables: Tables, frame: DataFrame, window: Window, features: tuple[str, ...] = ("delay",), **options: Any) -> Snapshot:
    store = fs.FeatureStore(tables.spark, root=tables.warehouse.root)
    lookups = [fs.Lookup(delays(tables), ("origin",), features, event_time="hour")]
    return materialise(tables, store, frame, lookups, target="scores", window=window, spine_time="scheduled", row_key=("flight_id",), **options)


def test_each_row_of_the_spine_gets_what_was_known_then(tables: Tables) -> None:
    """The newest value before the row's time; a null key gives null features and stays a row."""
    snapshot = made(tables, spine(tables, JULY), JULY, spine_versions={"raw_flights": 4})

    rows = tables.read(snapshot.table, snapshot.version).orderBy("flight_id").select("flight_id", "delay", "window").collect()
    assert [tuple(row) for row in rows] == [(0, 5.0, "2013-07"), (1, None, "2013-07"), (2, 7.0, "2013-07"), (3, None, "2013-07")]
    assert snapshot.table == "scores_scoring_set"
    assert input_versions(tables, "scores", snapshot, "2013-07", 0) == {"raw_flights": 4, "scores_scoring_set": snapshot.version}


def test_a_key_that_a_table_marks_as_personal_has_no_statistics(tables: Tables) -> None:
    """Nor has a feature that it marks; types of which Delta keeps no bounds stand in nobody's way."""
    store = fs.FeatureStore(tables.spark, root=tables.warehouse.root)
    features = (fs.Feature("nick", "string"), fs.Feature("first", "boolean"), fs.Feature("delay", "double"))
    store.register(fs.FeatureTable("persons", ("origin",), "hour", features, pii=("origin", "nick")))
    store.write("persons", delays(tables).selectExpr("origin", "hour", "'Jo' AS nick", "true AS first", "delay"))
    lookups = [fs.Lookup("persons", ("origin",), prefix="p_")]

    kept = materialise(tables, store, spine(tables, JULY), lookups, target="scores", window=JULY, spine_time="scheduled", row_key=("flight_id",))

    assert marked_personal(tables, kept.table) == {"origin", "p_nick"}
    for name, shown in (("persons", "delay"), (kept.table, "p_delay")):
        log = "".join(path.read_text() for path in Path(tables.location(name), "_delta_log").glob("*.json"))
        assert "minValues" in log
        assert f'\\"{shown}\\":' in log
        assert "JFK" not in log
        assert "Jo\\" not in log


def test_a_row_outside_the_window_writes_nothing(tables: Tables) -> None:
    """Only what a window can see is joined: such a row would get wrong features."""
    with pytest.raises(Exception, match="a spine row at scheduled=2013-08-01 01:00:00 outside 2013-07-01"):
        made(tables, spine(tables, AUGUST, rows=2), JULY)

    assert not tables.exists("scores_scoring_set")


def test_a_stored_window_is_used_as_it_is(tables: Tables) -> None:
    """Late rows change nothing under the same generation; another one takes them, and another window stands beside."""
    first = made(tables, spine(tables, JULY), JULY)
    august = made(tables, spine(tables, AUGUST, rows=2), AUGUST)

    again = made(tables, spine(tables, JULY, rows=9), JULY)
    next_one = made(tables, spine(tables, JULY, rows=9), JULY, generation=1)

    assert again == first
    assert (august.version, next_one.version) == (first.version + 1, first.version + 2)
    assert sorted(map(tuple, tables.read(next_one.table).groupBy("window").count().collect())) == [("2013-07", 9), ("2013-08", 2)]


def test_a_later_window_may_bring_further_features(tables: Tables) -> None:
    """Rows of before have null there."""
    frame = spine(tables, JULY, rows=2)
    made(tables, frame, JULY)

    made(tables, spine(tables, AUGUST, rows=2).selectExpr("*", "1 AS extra"), AUGUST)

    rows = tables.read("scores_scoring_set").groupBy("window", "extra").count().collect()
    assert {tuple(row) for row in rows} == {("2013-07", None, 2), ("2013-08", 1, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.where("false"), "no rows in window 2013-07"),
        (lambda frame: frame.drop("flight_id"), "no column flight_id in the spine"),
        (lambda frame: frame.selectExpr("*", "'x' AS window"), "a column `window` in the spine"),
    ],
)
def test_a_spine_that_cannot_be_scored_is_refused(tables: Tables, change: Any, message: str) -> None:
    """Before anything is written."""
    with pytest.raises(ContractError, match=message):
        made(tables, change(spine(tables, JULY)), JULY)

    assert not tables.exists("scores_scoring_set")


def test_an_empty_window_can_be_allowed(tables: Tables) -> None:
    """A window may be known to have no rows."""
    snapshot = made(tables, spine(tables, JULY, rows=0), JULY, allow_empty=True)

    assert tables.read(snapshot.table, snapshot.version).count() == 0


def test_a_column_of_another_type_is_refused(tables: Tables) -> None:
    """The scoring sets of a target are one table."""
    made(tables, spine(tables, JULY), JULY)

    with pytest.raises(ContractError, match="`flight_id` is bigint there and string here"):
        made(tables, spine(tables, AUGUST).selectExpr("string(flight_id) AS flight_id", "origin", "scheduled"), AUGUST)


def corrections() -> list[tuple[Any, ...]]:
    """Rows of July by id, time and when they were known: corrected, moved to another month, doubled, not known in time, without a key."""
    days = [
        (1, 1, 2),
        (2, 2, 2),
        (2, 2, 5),
        (3, 3, 3),
        (3, 40, 6),
        (4, 40, 4),
        (4, 4, 9),
        (5, 5, 5),
        (5, 5, 5),
        (6, 6, 6),
        (6, 6, 60),
        (7, 7, None),
        (None, 8, 8),
        (None, 8, 9),
    ]
    return [(key, july(at), None if known is None else july(known), float(version)) for version, (key, at, known) in enumerate(days)]


def july(day: float) -> datetime:
    return JULY.start + timedelta(days=day)


def test_the_verb_takes_the_last_version_known(spark: SparkSession, tmp_path: Path) -> None:
    """Where the spine's source has a known time; the spine's version is pinned and recorded, whatever is written to it later."""
    place, rows = Place(tmp_path), pd.DataFrame(corrections(), columns=["id", "at", "seen", "distance"])
    source = {"table": "events", "event_time": "at", "known_time": "seen", "row_id": ["id"]}
    (tmp_path / "conf" / "projects" / "tiny" / "sources.yaml").write_text(yaml.safe_dump({"sources": {"events": source}}))
    overrides = ("training_set.lookups=[]", "training_set.columns=[distance]")
    work = Work(load(tmp_path / "conf", "tiny", overrides=overrides), spark)
    frame = spark.createDataFrame(corrections(), "id bigint, at timestamp, seen timestamp, distance double")
    place.tables(spark).overwrite("events", frame.coalesce(1).where("id = 1"))
    spine_now = place.tables(spark).overwrite("events", frame.coalesce(1)).snapshot

    made = score.scoring_set(work, JULY, as_of=july(31))

    known = rows[rows.seen.notna() & (rows.seen <= july(31))]
    last = known[known.id.isna() | (known.seen == known.groupby("id").seen.transform("max"))]
    expected = sorted(last[last["at"] < JULY.end].distance)
    assert sorted(row["distance"] for row in work.tables.read(made.table).collect()) == expected == [0, 2, 6, 7, 8, 9, 12, 13]
    assert input_versions(work.tables, "tiny_scores", made, "2013-07", 0) == {"events": spine_now.version, made.table: made.version}
    work.tables.append("events", frame)
    assert score.scoring_set(work, JULY, as_of=july(31)) == made
