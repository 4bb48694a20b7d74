"""A row function gives one value in training, in scoring and for a single row; and a table in use keeps what is used."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import feature_store as fs
from feature_store.consumers import Consumer, Consumers

START = datetime(2013, 1, 1, tzinfo=UTC)
TABLE = fs.FeatureTable("delays", ("origin",), "at", (fs.Feature("delay", "double", "min"), fs.Feature("flights", "bigint")))
SPINE = "row bigint, origin string, at timestamp, label double, distance double, fare decimal(10,2), code string"
ROWS = [
    (0, "JFK", START + timedelta(hours=2), 1.0, 100.5, Decimal("99.99"), "a7"),
    (1, "JFK", START, 0.0, math.nan, Decimal("-0.01"), ""),
    (2, "LGA", START + timedelta(hours=2, microseconds=1), 1.0, None, None, None),
    (3, "EWR", START + timedelta(days=400), 0.0, -1e300, Decimal("12345678.90"), "é9"),
]


def logarithm() -> Callable[..., pa.Array]:
    """A function that Spark ships by value, as one of a notebook: its workers cannot import this module."""

    def log_distance(distance: pa.Array, delay: pa.Array) -> pa.Array:
        return pc.add(pc.ln(pc.abs(distance)), pc.coalesce(delay, pa.scalar(0.25)))

    return log_distance


FUNCTIONS = (
    fs.RowFunction("per_mile", "double", {"delay": "double", "distance": "double"}, expression="delay / nullif(distance, 0D)"),
    fs.RowFunction("log_distance", "double", {"distance": "double", "delay": "double"}, function=logarithm()),
    fs.RowFunction("sum_of_both", "double", {"log_distance": "double", "per_mile": "double"}, expression="coalesce(per_mile, 0D) + log_distance"),
    fs.RowFunction("rounded", "decimal(10,1)", {"fare": "decimal(10,2)"}, expression="cast(bround(fare, 1) as decimal(10,1))"),
    fs.RowFunction("digit", "int", {"code": "string"}, expression="try_cast(substring(code, 2, 1) as int)"),
    fs.RowFunction("evening", "timestamp", {"at": "timestamp"}, expression="date_trunc('DAY', at) + interval 20 hours"),
    fs.RowFunction("later", "timestamp", {"evening": "timestamp"}, function=lambda at: pc.add(at, pa.scalar(timedelta(hours=1)))),
    fs.RowFunction("marks", "array<bigint>", {"row": "bigint"}, expression="array(row, null, 7L)"),
    fs.RowFunction("big", "boolean", {"flights": "bigint", "row": "bigint"}, expression="flights > 9007199254740992 + row"),
)
NAMES = [item.name for item in FUNCTIONS]


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> fs.FeatureStore:
    """Examples, and a table of features that is written."""
    made = fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("warehouse")))
    made.tables.overwrite("examples", spark.createDataFrame(ROWS, SPINE))
    made.register(TABLE)
    rows = [("JFK", START, 12.5, 2**53 + 1), ("LGA", START, None, 3), ("JFK", START + timedelta(hours=1), -0.0, 2**53)]
    made.write("delays", spark.createDataFrame(rows, "origin string, at timestamp, delay double, flights bigint"))
    return made


def training_set(store: fs.FeatureStore, functions: tuple[fs.RowFunction, ...] = (), *features: str) -> fs.TrainingSet:
    lookups = [fs.Lookup("delays", ("origin",), features or None)]
    options: dict[str, Any] = {"name": "t", "spine_time": "at", "label": "label", "row_key": ("row",), "columns": ("distance",)}
    return store.training_set("examples", lookups, functions=functions, as_of=START + timedelta(days=500), **options)


def values(frame: DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """Rows by their number, as text where Python's own value would be in a zone, or unequal to itself."""
    table = frame.orderBy("row").select(*names).toArrow().to_pylist()
    return [{name: plain(row[name]) for name in names} for row in table]


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def test_training_scoring_and_a_single_row_agree(store: fs.FeatureStore, spark: SparkSession) -> None:
    """To the last bit: nulls, NaN, zeros below zero, decimals, instants, and integers that no double holds; also far from UTC."""
    made = training_set(store, FUNCTIONS)
    trained = values(store.load(made), NAMES)
    lookups = [fs.Lookup("delays", ("origin",))]
    before = spark.conf.get("spark.sql.session.timeZone")
    try:
        spark.conf.set("spark.sql.session.timeZone", "America/New_York")
        scored, inputs = store.assemble("examples", lookups, spine_time="at", functions=FUNCTIONS[:5])
        far = values(scored.repartition(3), NAMES[:5])
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(before))
    scored, _ = store.assemble("examples", lookups, spine_time="at", functions=FUNCTIONS)
    given = [name for name in scored.columns if name not in NAMES]
    rows = scored.orderBy("row").select(*given).toArrow().to_pylist()
    single = [{name: plain(value) for name, value in fs.apply_functions(FUNCTIONS, row, spark=spark).items()} for row in rows]

    assert inputs == {"examples": 0, "delays": 1}
    assert trained == values(scored, NAMES) == single
    assert far == [{name: row[name] for name in NAMES[:5]} for row in trained]
    assert [row["per_mile"] for row in trained] == [-0.0 / 100.5, "nan", None, None]
    assert [row["log_distance"] for row in trained] == [math.log(100.5), "nan", None, math.log(1e300) + 0.25]
    assert [row["rounded"] for row in trained] == [Decimal("100.0"), Decimal("0.0"), None, Decimal("12345678.9")]
    assert [row["digit"] for row in trained] == [7, None, None, 9]
    assert trained[3]["later"] == datetime(2014, 2, 5, 21, tzinfo=UTC)
    assert [row["big"] for row in trained] == [False, False, False, None]
    assert store.load(made).columns[-len(NAMES) - 2 :] == [*NAMES, "split", "row_position"]


