"""What a refresh would do, from two logs: no Spark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import deltalake
import pyarrow as pa
import pytest

import feature_store as fs
from feature_store.delta import Tables
from feature_store.delta.changes import FEED
from feature_store.incremental import plan
from feature_store.incremental.plan import RefreshPlan, inputs_of, may_be_large, plan_refresh
from feature_store.names import Warehouse

NOW = datetime(2024, 3, 2, tzinfo=UTC)
ROWS = pa.table({"origin": ["JFK", "LGA"], "at": pa.array([NOW, NOW], pa.timestamp("us", "UTC")), "delay": [1.0, 2.0]})
TABLE = fs.FeatureTable("delays", ("origin",), "at", (fs.Feature("delay", "double"),), source="raw")


class Logs:
    """A source with a change feed, and the log of a feature table that a refresh has made from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = Tables(_no_spark, Warehouse(root=str(root)))

    def source(self, rows: pa.Table = ROWS, *, feed: bool = True, **options: Any) -> None:
        settings = {} if (self.root / "raw").exists() else {"configuration": {FEED: "true" if feed else "false"}}
        deltalake.write_deltalake(str(self.root / "raw"), rows, **{"mode": "append", **settings, **options})

    def refreshed(self, table: fs.FeatureTable = TABLE, kind: str = "refresh", **details: Any) -> None:
        inputs = inputs_of(self.tables, table, self.tables.newest("raw"))
        recorded = {"kind": kind, **inputs, "used_until": 0, "complete": True, "as_of": NOW.isoformat(), **details}
        self.commit(json.dumps({"token": "t", "details": recorded}))

    def commit(self, note: str | None = None) -> None:
        properties = deltalake.CommitProperties(custom_metadata={"userMetadata": note}) if note else None
        deltalake.write_deltalake(str(self.root / "delays"), ROWS, mode="append", commit_properties=properties)

    def plan(self, table: fs.FeatureTable = TABLE, as_of: datetime = NOW) -> RefreshPlan:
        return plan_refresh(self.tables, table, "raw", as_of)


def _no_spark() -> NoReturn:
    raise AssertionError("Spark was asked for")


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logs:
    monkeypatch.setattr(plan, "SMALL", 0)
    return Logs(tmp_path)


def test_a_source_that_is_not_there_is_waited_for(logs: Logs) -> None:
    """A plan before the first build has nothing to read."""
    assert logs.plan() == RefreshPlan("delays", "rebuild", "`raw` is not there yet", "raw")


def test_new_rows_with_a_feed_are_followed(logs: Logs) -> None:
    """With their number, which the log of an append tells."""
    logs.source()
    assert (logs.plan().kind, logs.plan().reason) == ("rebuild", "the table is not there yet")
    logs.refreshed()
    assert logs.plan().kind == "nothing"
    logs.source()

    assert logs.plan() == RefreshPlan("delays", "incremental", "only what the changed rows touch", "raw", 0, 1, 2)


def test_what_is_written_again_is_not_counted_beforehand(logs: Logs) -> None:
    """How many of the rows differ is known when they have been compared; a source that came and went many times is not."""
    logs.source()
    logs.refreshed()
    logs.source(mode="overwrite")
    assert (logs.plan().kind, logs.plan().changed_rows) == ("incremental", None)

    logs.source(mode="overwrite")
    assert (logs.plan().kind, logs.plan().reason) == ("rebuild", "the changes of `raw` are 4.0 times its size")


def _alter(logs: Logs, **properties: str) -> None:
    deltalake.DeltaTable(str(logs.root / "raw")).alter.set_table_properties(properties)


def _vacuum(logs: Logs) -> None:
    deltalake.DeltaTable(str(logs.root / "raw")).delete("origin = 'JFK'")
    for path in (*(logs.root / "raw" / "_change_data").glob("*.parquet"), *(logs.root / "raw").glob("*.parquet")):
        path.unlink()


def _forget_log(logs: Logs) -> None:
    logs.source()
    deltalake.DeltaTable(str(logs.root / "raw")).create_checkpoint()
    (logs.root / "raw" / "_delta_log" / f"{1:020}.json").unlink()


