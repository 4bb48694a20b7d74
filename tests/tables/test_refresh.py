"""Refresh by what changed: in any order of arrival the rows of a rebuild, in one commit, or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from running_session import answered_here
from running_session import keys as session_keys
from warehouses import opened

import feature_store as fs
from feature_store import hooks, refresh
from feature_store.delta import Commit, Tables
from feature_store.delta.changes import FEED
from feature_store.incremental import plan, update
from feature_store.testing import assert_pit_equal, generators, window_oracle

START = generators.START
SCHEMA = f"{generators.EVENTS}, id bigint, note string"
AGGREGATES = (
    fs.Aggregate("count", None, "36h"),
    fs.Aggregate("sum", "amount", "36h"),
    fs.Aggregate("last", "city", "12h"),
    fs.Aggregate("max", "items", "2d"),
    fs.Aggregate("sum", "items", "2d", where="items > 0", name="gains"),
)
FEATURES = (
    fs.Feature("count_36h", "bigint"),
    fs.Feature("amount_sum_36h", "double"),
    fs.Feature("city_last_12h", "string"),
    fs.Feature("items_max_2d", "int"),
    fs.Feature("gains", "bigint"),
)
CORRECTED = fs.FeatureTable(
    "corrected",
    ("customer", "shop"),
    "happened",
    FEATURES,
    source="events",
    aggregates=AGGREGATES,
    slide="4h",
    known_time="known",
    row_id="row",
    closed="left",
    known_early=True,
)
DELAYED = replace(CORRECTED, name="delayed", known_time="7h", row_id=None, closed="right", transform={"items": "items + 1"})
PLAIN = fs.FeatureTable(
    "plain",
    ("customer", "id"),
    "happened",
    (fs.Feature("city", "string"), fs.Feature("double_items", "int")),
    source="events",
    known_time="known",
    known_early=True,
    transform=fs.Derived({"double_items": "2 * items"}, where="items > -4"),
)


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def rows(seed: int, count: int, first: int) -> pd.DataFrame:
    """Events with ties, late rows and corrections, each with an id of its own; a value may be null, an identity not."""
    rng = np.random.default_rng([seed, 7])
    made = generators.event_rows(seed, count, nulls=0.0)
    for name in ("amount", "city", "items"):
        made.loc[rng.random(count) < 0.1, name] = None
    made["row"] = [f"r{int(rng.integers(first, first + count))}" if rng.random() < 0.9 else None for _ in range(count)]
    made["id"], made["note"] = range(first, first + count), "new"
    return made


class Source:
    """Events in Delta with a change feed, and the same in pandas."""

    def __init__(self, tables: Tables, seed: int) -> None:
        self.tables, self.rng = tables, np.random.default_rng(seed)
        self.rows = rows(seed, 60, 0)
        tables.overwrite("events", self.frame(self.rows), settings={f"spark.databricks.delta.properties.defaults.{FEED[6:]}": "true"})

    def frame(self, made: pd.DataFrame) -> DataFrame:
        return generators.to_spark(self.tables.spark, made, SCHEMA).coalesce(1)

    def arrive(self, seed: int, count: int) -> None:
        """Rows of any time, some of them later versions of earlier ones."""
        more = rows(seed, count, int(self.rows.id.max()) + 1)
        more.loc[more.index % 3 == 0, "row"] = self.rows.row.sample(len(more[more.index % 3 == 0]), random_state=seed).to_numpy()
        self.tables.append("events", self.frame(more))
        self.rows = pd.concat([self.rows, more], ignore_index=True)

    def correct(self, share: float) -> None:
        """Rows are changed in place, in every way: other values, entities and times; the feed has them before and after."""
        changed = self.rows[self.rng.random(len(self.rows)) < share].copy()
        changed["items"] = 3
        moved = self.rng.random(len(changed)) < 0.5
        changed.loc[moved, "customer"] = "a"
        changed.loc[moved, "happened"] = changed.loc[moved, "happened"] - timedelta(hours=6)
        self.tables.merge("events", self.frame(changed), ["id"])
        self.rows = pd.concat([self.rows[~self.rows.id.isin(changed.id)], changed], ignore_index=True)

    def delay(self, length: timedelta) -> None:
        """What became known between two instants of the grid becomes known a little later, which no window sees."""
        between = self.rows.known.map(lambda at: (at - START) % timedelta(hours=6) > timedelta(hours=1))
        self.rows.loc[between, "known"] += length
        self.tables.merge("events", self.frame(self.rows), ["id"])

    def rewrite(self, share: float) -> None:
        """Everything is written again, most of it as it was; some rows are missing, and a column that nobody reads differs."""
        self.rows = self.rows[self.rng.random(len(self.rows)) >= share].reset_index(drop=True).assign(note="again")
        self.tables.overwrite("events", self.frame(self.rows))


def expected(table: fs.FeatureTable, events: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """The table by the oracle, from what was known."""
    delayed = isinstance(table.known_time, timedelta)
    known = events.happened.map(lambda at: at + table.known_time) if delayed else events.known  # type: ignore[operator]
    seen = events[known <= as_of]
    if not table.aggregates:
        seen = seen[seen["items"].map(lambda item: item is not None and item > -4)]
        seen = seen.assign(double_items=computed(seen, lambda item: 2 * item))
        return seen[list(table.columns)]
    if table.transform is not None:
        seen = seen.assign(items=computed(seen, lambda item: item + 1))
    positive = {"gains": lambda row: row["items"] is not None and row["items"] > 0}
    return window_oracle(
        seen,
        table.aggregates,
        keys=table.keys,
        event_time=table.event_time,
        slide=table.slide,
        known_time=table.known_time,
        row_id=table.row_id[0] if table.row_id else None,
        closed=table.closed,
        where=positive,
    )


def computed(events: pd.DataFrame, of: Callable[[int], int]) -> pd.Series[Any]:
    """A function of the items, null for null; pandas would make numbers with gaps to floats."""
    return pd.Series([None if item is None else of(item) for item in events["items"]], index=events.index, dtype=object)


@pytest.fixture
def large_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tables are refreshed by what changed too, whatever the share of that is, and by a merge."""
    monkeypatch.setattr(update, "MOST", float("inf"))
    monkeypatch.setattr(update, "DENSE", float("inf"))
    monkeypatch.setattr(plan, "FEED", float("inf"))
    monkeypatch.setattr(plan, "SMALL", 0)


