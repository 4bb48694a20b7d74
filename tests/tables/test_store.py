"""Declared tables keep their contract through writes and refreshes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import feature_store as fs
from feature_store.contract import check_rows
from feature_store.expressions import FUNCTIONS

SCHEMA = "origin string, at timestamp, known timestamp, delay double, flights bigint"
DELAYS = fs.FeatureTable(
    "delays",
    ("origin",),
    "at",
    (fs.Feature("delay", "double", "min", "mean departure delay"), fs.Feature("flights", "bigint")),
    known_time="known",
    owner="operations",
)


def hour(number: float) -> datetime:
    return datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=number)


ROWS = [("JFK", hour(0), hour(1), 1.5, 10), ("JFK", hour(5), hour(6), None, 3), ("LGA", hour(0), hour(0), float("nan"), 7)]


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> fs.FeatureStore:
    """A warehouse by path, shared: each test writes its own tables."""
    return fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("warehouse")))


@pytest.fixture(scope="module", params=["path", "catalog"])
def any_store(spark: SparkSession, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> fs.FeatureStore:
    """A warehouse by path, and one in a catalog."""
    if request.param == "catalog":
        spark.sql("CREATE SCHEMA spark_catalog.store_tests")
        return fs.FeatureStore(spark, catalog="spark_catalog.store_tests")
    return fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("any")))


@pytest.fixture
def frame(spark: SparkSession) -> DataFrame:
    """Rows that keep the contract of `DELAYS`."""
    return spark.createDataFrame(ROWS, SCHEMA)


@pytest.fixture(scope="module")
def written(store: fs.FeatureStore) -> fs.FeatureStore:
    """A store whose table `written` held `ROWS` at first."""
    store.register(replace(DELAYS, name="written"))
    store.write("written", store.tables.spark.createDataFrame(ROWS, SCHEMA))
    return store


def rows_of(frame: DataFrame) -> list[tuple[Any, ...]]:
    """Rows in a fixed order, NaN as text so that equal rows are equal."""
    return sorted((tuple("nan" if isinstance(value, float) and math.isnan(value) else value for value in row) for row in frame.collect()), key=repr)


class TestWrite:
    def test_the_same_rows_twice_change_nothing(self, any_store: fs.FeatureStore, frame: DataFrame) -> None:
        """Not even the version: nulls and NaN are equal to themselves."""
        any_store.register(DELAYS)
        first = any_store.write("delays", frame)
        second = any_store.write("delays", frame.repartition(3).select(*reversed(frame.columns)))

        assert second == first
        assert rows_of(any_store.read("delays")) == rows_of(frame)

    def test_a_corrected_value_replaces_its_row_and_no_other(self, written: fs.FeatureStore, spark: SparkSession, frame: DataFrame) -> None:
        """Rows are merged on keys, event time and known time; an older version can still be read."""
        first = written.tables.newest("written")
        late = [("JFK", hour(0), hour(1), 2.5, 10), ("JFK", hour(0), hour(9), 3.5, 11)]

        second = written.write("written", spark.createDataFrame(late, SCHEMA))

        assert second == fs.Snapshot("written", first.version + 1)
        assert rows_of(written.read("written")) == rows_of(spark.createDataFrame([*late, *ROWS[1:]], SCHEMA))
        assert rows_of(written.read("written", first.version)) == rows_of(frame)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f.withColumnRenamed("delay", "dely"), r"no column `delay` \(did you mean `dely`\?\) in the rows for `refused`"),
            (lambda f: f.withColumn("flights", F.col("flights").cast("int")), r"`flights` of type int where bigint is declared.*cast\(\"bigint\"\)"),
            (lambda f: f.withColumn("extra", F.lit(1)), r"undeclared columns \['extra'\]"),
            (lambda f: f.withColumn("at", F.col("at").cast("date")), r"`at` of type date; expected timestamp.*cast\(\"timestamp\"\)"),
            (lambda f: f.withColumn("at", F.col("at").cast("string")), r"`at` of type string; expected timestamp.*cast\(\"timestamp\"\)"),
            (lambda f: f.withColumn("at", F.col("at").cast("timestamp_ntz")), r"`at` of type timestamp_ntz.*cast\(\"timestamp\"\)"),
            (lambda f: f.withColumn("known", F.col("known").cast("string")), r"the known time of .*`known` of type string"),
            (lambda f: f.withColumn("origin", F.lit(1.0)), r"the key `origin` of type double"),
            (
                lambda f: f.withColumn("origin", F.nullif("origin", F.lit("JFK"))),
                r"2 rows with a null `origin` among 3 rows.*where: origin is not null",
            ),
            (lambda f: f.withColumn("at", F.when(F.col("flights") < 5, F.col("at"))), r"2 rows with a null `at`"),
            (
                lambda f: f.withColumn("at", F.col("at") - F.expr("interval 200 years")),
                r"3 rows of the rows for `refused` with `at` outside 1900 to 2200",
            ),
            (lambda f: f.withColumn("known", F.col("at") - F.expr("interval 1 hour")), r"3 rows .*`known` before `at`.*known_early=True"),
        ],
    )
    def test_rows_that_break_the_contract_are_refused(
        self, store: fs.FeatureStore, frame: DataFrame, change: Callable[[DataFrame], DataFrame], message: str
    ) -> None:
        """The error says what was found and the mend; nothing is written."""
        store.register(replace(DELAYS, name="refused"))

        with pytest.raises(fs.ContractError, match=message):
            store.write("refused", change(frame))

        assert not store.tables.exists("refused")

    def test_duplicates_in_one_write_show_five_of_them(self, store: fs.FeatureStore, spark: SparkSession) -> None:
        """Which of them is right is not for chance to decide."""
        store.register(replace(DELAYS, name="doubled"))
        rows = [("JFK", hour(number), hour(number), float(copy), 1) for number in range(7) for copy in range(2)]

        with pytest.raises(fs.ContractError, match=r"duplicates of .'origin', 'at', 'known'.") as caught:
            store.write("doubled", spark.createDataFrame(rows, SCHEMA))

        assert caught.value.found.count("(2 times)") == 5
        assert "origin=JFK, at=2013-01-01 04:00:00, known=2013-01-01 04:00:00 (2 times)" in caught.value.found

    def test_a_schedule_may_be_known_early_where_declared(self, frame: DataFrame) -> None:
        """`known_early` says that values precede their event."""
        early = frame.withColumn("known", F.col("at") - F.expr("interval 1 hour"))

        assert check_rows(replace(DELAYS, known_early=True), early, "a schedule") == 3

    def test_a_key_keeps_the_type_of_the_first_write(self, written: fs.FeatureStore, frame: DataFrame) -> None:
        """Types of keys are not declared, so the table's own are the contract."""
        with pytest.raises(fs.ContractError, match="`origin` of type int where string is declared"):
            written.write("written", frame.withColumn("origin", F.lit(1)))