@pytest.mark.parametrize(
    ("feed", "change", "reason"),
    [
        (False, lambda logs: logs.source(), r"of `raw` its change feed is not enabled \(delta.enableChangeDataFeed\)"),
        (False, lambda logs: (_alter(logs, **{FEED: "true"}), logs.source()), "of `raw` its change feed was enabled after version 0"),
        (True, lambda logs: (_alter(logs, **{FEED: "false"}), _alter(logs, **{FEED: "true"})), "its change feed was not enabled at version 1"),
        (
            True,
            lambda logs: logs.source(ROWS.append_column("more", pa.array([1, 2])), schema_mode="merge"),
            "of `raw` its columns changed at version 1",
        ),
        (True, _vacuum, r"the file \S+ of its change feed is gone: it was vacuumed"),
        (True, _forget_log, "of `raw` version 1 is no longer in its log"),
    ],
)
def test_a_feed_that_cannot_be_read_means_a_rebuild(logs: Logs, feed: bool, change: Callable[[Logs], object], reason: str) -> None:
    """The plan says which and why."""
    logs.source(feed=feed)
    logs.refreshed()
    change(logs)

    found = logs.plan()

    assert found.kind == "rebuild"
    assert re.search(reason, found.reason), found.reason


@pytest.mark.parametrize(
    ("recorded", "table", "reason"),
    [
        ({"definition": "other"}, TABLE, "its definition changed"),
        ({"code": "other"}, TABLE, "the code of its builder changed"),
        ({"kind": "backfill"}, TABLE, "its last write was a backfill"),
        ({"source_id": "other"}, TABLE, "`raw` is another table than the one that was read"),
        ({"sources": {"raw": 7}}, TABLE, "`raw` is another table than the one that was read"),
        ({"as_of": (NOW + timedelta(days=1)).isoformat()}, TABLE, "the last refresh was as of 2024-03-03T00:00:00+00:00, which is later"),
        ({}, replace(TABLE, transform=lambda frame: frame), "is a function of all rows"),
        ({}, replace(TABLE, transform={"at": "at + interval 1 hour"}), "its transform replaces the source's time `at`"),
    ],
)
def test_what_no_row_tells_means_a_rebuild(logs: Logs, recorded: dict[str, Any], table: fs.FeatureTable, reason: str) -> None:
    """Another meaning, another source, an earlier clock, a function of all rows."""
    logs.source()
    logs.refreshed(table, **recorded)
    logs.source()

    found = logs.plan(table)

    assert found.kind == "rebuild"
    assert reason in found.reason


def test_a_write_by_others_means_a_rebuild_and_upkeep_does_not(logs: Logs) -> None:
    """Rows that somebody deleted by hand come back; rows that were only laid into other files are the same rows."""
    logs.source()
    logs.refreshed()
    deltalake.DeltaTable(str(logs.root / "delays")).optimize.compact()
    assert logs.plan().kind == "nothing"

    deltalake.DeltaTable(str(logs.root / "delays")).delete("origin = 'JFK'")
    assert (logs.plan().kind, logs.plan().reason.split(" at ")[0]) == ("rebuild", "its rows may have been changed by DELETE")


def test_a_write_in_between_is_noticed(logs: Logs) -> None:
    """A refresh says from which version of its table it started; what landed before it did was not in its rows."""
    logs.source()
    logs.commit()
    logs.commit()
    logs.refreshed(base=1)
    assert logs.plan().kind == "nothing"
    logs.refreshed(base=1)

    assert logs.plan().reason == "its rows may have been changed by WRITE at version 2"


def test_a_later_clock_asks_for_what_became_known(logs: Logs) -> None:
    """Where the source had rows that were not known yet; where all were, nothing can have changed."""
    logs.source()
    logs.refreshed(complete=False)
    assert (logs.plan(as_of=NOW + timedelta(days=1)).kind, logs.plan().kind) == ("incremental", "nothing")
    logs.refreshed()
    assert logs.plan(as_of=NOW + timedelta(days=1)).kind == "nothing"


def test_a_small_table_is_computed_as_a_whole(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding out what to compute costs jobs of its own."""
    monkeypatch.setattr(plan, "SMALL", 3)
    logs.source()
    logs.refreshed()
    logs.source()

    assert (logs.plan().kind, logs.plan().reason) == ("rebuild", "it has 2 rows, and a table below 3 costs less as a whole")


def test_a_table_is_laid_out_for_what_it_may_become(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not there yet by what its source can make at most, one that is there by its rows and room to grow."""
    windows = replace(
        TABLE,
        features=(fs.Feature("count_2d", "bigint"),),
        aggregates=(fs.Aggregate("count", None, "2d"),),
        slide=timedelta(days=1),
    )
    logs.source()
    source = logs.tables.newest("raw")

    def large(small: int) -> bool:
        monkeypatch.setattr(plan, "SMALL", small)
        return may_be_large(logs.tables, windows, source)

    assert (large(6), large(7)) == (True, False)
    logs.refreshed()
    assert (large(4), large(5)) == (True, False)