def test_a_training_set_is_proved_with_its_functions(store: fs.FeatureStore) -> None:
    """They are part of its definition, and of its id where there are any; a Python object cannot be found again."""
    expressions = tuple(item for item in FUNCTIONS if item.expression and "log_distance" not in item.columns)
    made = training_set(store, expressions)

    assert store.rebuild(made.id) == made
    assert training_set(store).id != made.id
    with pytest.raises(fs.ContractError, match="`log_distance` that was given as the Python object"):
        store.rebuild(training_set(store, FUNCTIONS).id)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (fs.RowFunction("x", "double", {"dely": "double"}, expression="dely"), "no column `dely` .did you mean `delay`.*`x`"),
        (fs.RowFunction("x", "double", {"flights": "int"}, expression="flights"), "`flights` of type bigint for the row function `x`"),
        (fs.RowFunction("x", "float", {"delay": "double"}, expression="delay"), r"`x` of type double from `delay`; expected float; cast it"),
        (fs.RowFunction("Delay", "double", {"delay": "double"}, expression="delay"), "`delay` of the rows and `Delay` of the row functions"),
    ],
)
def test_a_function_that_does_not_fit_is_refused_before_any_job(store: fs.FeatureStore, item: fs.RowFunction, message: str) -> None:
    """Columns, types and names are known from the plan."""
    with pytest.raises(fs.ContractError, match=message):
        store.assemble("examples", [fs.Lookup("delays", ("origin",))], spine_time="at", functions=[item])


def test_a_feature_may_be_added_and_is_not_taken_from_those_who_use_it(
    store: fs.FeatureStore, spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Null until it is written, older versions as they were; refused with the users' names, else recorded and told."""
    made = training_set(store, (), "delay")
    Consumers(store.tables).record(Consumer("model", "late", "3", {made.snapshot.table: 0}))
    first = store.tables.newest("delays").version
    wider = replace(TABLE, features=(*TABLE.features, fs.Feature("seats", "int"), fs.Feature("wing", "string")))
    store.register(wider)
    other = fs.FeatureStore(spark, root=store.tables.warehouse.root)

    assert other.table("delays") == wider
    assert {(row["seats"], row["wing"]) for row in other.read("delays").collect()} == {(None, None)}
    assert other.read("delays", first).columns == ["origin", "at", "delay", "flights"]
    row = [("JFK", START, 12.5, 2**53 + 1, 180, "N")]
    other.write("delays", spark.createDataFrame(row, "origin string, at timestamp, delay double, flights bigint, seats int, wing string"))
    assert [row["seats"] for row in other.read("delays").orderBy(F.col("seats").desc_nulls_last()).collect()] == [180, None, None]

    with pytest.raises(
        fs.ContractError, match=rf"feature `delay` removed in `delays` version 1, which .*training set {made.id}.*model late 3 use.*version=2"
    ):
        other.register(replace(wider, features=wider.features[1:]))
    with pytest.raises(fs.ContractError, match=r"feature `seats` was int and is bigint.*whose rows are stored.*version=2"):
        other.register(replace(wider, features=(*TABLE.features, fs.Feature("seats", "bigint"), wider.features[3])))
    with pytest.raises(fs.ContractError, match=rf"keys was .*training set {made.id}"):
        other.register(replace(wider, keys=("origin", "flights"), features=(wider.features[0], *wider.features[2:])))
    with caplog.at_level(logging.WARNING):
        other.register(replace(wider, features=wider.features[:3], deprecated="2027-01-31"))
    assert "feature `wing` removed in `delays` version 1; nobody is recorded as using it" in caplog.text
    assert other.tables.details("feature_tables").details["changes"] == {"delays": ["feature `wing` removed"]}
    assert other.read("delays").columns == ["origin", "at", "delay", "flights", "seats"]
    assert other.write("delays", other.read("delays")) == other.tables.newest("delays")
    assert store.rebuild(made.id) == made

    with caplog.at_level(logging.WARNING):
        other.assemble("examples", [fs.Lookup("delays", ("origin",))], spine_time="at")
    assert "`delays` is deprecated from 2027-01-31 on" in caplog.text
    assert [table.name for table in other.search("deprecated delays")] == ["delays"]
