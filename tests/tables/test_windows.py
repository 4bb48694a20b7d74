"""The windows' contract, one rule a test, on tables small enough to read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.errors import ContractError
from feature_store.windows import FUNCTIONS, Aggregate, windows_at, windows_every

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def rows(frame: DataFrame, order: str) -> list[dict[str, Any]]:
    return frame.orderBy(order).toArrow().to_pylist()


@pytest.fixture(scope="module")
def events(spark: SparkSession) -> DataFrame:
    """Three events of one entity; the second one is corrected and moves to another entity."""
    table = [
        ("a", at(0), at(0), "1", 1, Decimal("0.10"), "x"),
        ("a", at(1), at(1), "2", 10, None, "y"),
        ("b", at(1), at(3), "2", 20, Decimal("0.20"), "y"),
        ("a", at(2), at(2), None, None, Decimal("0.30"), None),
    ]
    return spark.createDataFrame(table, "k string, e timestamp, n timestamp, id string, v int, d decimal(5,2), s string")


@pytest.fixture(scope="module")
def spine(spark: SparkSession) -> DataFrame:
    """Each entity at three o'clock, one that nobody knows, and none."""
    return spark.createDataFrame(
        [(1, "a", at(2.5)), (2, "a", at(3)), (3, "b", at(3)), (4, "z", at(3)), (5, None, at(3)), (6, "a", None)], "i int, k string, t timestamp"
    )


def test_corrected_row_counts_once_where_it_belongs_now(spine: DataFrame, events: DataFrame) -> None:
    """From the instant at which its correction is known, a row is gone where it was and counts where it is."""
    found = windows_at(spine, events, [Aggregate("sum", "v", "1d")], keys="k", spine_time="t", event_time="e", known_time="n", row_id="id")

    assert [row["v_sum_1d"] for row in rows(found, "i")] == [11, 1, 20, None, None, None]


def test_empty_windows_and_nulls_read_as_in_sql(spine: DataFrame, events: DataFrame) -> None:
    """An empty window is null, but 0 for count and distinct and an empty list for last_k; nulls are left out but for first and last."""
    wanted = [
        Aggregate(function, "v", "1d", q=0.5 if function.endswith("quantile") else None, k=2 if function == "last_k" else None)
        for function in FUNCTIONS
    ]
    found = windows_at(spine, events, [*wanted, Aggregate("count", None, "1d")], keys="k", spine_time="t", event_time="e", known_time="n")

    known, *_, empty = (list(row.values())[3:] for row in rows(found.where("i in (1, 4)"), "i"))
    assert dict(zip(FUNCTIONS, known, strict=False)) == {
        "sum": 11, "count": 2, "mean": 5.5, "variance": 40.5, "std": pytest.approx(6.363961030678928), "min": 1, "max": 10, "first": 1, "last": None,
        "last_k": [None, 10], "distinct": 2, "approx_distinct": 2, "quantile": 5.5, "approx_quantile": 5.5,
    }  # fmt: skip
    assert known[-1] == 3
    assert dict(zip(FUNCTIONS, empty, strict=False)) == {**dict.fromkeys(FUNCTIONS), "count": 0, "distinct": 0, "approx_distinct": 0, "last_k": []}
    assert empty[-1] == 0


def test_output_types(spine: DataFrame, events: DataFrame) -> None:
    """Sums keep whole numbers and decimals exact, means are doubles, and values keep their type."""
    wanted = [("sum", "v"), ("sum", "d"), ("mean", "d"), ("min", "s"), ("last", "e"), ("count", "s")]
    found = windows_at(spine, events, [Aggregate(function, column, "90m") for function, column in wanted], keys="k", spine_time="t", event_time="e")

    assert [field.dataType.simpleString() for field in found.schema.fields[3:]] == [
        "bigint",
        "decimal(15,2)",
        "double",
        "string",
        "timestamp",
        "bigint",
    ]
    assert [row["d_sum_90m"] for row in rows(found, "i")] == [Decimal("0.30"), Decimal("0.30"), None, None, None, None]


def test_grid_ends_with_an_empty_row(events: DataFrame) -> None:
    """The grid has a row while a window holds an event, whatever `where` says, then one empty row, and nothing more."""
    wanted = [Aggregate("count", None, "2h", where=F.col("v") > 5, name="big"), Aggregate("max", "v", "2h")]

    found = windows_every(events.where("k = 'a'"), wanted, keys=("k",), event_time="e", slide="1h", known_time=timedelta(minutes=30))

    assert found.columns == ["k", "e", "big", "v_max_2h"]
    assert [(row["e"], row["big"], row["v_max_2h"]) for row in rows(found, "e")] == [
        (at(1), 0, 1),
        (at(2), 1, 10),
        (at(3), 0, None),
        (at(4), 0, None),
    ]


