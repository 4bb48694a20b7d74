"""The join's contract, one rule a test, on tables small enough to read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.errors import ContractError
from feature_store.point_in_time import Lookup, explain_join, point_in_time_join

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def values(frame: DataFrame, *names: str) -> list[Any]:
    """Sorted rows of some columns; one column alone without tuples."""
    rows = [tuple(row[name] for name in names) for row in frame.select(*names).toArrow().to_pylist()]
    return sorted((row[0] if len(names) == 1 else row for row in rows), key=repr)


@pytest.fixture(scope="module")
def spine(spark: SparkSession) -> DataFrame:
    """Two rows of one entity."""
    return spark.createDataFrame([("a", 1, at(0)), ("a", 2, at(4))], "k string, id int, t timestamp")


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> DataFrame:
    """Three values, the second one known late."""
    rows = [("a", at(-5), at(-5), 1, 1.0), ("a", at(-1), at(2), 1, 2.0), ("a", at(4), at(4), 1, 3.0)]
    return spark.createDataFrame(rows, "k string, e timestamp, n timestamp, v int, x double")


def test_composite_keys_never_collide(spark: SparkSession) -> None:
    """("1", "12") and ("11", "2") are two entities, however they are written one after the other."""
    spine = spark.createDataFrame([("1", "12", at(0)), ("11", "2", at(0)), ("1", None, at(0))], "a string, b string, t timestamp")
    table = spark.createDataFrame([("1", "12", at(-1), "one"), ("11", "2", at(-1), "eleven")], "a string, b string, e timestamp, v string")

    joined = point_in_time_join(spine, [Lookup(table, ("a", "b"), event_time="e")], spine_time="t")

    assert values(joined, "a", "b", "v") == [("1", "12", "one"), ("1", None, None), ("11", "2", "eleven")]


@pytest.mark.parametrize(("kind", "one", "same", "other"), [("double", 0.0, -0.0, 1.0), ("string collate UTF8_LCASE", "a", "A", "b")])
def test_unlike_values_may_be_one_key(spark: SparkSession, kind: str, one: Any, same: Any, other: Any) -> None:
    """Rows of either zero are those of both, and so are those of text that a collation takes for equal; null is no key."""
    spine = spark.createDataFrame([(key, at(0)) for key in (one, same, other, None)], f"k {kind}, t timestamp")
    table = spark.createDataFrame([(same, at(-1), "new"), (one, at(-2), "old")], f"k {kind}, e timestamp, v string")

    assert values(point_in_time_join(spine, [Lookup(table, ("k",), event_time="e")], spine_time="t"), "v") == ["new", "new", None, None]


def test_times_at_either_end_are_told_apart(spark: SparkSession) -> None:
    """A microsecond decides in the year 1 and in 9999 as it does today, and a row without a time is before them all."""
    years = ("0001-01-01", "1890-06-01", "2024-03-01", "2190-01-01", "9999-12-31")
    instants = spark.createDataFrame([(day,) for day in years], "day string").select(F.unix_micros(F.col("day").cast("timestamp")).alias("at"))
    moved = instants.select("at", F.explode(F.array(*map(F.lit, (-1, 0, 1)))).alias("by"))
    spine = moved.select(F.lit("a").alias("k"), F.timestamp_micros(F.col("at") + F.col("by")).alias("t"), "by")
    table = instants.select(F.lit("a").alias("k"), F.timestamp_micros("at").alias("e"), F.col("at").alias("v"))
    lookup = Lookup(table, ("k",), event_time="e", ttl=timedelta(days=1))

    joined = point_in_time_join(spine.union(spark.createDataFrame([("a", None, 1)], spine.schema)), [lookup], spine_time="t")

    found = joined.groupBy("by").agg(F.count("v").alias("found"), F.count_if(F.col("v") + F.col("by") == F.unix_micros("t")).alias("right"))
    assert values(found, "by", "found", "right") == [(-1, 0, 0), (0, 5, 5), (1, 5, 5)]


def test_no_row_is_lost_or_doubled_when_the_spine_is_not_deterministic(spark: SparkSession) -> None:
    """Keys that come out different on every reading, half of them null, still give each spine row once."""
    spine = spark.range(2_000).select("id", F.when(F.rand() < 0.5, F.lit("a")).alias("k"), F.lit(at(0)).alias("t"))
    table = spark.createDataFrame([("a", at(-1), 1)], "k string, e timestamp, v long")
    lookups = [Lookup(table, ("k",), event_time="e", prefix="one_"), Lookup(table, {"id": "v"}, ("k",), event_time="e", prefix="two_")]

    joined = point_in_time_join(spine, lookups, spine_time="t")

    found = joined.agg(F.count("*"), F.count_distinct("id"), F.sum(F.col("k").isNull().eqNullSafe(F.col("one_v").isNotNull()).cast("int"))).first()
    assert tuple(found or ()) == (2_000, 2_000, 0)


def test_all_features_come_from_one_row(spark: SparkSession) -> None:
    """A null in the newest row stays null and is not filled from an older one."""
    spine = spark.createDataFrame([("a", at(0))], "k string, t timestamp")
    table = spark.createDataFrame([("a", at(-2), 1, "old"), ("a", at(-1), None, "new")], "k string, e timestamp, v int, w string")

    assert values(point_in_time_join(spine, [Lookup(table, ("k",), event_time="e")], spine_time="t"), "v", "w") == [(None, "new")]


def test_columns_of_any_name_and_type_pass_through(spark: SparkSession) -> None:
    """Dots, spaces and the join's own words as names; maps, arrays and structs as spine columns and features."""
    spine = spark.createDataFrame(
        [("a", at(0), {"x": 1}, [1], 5)], "`my.key` string, time timestamp, `hit_0` map<string,int>, `side` array<int>, `a b` int"
    )
    table = spark.createDataFrame(
        [("a", at(-1), {"y": 2}, [[3]], {"p": 4}), ("a", at(-1), {"y": 1}, [[4]], {"p": 4})],
        "key string, `e.t` timestamp, `spine` map<string,int>, `l.l` array<array<int>>, s struct<p:int>",
    )

    joined = point_in_time_join(spine, [Lookup(table, {"my.key": "key"}, event_time="e.t", prefix="f.")], spine_time="time")

    assert joined.columns == ["my.key", "time", "hit_0", "side", "a b", "f.spine", "f.l.l", "f.s"]
    [row] = joined.select("hit_0", "side", "`a b`", "`f.spine`", "`f.l.l`", "`f.s`").toArrow().to_pylist()
    assert list(row.values()) == [[("x", 1)], [1], 5, [("y", 2)], [[3]], {"p": 4}]