class TestRegistry:
    def test_an_unknown_table_shows_the_nearest_name(self, store: fs.FeatureStore, frame: DataFrame) -> None:
        """Writing and refreshing need a declaration."""
        store.register(DELAYS)

        with pytest.raises(fs.ContractError, match=r"no feature table `delay` .did you mean `delays`"):
            store.write("delay", frame)

    def test_another_session_finds_what_was_registered(self, store: fs.FeatureStore) -> None:
        """Definitions lie in the warehouse; registering them again writes nothing."""
        tables = [replace(DELAYS, name=name, meaning="how late", tags=("air",)) for name in ("found_a", "found_b")]
        store.register(*tables)
        before = store.tables.newest("feature_tables")
        other = fs.FeatureStore(store.tables.spark, root=store.tables.warehouse.root)
        other.register(*tables)

        assert other.table("found_a") == tables[0]
        assert other.tables.newest("feature_tables") == before
        assert {table.name for table in other.search("LATE air found")} == {"found_a", "found_b"}
        assert other.search("late sea") == ()

    def test_another_meaning_under_one_version_is_refused(self, store: fs.FeatureStore) -> None:
        """The error names the fields and the way out."""
        table = replace(DELAYS, name="meant")
        store.register(table)

        with pytest.raises(fs.ContractError, match=r'ttl was null and is "3d".*version=2'):
            store.register(replace(table, ttl="3d"))

    def test_words_may_change_under_one_version(self, store: fs.FeatureStore) -> None:
        """A new owner changes no value."""
        store.register(replace(DELAYS, name="worded"))
        store.register(replace(DELAYS, name="worded", owner="science"))

        assert fs.FeatureStore(store.tables.spark, root=store.tables.warehouse.root).table("worded").owner == "science"

    def test_a_bare_name_is_the_newest_version(self, store: fs.FeatureStore, frame: DataFrame) -> None:
        """Both versions have a table of their own."""
        store.register(replace(DELAYS, name="grown"), replace(DELAYS, name="grown", version=2, ttl="3d"))

        assert (store.table("grown").version, store.table("grown@v1").version) == (2, 1)
        assert store.write("grown", frame).table == "grown@v2"
        assert not store.tables.exists("grown")


FLIGHTS = "flight bigint, origin string, scheduled timestamp, departed timestamp, delay double, cancelled boolean"