def test_event_known_after_its_window_never_counts(spark: SparkSession) -> None:
    """What becomes known when it has left the window enters no row of the grid."""
    late = spark.createDataFrame([("a", at(0), at(9))], "k string, e timestamp, n timestamp")

    assert windows_every(late, [Aggregate("count", None, "2h")], keys=("k",), event_time="e", known_time="n", slide="1h").count() == 0


def test_any_type_can_be_last(spark: SparkSession, spine: DataFrame) -> None:
    """Lists, maps and structs of the last rows come out as they are."""
    nested = spark.createDataFrame(
        [("a", at(0), [1], {"p": 1}), ("a", at(1), [2], {"p": 2})], "k string, e timestamp, `l.l` array<int>, m map<string,int>"
    )
    wanted = [Aggregate("last", "l.l", "1d", name="l"), Aggregate("last_k", "m", "1d", k=5, name="m")]

    first = rows(windows_at(spine, nested, wanted, keys="k", spine_time="t", event_time="e"), "i")[0]

    assert (first["l"], first["m"]) == ([2], [[("p", 2)], [("p", 1)]])


@pytest.mark.parametrize(
    ("aggregate", "options", "message"),
    [
        (Aggregate("sum", "s", "1d"), {}, "`sum` of `s`, a string; expected a number; cast the column"),
        (Aggregate("max", "m", "1d"), {}, "`max` of `m`, a map<string,int>"),
        (Aggregate("sum", "vv", "1d"), {}, "no column `vv`.* in the events"),
        (Aggregate("sum", "v", "1d", name="K"), {}, "`k` of the spine and `K` of aggregate 0"),
        (Aggregate("sum", "v", "1d"), {"event_time": "day"}, "event time `day` of type date; expected timestamp"),
        (Aggregate("sum", "v", "1d"), {"known_time": "s"}, "known time `s` of type string; expected timestamp"),
        (Aggregate("sum", "v", "1d"), {"closed": "both"}, "closed='both'"),
        (Aggregate("sum", "v", "1d"), {"keys": {"i": "k"}}, "key `i` of type int in the spine and `k` of type string in the events"),
        (Aggregate("sum", "v", "1d"), {"keys": {"k": "m"}}, "key `m` of type map"),
        (Aggregate("sum", "v", "1d"), {"row_id": "idd"}, "no column `idd`.* in the events"),
        (Aggregate("sum", "v", "1d"), {"spine_time": "k"}, "spine time `k` of type string"),
        (Aggregate("sum", "v", "1d", where="java_method('java.lang.System', 'exit', 1)"), {}, "java_method"),
    ],
)
def test_bad_input_fails_before_any_job(spine: DataFrame, events: DataFrame, aggregate: Aggregate, options: dict[str, Any], message: str) -> None:
    """Columns, types, times, names and predicates are checked before anything runs."""
    odd = events.withColumns({"day": F.to_date("e"), "m": F.create_map(F.lit("p"), F.lit(1))})

    with pytest.raises(ContractError, match=message):
        windows_at(spine, odd, [aggregate], **{"keys": "k", "spine_time": "t", "event_time": "e", **options})


def test_grid_refuses(events: DataFrame) -> None:
    """A slide of nothing, one that windows are no multiple of, no aggregates and two features of one name are errors."""
    options: dict[str, Any] = {"keys": "k", "event_time": "e"}
    with pytest.raises(ContractError, match="a slide of 0:00:00"):
        windows_every(events, [Aggregate("count", None, "1d")], slide="0h", **options)
    with pytest.raises(
        ContractError,
        match="a slide of 7h under `count_1d` of 1d, `count_36h` of 36h; expected windows that are multiples of the slide; slide by 12h",
    ):
        windows_every(events, [Aggregate("count", None, "1d"), Aggregate("count", None, "36h")], slide="7h", **options)
    with pytest.raises(ContractError, match="no aggregates"):
        windows_every(events, [], slide="1h", **options)
    with pytest.raises(ContractError, match="`count_1d` of aggregate 0 and `count_1d` of aggregate 1"):
        windows_every(events, [Aggregate("count", None, "1d"), Aggregate("count", None, "1d", where="v > 1")], slide="1h", **options)