def test_lookups_of_an_entity_share_one_shuffle(spine: DataFrame, table: DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    """Three lookups by one key and one by another make two shuffles, not four or eight."""
    other = table.withColumnRenamed("v", "id").select("id", "e", F.lit(1).alias("z"))
    lookups = [Lookup(table, ("k",), ("x",), event_time="e", prefix=f"p{index}_") for index in range(3)] + [Lookup(other, ("id",), event_time="e")]

    point_in_time_join(spine, lookups, spine_time="t").explain()

    plan = capsys.readouterr().out
    assert plan.count("Exchange hashpartitioning") == 2 == explain_join(spine, lookups, spine_time="t").shuffles
    # Brought into order by one number each, before the sort that a window asks for.
    assert plan.count("Sort [place") == 2 == plan.count("Sort [entity")


def test_wide_and_many_lookups(spark: SparkSession) -> None:
    """A table of 1,000 features and thirty narrow lookups of one entity go through in one piece."""
    spine = spark.range(40).select((F.col("id") % 4).alias("k"), F.timestamp_seconds(F.col("id")).alias("t"))
    wide = spark.range(40).select(
        (F.col("id") % 4).alias("k"), F.timestamp_seconds(F.col("id")).alias("e"), *(F.lit(index).alias(f"c{index}") for index in range(1_000))
    )
    few = wide.select("k", "e", "c1")
    narrow = [Lookup(few, ("k",), ("c1",), event_time="e", prefix=f"l{index}_") for index in range(30)]

    joined = point_in_time_join(spine, [Lookup(wide, ("k",), event_time="e"), *narrow], spine_time="t")

    assert len(joined.columns) == 1_032
    [row] = joined.agg(F.count("*"), F.sum("c999"), F.sum("l29_c1")).toArrow().to_pylist()
    assert list(row.values()) == [40, 40 * 999, 40]


def test_tied_rows_are_an_error_under_audit(spark: SparkSession, spine: DataFrame) -> None:
    """Two values of one entity, event time and known time fail the job and name the entity; a tie-break or equal values do not."""
    rows = [("a", at(-1), 1, 1.0), ("a", at(-1), 2, 2.0), ("a", at(-1), 2, 2.0)]
    table = spark.createDataFrame(rows, "k string, e timestamp, revision int, x double")
    decided = Lookup(table, ("k",), ("x",), event_time="e", tie_break=("revision",))
    tied = Lookup(table, ("k",), ("x",), event_time="e")

    assert values(point_in_time_join(spine, [decided], spine_time="t", audit=True), "x") == [2.0, 2.0]
    assert values(point_in_time_join(spine, [tied], spine_time="t"), "x") == [2.0, 2.0]
    with pytest.raises(
        PySparkException, match=r'found rows of table `prices` with different values for \{"k":"a"\} at event time 2024-01-01T11:00:00.000000Z'
    ):
        point_in_time_join(spine, [Lookup("prices", ("k",), ("x",), event_time="e")], spine_time="t", audit=True, tables={"prices": table}).count()


def test_audit_columns_are_named_by_prefix_table_or_place(spine: DataFrame, table: DataFrame) -> None:
    """The prefix names the source times, else the registered name, else the lookup's place."""
    lookups = [
        Lookup(table, ("k",), ("x",), event_time="e", prefix="p"),
        Lookup("prices", ("k",), ("x",), event_time="e", known_time="n"),
        Lookup(table, ("k",), ("v",), event_time="e", known_time=timedelta(hours=1)),
    ]

    joined = point_in_time_join(spine, lookups, spine_time="t", audit=True, tables={"prices": table})

    names = [f"{name}__{kind}_time" for name in ("p", "prices", "lookup2") for kind in ("event", "known")]
    assert joined.columns == ["k", "id", "t", "px", "x", "v", *names]
    assert values(joined.where("id = 1"), "prices__event_time", "lookup2__known_time") == [(at(-5), at(0))]


def test_without_lookups_the_spine_comes_back(spine: DataFrame) -> None:
    """No lookups add no columns."""
    assert values(point_in_time_join(spine, [], spine_time="t"), "k", "id") == [("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ("xx",)}, "no column `xx`.* in the frame of lookup 0"),
        ({"keys": {"kk": "k"}}, "no column `kk` .did you mean `k`.. in the spine"),
        ({"event_time": None}, "no event_time"),
        ({"event_time": "day"}, r"event time `day` of type date; expected timestamp.*withColumn\(\"day\", F.col\(\"day\"\).cast\(\"timestamp\"\)\)"),
        ({"event_time": "local"}, "event time `local` of type timestamp_ntz; expected timestamp"),
        ({"known_time": "text"}, "known time `text` of type string; expected timestamp"),
        ({"event_time": "v"}, "event time `v` of type int; expected timestamp.*; name a column"),
        ({"keys": {"k": "v"}}, "key `k` of type string in the spine and `v` of type int in the frame"),
        ({"features": ("k",)}, "`k` of the spine and `k` of lookup 0"),
        ({"features": ("v",), "prefix": "I"}, "`id` of the spine and `Id` of lookup 0"),
        ({"table": "prices"}, "table `prices` without a DataFrame"),
        ({"defaults": {"xx": 1.0}}, r"defaults for \['xx'\] of the frame of lookup 0; expected features that it looks up"),
        ({"defaults": {"x": "none"}}, "the default 'none' for `x` of type double in the frame of lookup 0"),
    ],
)
def test_bad_lookups_fail_before_any_job(spine: DataFrame, table: DataFrame, options: dict[str, Any], message: str) -> None:
    """Missing columns, other types, times that are no instants and clashes of names say what was found and what to do."""
    odd = table.withColumns({"day": F.to_date("e"), "local": F.col("e").cast("timestamp_ntz"), "text": F.col("e").cast("string"), "d": F.lit(1)})
    lookup = Lookup(**{"table": odd, "keys": ("k",), "features": ("x",), "event_time": "e", **options})
    if options.get("prefix"):
        lookup = Lookup(odd, ("k",), ("d",), event_time="e", prefix="I")

    with pytest.raises(ContractError, match=message):
        point_in_time_join(spine, [lookup], spine_time="t")


@pytest.mark.parametrize(("column", "kind"), [("k", "string"), ("id", "int"), ("day", "date")])
def test_spine_time_must_be_an_instant(spine: DataFrame, table: DataFrame, column: str, kind: str) -> None:
    """A spine time that is no timestamp is refused, naming its type."""
    with pytest.raises(ContractError, match=f"spine time `{column}` of type {kind}; expected timestamp"):
        point_in_time_join(spine.withColumn("day", F.to_date("t")), [Lookup(table, ("k",), ("x",), event_time="e")], spine_time=column)


def test_a_column_that_stands_twice_is_refused(spine: DataFrame, table: DataFrame) -> None:
    """A spine with two columns of one name is an error that names them."""
    with pytest.raises(ContractError, match=r"columns \['id'\] twice in the spine"):
        point_in_time_join(spine.select("*", "id"), [Lookup(table, ("k",), ("x",), event_time="e")], spine_time="t")