def flights(count: int = 40) -> pd.DataFrame:
    """Flights of two airports, some cancelled; a delay is known when the flight has left, and one never does."""
    rows = [
        (number, "JFK" if number % 3 else "LGA", hour(number / 4), hour(number / 4 + number % 5 / 2), float(number % 7), number % 6 == 0)
        for number in range(count)
    ]
    made = pd.DataFrame(rows, columns=["flight", "origin", "scheduled", "departed", "delay", "cancelled"])
    made.loc[made.flight == 31, "departed"] = pd.NaT
    return made


WINDOWS = fs.FeatureTable(
    "windows",
    ("origin",),
    "scheduled",
    (fs.Feature("delay_sum_2h", "double", "min"), fs.Feature("count_2h", "bigint")),
    source="raw_flights",
    transform=fs.Derived(where="not cancelled"),
    aggregates=(fs.Aggregate("sum", "delay", "2h"), fs.Aggregate("count", None, "2h")),
    slide="30m",
    known_time="departed",
    row_id=("flight",),
)


def expected_windows(grid: pd.DataFrame, events: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The windows at the grid's rows, from their definition."""
    made = []
    for row in grid.itertuples():
        at = row.scheduled.tz_localize("UTC")
        known = events[
            (events.origin == row.origin) & (events.scheduled > at - timedelta(hours=2)) & (events.scheduled <= at) & (events.departed <= at)
        ]
        counted = known[~known.cancelled]
        made.append((row.origin, row.scheduled, counted.delay.sum() if len(counted) else None, len(counted)))
    return made


@pytest.fixture(scope="module")
def flown(spark: SparkSession, store: fs.FeatureStore) -> fs.FeatureStore:
    """A store with raw flights and windows over them."""
    store.tables.overwrite("raw_flights", spark.createDataFrame(flights(), FLIGHTS))
    store.register(WINDOWS)
    store.refresh("windows", hour(100))
    return store


class TestRefresh:
    def test_windows_hold_what_was_known(self, flown: fs.FeatureStore) -> None:
        """Every grid value equals its definition, computed by pandas."""
        grid = flown.read("windows").toPandas()

        found = [
            (row.origin, row.scheduled, None if pd.isna(row.delay_sum_2h) else row.delay_sum_2h, row.count_2h) for row in grid.itertuples(index=False)
        ]

        assert len(found) > 30
        assert found == expected_windows(grid, flights())

    def test_a_refresh_over_the_same_rows_writes_nothing(self, flown: fs.FeatureStore) -> None:
        """A later clock adds nothing once every row is known; neither does another session."""
        before = flown.tables.newest("windows")

        assert flown.refresh("windows", hour(100)) == before
        assert flown.refresh("windows", hour(1000)) == before
        assert flown.refresh("windows") == before

    def test_as_of_leaves_out_what_became_known_later(self, flown: fs.FeatureStore, spark: SparkSession) -> None:
        """The table of a past instant is the table of the rows that were known then."""
        past = hour(5)
        known = flights()[lambda f: f.departed <= past]
        flown.refresh("windows", past)
        found = rows_of(flown.read("windows"))
        flown.tables.overwrite("raw_known", spark.createDataFrame(known, FLIGHTS))
        flown.register(replace(WINDOWS, name="windows_known", source="raw_known"))
        snapshot = flown.refresh("windows_known")

        assert found == rows_of(flown.read("windows_known", snapshot.version))
        assert flown.refresh("windows", past + timedelta(minutes=1)) == flown.tables.newest("windows")
        flown.refresh("windows")
        assert rows_of(flown.read("windows")) != found


@pytest.fixture(scope="module")
def fed(spark: SparkSession, store: fs.FeatureStore) -> fs.FeatureStore:
    """A store with a raw table that the tests read."""
    store.tables.overwrite("raw_rows", spark.createDataFrame(ROWS, SCHEMA))
    return store


class TestComputed:
    def _table(self, name: str, **options: Any) -> fs.FeatureTable:
        return replace(DELAYS, name=name, source=options.pop("source", "raw_rows"), **options)

    def test_a_function_sees_only_rows_that_were_known(self, fed: fs.FeatureStore) -> None:
        """Otherwise an aggregation in it would leak what came later."""

        def total(frame: DataFrame) -> DataFrame:
            last = frame.groupBy("origin").agg(F.max("at").alias("at"), F.max("known").alias("known"), F.sum("flights").alias("flights"))
            return last.withColumn("delay", F.lit(0.0))

        fed.register(self._table("totals", transform=total))
        fed.refresh("totals", hour(2))

        assert rows_of(fed.read("totals").select("origin", "flights")) == [("JFK", 10), ("LGA", 7)]

    def test_a_changed_source_gives_one_new_version(self, fed: fs.FeatureStore, spark: SparkSession) -> None:
        """Refresh looks at versions; a rebuild writes whatever they say, and gives the same rows."""
        fed.tables.overwrite("raw_changing", spark.createDataFrame(ROWS[:2], SCHEMA))
        fed.register(self._table("changing", source="raw_changing"))
        first = fed.refresh("changing")
        fed.tables.append("raw_changing", spark.createDataFrame(ROWS[2:], SCHEMA))
        second = fed.refresh("changing")
        rebuilt = fed.rebuild_table("changing")

        assert (second.version, rebuilt.version) == (first.version + 1, first.version + 2)
        assert rows_of(fed.read("changing", second.version)) == rows_of(fed.read("changing")) == rows_of(spark.createDataFrame(ROWS, SCHEMA))
        assert fed.refresh("changing") == rebuilt

    def test_a_source_may_have_renamed_columns_and_deletion_vectors(self, fed: fs.FeatureStore, spark: SparkSession) -> None:
        """Column mapping by name and deleted rows are Delta's affair: features are those of the rows as they read."""
        fed.tables.overwrite("raw_mapped", spark.createDataFrame(ROWS, SCHEMA).withColumnRenamed("flights", "count").coalesce(1))
        name = fed.tables.warehouse.qualified("raw_mapped")
        spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.enableDeletionVectors' = 'true')")
        spark.sql(f"ALTER TABLE {name} RENAME COLUMN count TO flights")
        spark.sql(f"DELETE FROM {name} WHERE origin = 'LGA'")
        fed.register(self._table("mapped", source="raw_mapped"))
        fed.refresh("mapped")

        assert rows_of(fed.read("mapped")) == rows_of(spark.createDataFrame(ROWS[:2], SCHEMA))
        fed.tables.append("raw_mapped", spark.createDataFrame(ROWS[2:], SCHEMA))
        fed.refresh("mapped")
        assert rows_of(fed.read("mapped")) == rows_of(spark.createDataFrame(ROWS, SCHEMA))

    def test_a_backfill_changes_its_range_only(self, fed: fs.FeatureStore, spark: SparkSession) -> None:
        """The other rows stay, a repeat writes nothing, and the next refresh looks again."""
        fed.tables.overwrite("raw_filled", spark.createDataFrame(ROWS, SCHEMA))
        fed.register(self._table("filled", source="raw_filled"))
        fed.refresh("filled")
        fed.tables.overwrite("raw_filled", fed.tables.read("raw_filled").withColumn("flights", F.lit(99).cast("bigint")))

        filled = fed.backfill("filled", hour(4), hour(6))

        assert fed.backfill("filled", hour(4), hour(6)) == filled
        assert rows_of(fed.read("filled").select("at", "flights").where("flights = 99")) == [(datetime(2013, 1, 1, 5), 99)]
        assert fed.refresh("filled").version == filled.version + 1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"source": None}, "without a source.*store.write"),
            ({"source": "raw_nowhere"}, "no table `raw_nowhere`"),
            ({"transform": {"delay": "cast(delay as float)"}}, "`delay` of type float where double is declared"),
            ({"transform": {"known": "at - interval 1 hour"}}, "3 rows of the rows of .* with `known` before `at`"),
            ({"transform": {"at": "timestamp '2013-01-01 00:00:00Z'", "known": "at"}}, "duplicates of"),
            ({"transform": lambda f: f.drop("flights")}, "no column `flights`"),
            ({"transform": lambda f: None}, "a NoneType from the transform"),
            ({"transform": "no.such.builder"}, "the builder `no.such.builder`"),
        ],
    )
    def test_a_computation_that_breaks_the_contract_is_refused(self, fed: fs.FeatureStore, options: dict[str, Any], message: str) -> None:
        """Before the commit: the table stays as it was."""
        name = f"broken_{abs(hash(message))}"
        fed.register(self._table(name, **options))

        with pytest.raises(fs.ContractError, match=message):
            fed.refresh(name)

        assert not fed.tables.exists(name)

    def test_an_instant_needs_a_zone(self, fed: fs.FeatureStore) -> None:
        """A naive clock would be read in the zone of the machine."""
        fed.register(self._table("clocked"))

        with pytest.raises(fs.ContractError, match=r"as_of=.*tzinfo=UTC"):
            fed.refresh("clocked", datetime(2013, 1, 1))


def test_every_allowed_function_is_one_of_spark(spark: SparkSession) -> None:
    """The list of expressions names functions that exist, so that its advice is good."""
    # Three of them are grammar to Spark, not entries of its catalog.
    known = {row["function"] for row in spark.sql("SHOW SYSTEM FUNCTIONS").collect()}

    assert sorted(FUNCTIONS - known - {"try_cast", "timestampadd", "timestampdiff"}) == []