@pytest.mark.usefixtures("large_share")
def test_any_order_of_arrival_ends_in_the_rows_of_a_rebuild(spark: SparkSession, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late, corrected, moved, deleted and rewritten rows, later clocks: after each step the oracle's rows, each by an incremental refresh.

    Tables of windows are merged into and have stretches of time put in place, by turns.
    """
    store = fs.FeatureStore(spark, root=tables.warehouse.root)
    source = Source(tables, seed=11)
    every = (CORRECTED, DELAYED, PLAIN)
    store.register(*every)
    steps: list[tuple[list[Callable[[], None]], float, tuple[fs.FeatureTable, ...]]] = [
        ([], 70, every),
        ([lambda: source.arrive(1, 25)], 90, (CORRECTED,)),
        ([lambda: source.arrive(2, 15)], 95, (DELAYED, PLAIN)),
        ([lambda: source.correct(0.15), lambda: source.rewrite(0.2)], 400, every),
    ]
    for number, (changes, clock, refreshed) in enumerate(steps):
        for change in changes:
            change()
        for table in refreshed:
            anew = (number, table.name) in ((2, "delayed"), (3, "corrected"))
            monkeypatch.setattr(update, "DENSE", 0 if anew else float("inf"))
            before, planned = tables.newest(table.name).version if number else -1, store.plan_refresh(table.name, hour(clock))
            found = store.refresh(table.name, hour(clock))

            assert planned.kind == ("incremental" if number else "rebuild"), planned
            assert found.version == before + 1
            if number:
                assert operation(tables, table.name) == ("WRITE" if anew or (number, table.name) == (2, "plain") else "MERGE")
            assert store.plan_refresh(table.name, hour(clock)).kind == "nothing"
            assert_pit_equal(store.read(table.name), expected(table, source.rows, hour(clock)))


TOTALS = fs.FeatureTable(
    "totals",
    ("customer",),
    "happened",
    (fs.Feature("items_sum_2d", "bigint"), fs.Feature("count_12h", "bigint")),
    source="events",
    aggregates=(fs.Aggregate("sum", "items", "2d"), fs.Aggregate("count", None, "12h")),
    slide="6h",
    known_time="known",
    known_early=True,
)
NOW = hour(1000)


@pytest.fixture
def listed(spark: SparkSession, tmp_path: Path) -> Iterator[tuple[fs.FeatureStore, Source]]:
    """A refreshed table in a catalog; those of the other tests lie in folders."""
    with opened("catalog", spark, tmp_path) as tables:
        source = Source(tables, seed=3)
        store = fs.FeatureStore(spark, root=tables.warehouse.root, catalog=tables.warehouse.catalog)
        store.register(TOTALS)
        store.refresh("totals", NOW)
        yield store, source


@pytest.mark.usefixtures("large_share")
def test_a_refresh_writes_what_differs_or_nothing(listed: tuple[fs.FeatureStore, Source]) -> None:
    """Rows written again as they were rewrite no file; a bad row is refused before the commit; after a backfill nothing is lost or kept wrong."""
    store, source = listed
    tables = store.tables
    files = live_files(tables)
    source.rewrite(0.0)
    again = store.refresh("totals", NOW)

    assert (again.version, live_files(tables), store.refresh("totals", NOW)) == (1, files, again)

    source.delay(timedelta(microseconds=1))
    assert (store.refresh("totals", NOW).version, live_files(tables)) == (2, files)

    source.arrive(5, 6)
    assert store.plan_refresh("totals", NOW).changed_rows == 6
    refreshed = store.refresh("totals", NOW)
    assert refreshed.version == 3
    assert_pit_equal(store.read("totals"), expected(TOTALS, source.rows, NOW))

    broken = source.rows.head(1).assign(customer=None, id=-1)
    tables.append("events", source.frame(broken))
    with pytest.raises(fs.ContractError, match="1 rows with a null `customer`"):
        store.refresh("totals", NOW)
    assert tables.newest("totals") == refreshed

    tables.overwrite("events", source.frame(source.rows))
    source.rewrite(0.3)
    filled = store.backfill("totals", hour(20), hour(50), NOW)
    found, wanted = store.read("totals", filled.version).toPandas(), expected(TOTALS, source.rows, NOW)
    assert len(found[found.happened.between(naive(20), naive(49.9))]) == sum(hour(20) <= at < hour(50) for at in wanted.happened)
    assert store.plan_refresh("totals", NOW).reason == "its last write was a backfill"
    store.refresh("totals", NOW)
    assert_pit_equal(store.read("totals"), wanted)


@pytest.mark.usefixtures("large_share")
@pytest.mark.parametrize(("corrected", "way"), [(False, "merge"), (True, "merge"), (True, "replace_stretch")])
def test_two_drivers_at_once_end_in_the_newest_rows(
    corrected: bool, way: str, tables: Tables, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One computed its rows before the other's landed: it starts again from those, and does not write its own over them."""
    monkeypatch.setattr(update, "DENSE", 0 if way == "replace_stretch" else float("inf"))
    source = Source(tables, seed=5)
    first, second = (fs.FeatureStore(spark, root=tables.warehouse.root) for _ in range(2))
    first.register(TOTALS)
    first.refresh("totals", NOW)
    source.arrive(1, 9)
    if corrected:
        source.correct(0.2)
    write, seen = getattr(Tables, way), []

    def overtaken(self: Tables, name: str, frame: DataFrame, *args: Any, **options: Any) -> Commit:
        # The other driver's whole refresh, with rows that came later and took back what this one has seen, lies between.
        if not seen and name == "totals":
            seen.append(name)
            source.rewrite(0.4)
            second.refresh("totals", NOW)
        commit: Commit = write(self, name, frame, *args, **options)
        return commit

    monkeypatch.setattr(Tables, way, overtaken)
    found = first.refresh("totals", NOW)

    assert seen
    assert found == tables.newest("totals") == fs.Snapshot("totals", 1)
    assert_pit_equal(first.read("totals"), expected(TOTALS, source.rows, NOW))


@pytest.mark.usefixtures("large_share")
def test_what_only_came_leaves_other_files_alone(tables: Tables, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large table of windows lies by time: rows that come touch the files of their time; in a table of single rows they touch none."""
    monkeypatch.setattr(refresh, "FILE_ROWS", 10)
    source, store = Source(tables, seed=3), fs.FeatureStore(spark, root=tables.warehouse.root)
    store.register(TOTALS, PLAIN)
    store.refresh("totals", NOW)
    store.refresh("plain", NOW)
    windows, single = live_files(tables), live_files(tables, "plain")
    last = source.rows.sort_values("happened").tail(1).assign(id=10_000, row=None, items=3)
    tables.append("events", source.frame(last))
    source.rows = pd.concat([source.rows, last], ignore_index=True)
    store.refresh("totals", NOW)
    store.refresh("plain", NOW)

    assert len(windows) > 4
    assert len(windows & live_files(tables)) > len(windows) / 2
    assert single < live_files(tables, "plain")
    for table in (TOTALS, PLAIN):
        assert_pit_equal(store.read(table.name), expected(table, source.rows, NOW))


@pytest.mark.usefixtures("large_share")
def test_what_came_apart_is_added_as_it_is(tables: Tables, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in a stretch of time without others need no look at these; one identity twice is refused, within them and beside older rows."""
    source, store = Source(tables, seed=3), fs.FeatureStore(spark, root=tables.warehouse.root)
    added: list[int] = []
    store.register(PLAIN)
    store.refresh("plain", NOW)
    append = update.Update._appended

    def seen(self: update.Update, *given: Any) -> Commit:
        added.append(self.base)
        return append(self, *given)

    monkeypatch.setattr(update.Update, "_appended", seen)

    def arrive(*moved: tuple[int, float]) -> None:
        """A row anew for each id and hours by which it lies after the earliest hour that no row reaches."""
        first = source.rows[["happened", "known"]].max().max()
        more = [source.rows[source.rows.id == number].head(1).assign(happened=first + timedelta(hours=by), known=first) for number, by in moved]
        made = pd.concat(more, ignore_index=True).assign(known=lambda rows: rows[["happened", "known"]].max(axis=1))
        tables.append("events", source.frame(made))
        source.rows = pd.concat([source.rows, made], ignore_index=True)

    one, other = source.rows[source.rows["items"].map(lambda item: item is not None and item > -4)].id.head(2)
    arrive((one, 1), (other, 2), (other, 5))
    arrive((one, 1), (0, 1))
    assert (store.refresh("plain", NOW).version, added) == (1, [0])
    assert_pit_equal(store.read("plain"), expected(PLAIN, source.rows, NOW))

    before = source.rows
    arrive((one, 7), (one, 7))
    with pytest.raises(fs.ContractError, match=r"duplicates of .* in the rows of `plain` from `events`.*\(2 times\)"):
        store.refresh("plain", NOW)
    tables.overwrite("events", source.frame(before))
    source.rows = before
    store.refresh("plain", NOW)
    assert added == [0, 1]

    arrive((one, 3))
    log = deltalake.DeltaTable(tables.location("events"))
    came = set(log.file_uris())
    log.optimize.compact()
    for uri in came - live_files(tables, "events"):
        Path(uri).unlink()
    store.refresh("plain", NOW)
    assert_pit_equal(store.read("plain"), expected(PLAIN, source.rows, NOW))

    last = source.rows[source.rows.id == one].tail(1)
    later = last.assign(happened=last.happened + timedelta(hours=9), known=last.known + timedelta(hours=9))
    tables.append("events", source.frame(pd.concat([last, later])))
    with pytest.raises(fs.ContractError, match=r"duplicates of .*\(2 times\)"):
        store.refresh("plain", NOW)
    assert added == [0, 1]
    assert_pit_equal(store.read("plain"), expected(PLAIN, source.rows, NOW))


@pytest.mark.parametrize("kind", ["path", "catalog"])
def test_a_stretch_that_is_touched_all_over_is_made_anew(kind: str, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of it that are no longer made go; other rows stay, and files without any of it; what has a feed of its own is merged."""
    for name, value in {"MOST": float("inf"), "DENSE": 0}.items():
        monkeypatch.setattr(update, name, value)
    monkeypatch.setattr(plan, "SMALL", 0)
    monkeypatch.setattr(refresh, "FILE_ROWS", 10)
    with opened(kind, spark, tmp_path) as tables:
        source, store = Source(tables, seed=3), fs.FeatureStore(spark, root=tables.warehouse.root, catalog=tables.warehouse.catalog)
        store.register(TOTALS)
        store.refresh("totals", NOW)
        files = live_files(tables)
        late = source.rows.sort_values("happened").tail(12)
        source.rows = pd.concat([source.rows.drop(late.index), late.head(3).assign(items=7)], ignore_index=True)
        tables.overwrite("events", source.frame(source.rows))

        assert store.refresh("totals", NOW).version == 1
        assert operation(tables, "totals") == "WRITE"
        assert files & live_files(tables)
        assert_pit_equal(store.read("totals"), expected(TOTALS, source.rows, NOW))

        spark.sql(f"ALTER TABLE {tables.warehouse.qualified('totals')} SET TBLPROPERTIES ('{FEED}' = 'true')")
        source.arrive(4, 5)
        store.refresh("totals", NOW)
        assert operation(tables, "totals") == "MERGE"
        assert_pit_equal(store.read("totals"), expected(TOTALS, source.rows, NOW))


def operation(tables: Tables, name: str) -> str:
    """What the newest commit says it is."""
    return str(deltalake.DeltaTable(tables.location(name)).history(1)[0]["operation"])


def live_files(tables: Tables, name: str = "totals") -> set[str]:
    """The files of the newest version."""
    return set(deltalake.DeltaTable(tables.location(name)).file_uris())


def naive(number: float) -> datetime:
    return hour(number).replace(tzinfo=None)


@pytest.mark.usefixtures("large_share")
@pytest.mark.timeout(600)
def test_a_killed_stream_goes_on_without_doubles(tables: Tables, spark: SparkSession, tmp_path: Path) -> None:
    """Killed before its commit and, started again, after it: the third start ends in the rows of a rebuild, each change in one commit."""
    source = Source(tables, seed=7)
    store = fs.FeatureStore(spark, root=tables.warehouse.root)
    store.register(TOTALS)
    store.refresh("totals")
    source.arrive(1, 9)
    source.correct(0.2)
    command = [sys.executable, str(Path(__file__).with_name("streaming_driver.py")), str(tables.warehouse.root), str(tmp_path / "checkpoint")]
    versions = []
    for side in ("before", "after"):
        hooking = {"kill": f"delta.commit.totals:{side}", "once": str(tmp_path / side)}
        killed = subprocess.run(command, env={**session_keys(spark), hooks.VARIABLE: json.dumps(hooking)}, timeout=300)
        assert killed.returncode == -signal.SIGKILL
        versions.append(tables.newest("totals").version)
    answered_here(spark)

    store.stream("totals", checkpoint=str(tmp_path / "checkpoint")).awaitTermination()

    assert [*versions, tables.newest("totals").version] == [0, 1, 1]
    assert_pit_equal(store.read("totals"), expected(TOTALS, source.rows, datetime.now(UTC)))
    tables.overwrite("plain_rows", source.frame(source.rows))
    store.register(replace(TOTALS, name="feedless", source="plain_rows"))
    with pytest.raises(fs.ContractError, match=r"table `plain_rows` without a change feed.*ALTER TABLE"):
        store.stream("feedless", checkpoint=str(tmp_path / "other"))
