"""The drift of a window against a pinned reference: profiles and metrics, stored once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import deltalake
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasketches import hll_sketch, hll_union, tgt_hll_type
from pyspark.sql import SparkSession

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import Snapshot
from sparkml_ops.alerts.rules import drift_readings
from sparkml_ops.config.alerts import DriftPolicy
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import DriftReport, compare, compare_embeddings, distinct_over, measure
from sparkml_ops.drift.stored import stored_report
from sparkml_ops.errors import ContractError


def rows(size: int, seed: int, shift: float) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    splits = random.choice(["train", "evaluation"], size, p=[0.8, 0.2])
    return pd.DataFrame({"x": random.normal(shift, 1, size), "c": random.choice(["a", "b"], size), "split": splits, "id": np.arange(size)})


def written(tables: Tables, name: str, frame: pd.DataFrame) -> Snapshot:
    """A table of somebody else's, without a Spark job."""
    deltalake.write_deltalake(tables.warehouse.path(name), pa.Table.from_pandas(frame, preserve_index=False))
    return tables.newest(name)


@pytest.fixture(scope="module")
def warehouse(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, Snapshot, Snapshot]:
    """A training set and a window's scoring set."""
    tables = Tables(spark, Warehouse(root=str(tmp_path_factory.mktemp("measure"))))
    reference = written(tables, "training_set_1", rows(4000, 1, 0.0))
    current = written(tables, "scoring_set", rows(2000, 2, 1.0).drop(columns="split"))
    return tables, reference, current


def run(spark: SparkSession, tables: Tables, reference: Snapshot, current: Any, window: str = "2013-07", **options: Any) -> DriftReport:
    defaults = {"columns": ("x", "c"), "reference_where": {"split": "train"}, "run_id": "r1", "as_of": datetime(2013, 8, 1, tzinfo=UTC)}
    return measure(spark, tables, reference=reference, current=current, project="flights", window=window, **(defaults | options))


def test_a_window_is_measured_stored_and_read_again(spark: SparkSession, warehouse: tuple[Tables, Snapshot, Snapshot]) -> None:
    """The metrics table holds the report's rows, and the stored report is the measured one."""
    tables, reference, current = warehouse
    report = run(spark, tables, reference, current)
    frame = tables.read(reference.table, reference.version).where("split = 'train'")

    assert report.to_pandas().equals(compare(frame, tables.read("scoring_set"), columns=("x", "c")).to_pandas())
    assert (report["x"].verdict, report["c"].verdict) == ("drift", "no drift")
    assert report.reference == f"training_set_1@{reference.version} split=train"
    metrics = tables.rows("drift_metrics", {"window": "2013-07"})
    assert len(metrics) == len(report.to_pandas())
    assert {row["as_of"] for row in metrics} == {datetime(2013, 8, 1, tzinfo=UTC)}
    again = stored_report(tables, "flights", "2013-07", snapshot=report.snapshot)
    assert again.to_document() == report.to_document()
    assert again.to_pandas().equals(report.to_pandas())
    assert again.html() == report.html()


def test_the_next_window_reuses_the_reference_and_makes_two_commits(spark: SparkSession, warehouse: tuple[Tables, Snapshot, Snapshot]) -> None:
    """The reference is profiled once a snapshot; a window is one commit in each table; a repeat adds none."""
    tables, reference, current = warehouse
    run(spark, tables, reference, current)
    before = tables.newest("profile_state").version, tables.newest("drift_metrics").version
    frame = tables.read("scoring_set")
    august = run(spark, tables, reference, frame, window="2013-08")
    after = tables.newest("profile_state").version, tables.newest("drift_metrics").version
    repeated = run(spark, tables, reference, frame, window="2013-08")

    assert after == (before[0] + 1, before[1] + 1)
    assert repeated.snapshot == august.snapshot
    assert (tables.newest("profile_state").version, tables.newest("drift_metrics").version) == after
    assert len(tables.rows("drift_metrics", {"window": "2013-07"})) == len(tables.rows("drift_metrics", {"window": "2013-08"}))


def test_edges_survive_a_new_reference(spark: SparkSession, warehouse: tuple[Tables, Snapshot, Snapshot]) -> None:
    """After retraining the cells stay; a column that is new gets its own; another slot is stored beside."""
    tables, reference, current = warehouse
    first = run(spark, tables, reference, current)
    retrained = written(tables, "training_set_2", rows(3000, 3, 0.7))
    second = run(spark, tables, retrained, current, slot="shadow", columns=("x", "c", "id"), settings=DriftSection(blocks=None))

    assert second["x"].reference.edges.id == first["x"].reference.edges.id
    assert second["x"].reference.n == (rows(3000, 3, 0.7)["split"] == "train").sum()
    assert second["id"].reference.edges.cells > 1000
    assert {row["slot"] for row in tables.rows("drift_metrics", {"window": "2013-07"})} == {"champion", "shadow"}
    assert stored_report(tables, "flights", "2013-07", slot="shadow", snapshot=second.snapshot)["id"].ks == second["id"].ks


def test_a_changed_type_stops_before_anything_is_written(spark: SparkSession, warehouse: tuple[Tables, Snapshot, Snapshot]) -> None:
    """The error names both types; no commit was made."""
    tables, reference, _ = warehouse
    frame = tables.read("scoring_set").selectExpr("CAST(x AS string) AS x", "c")
    with pytest.raises(ContractError, match="`x` is double in the reference and string"):
        run(spark, tables, reference, frame, window="2013-09")

    assert not tables.exists("drift_metrics") or not tables.rows("drift_metrics", {"window": "2013-09"})


def test_a_window_may_be_the_reference(spark: SparkSession, warehouse: tuple[Tables, Snapshot, Snapshot]) -> None:
    """The profile that the earlier window left is used, without a reference's of its own; the stored report is the measured one."""
    tables, reference, current = warehouse
    june = run(spark, tables, reference, current, window="2013-06")
    known = {row["window"] for row in tables.rows("profile_state", {"role": "reference"})}
    july = written(tables, "scoring_set_july", rows(1500, 4, 1.05).drop(columns="split"))
    report = run(spark, tables, current, july, window="2013-07b", reference_where=None, reference_window="2013-06")

    assert {row["window"] for row in tables.rows("profile_state", {"role": "reference"})} == known
    assert report["x"].reference.edges.id == june["x"].reference.edges.id
    assert (report["x"].reference.n, report.verdict) == (2000, "no drift")
    assert stored_report(tables, "flights", "2013-07b", snapshot=report.snapshot).to_pandas().equals(report.to_pandas())


def test_renewed_edges_hold_from_then_on(spark: SparkSession, warehouse: tuple[Tables, Snapshot, Snapshot]) -> None:
    """The reference is profiled again on edges of its own, later windows follow, and reports of before stay readable."""
    tables, reference, current = warehouse
    moved = written(tables, "training_set_moved", rows(3000, 5, 40.0))
    options: dict[str, Any] = {"as_of": datetime(2013, 9, 1, tzinfo=UTC)}
    before = run(spark, tables, moved, current, window="2013-08", **options)
    options["as_of"] = datetime(2013, 9, 2, tzinfo=UTC)
    renewed = run(spark, tables, moved, current, window="2013-08", generation=1, renew=True, **options)
    after = run(spark, tables, reference, current, window="2013-09", **options)

    assert np.count_nonzero(before["x"].reference.counts) < 20
    assert np.count_nonzero(renewed["x"].reference.counts) > 900
    assert {report["x"].reference.edges.id for report in (renewed, after)} == {renewed["x"].reference.edges.id}
    assert stored_report(tables, "flights", "2013-08", snapshot=renewed.snapshot)["x"].ks == renewed["x"].ks == before["x"].ks == 1.0


def test_tables_without_a_common_column_are_refused(spark: SparkSession, warehouse: tuple[Tables, Snapshot, Snapshot]) -> None:
    """Nothing to compare is an error that names both sides' columns, not a report without drift."""
    tables, reference, _ = warehouse
    with pytest.raises(ContractError, match="both sides have"):
        run(spark, tables, reference, spark.range(5).withColumnRenamed("id", "y"), window="2013-10", columns=None)


def test_columns_together_are_rows_of_the_table(spark: SparkSession, tables: Tables) -> None:
    """What the functions say of the same rows, with the columns that alerts read; a window's own verdict does not hang on them."""
    random = np.random.default_rng(8)

    def half(turn: float, shift: float) -> pd.DataFrame:
        x = random.normal(0, 1, 1500)
        y, vectors = turn * x + random.normal(0, 0.3, 1500), (random.normal(0, 1, (1500, 3)) + shift).tolist()
        return pd.DataFrame({"x": x, "y": y / y.std(), "c": random.choice(["a", "b"], 1500), "v": vectors})

    sides = [written(tables, name, half(*given)) for name, given in (("base", (1, 0.0)), ("new", (-1, 1.0)))]
    settings = DriftSection.model_validate({"together": {"correlations": 0.2, "classifier": 0.6, "embeddings": {"v": 3}}})
    report = run(spark, tables, *sides, columns=("x", "y", "c"), reference_where=None, settings=settings)

    rows = {(row["column"], row["statistic"]): row for row in tables.rows("drift_metrics", {"window": "2013-07"})}
    pair, mmd = rows["x ~ y", "correlation"], rows["v", "mmd"]
    frames = [tables.read(side.table) for side in sides]
    expected = [frame.select("x", "y").toPandas().corr().iloc[0, 1] for frame in frames]
    assert pair["value"] == pytest.approx(abs(expected[1] - expected[0]), abs=1e-3)
    assert pair["lower"] < pair["value"] < pair["upper"]
    assert (pair["n"], pair["m"], pair["threshold"], pair["verdict"]) == (1500, 1500, 0.2, "drift")
    assert rows["(together)", "reconstruction_ratio"]["value"] > 3
    auc = rows["(together)", "classifier_auc"]  # of columns that are alike, each by itself
    assert 0.7 < auc["lower"] < auc["value"] < auc["upper"]
    assert (auc["n"], auc["m"], auc["threshold"], auc["verdict"]) == (1500, 1500, 0.6, "drift")
    same = compare_embeddings(*frames, "v", 3, settings=settings)
    assert (mmd["value"], mmd["p"], mmd["verdict"], rows["v", "mean_shift"]["value"]) == (same.mmd, same.p, "drift", same.shift)
    assert report.verdict == "no drift"
    assert stored_report(tables, "flights", "2013-07", snapshot=report.snapshot).to_document() == report.to_document()
    policy = DriftPolicy.model_validate(
        {"signal": "drift", "severity": "log", "owner": "a", "runbook": "https://b.example", "columns": ["(together)"]}
    )
    (reading,) = drift_readings(policy, rows.values(), 1)
    assert (reading.place, reading.causes[0]["statistic"]) == ("beyond", "classifier_auc")


def test_states_of_another_form_name_the_mend(spark: SparkSession, tables: Tables) -> None:
    """What an earlier version stored is not read for something else; renewed edges serve from then on."""
    frame = spark.createDataFrame(rows(300, 1, 0.0)).select("x", "id")
    reference = tables.overwrite("reference", frame).snapshot
    given = {"columns": ("x",), "reference_where": None}
    run(spark, tables, reference, frame, **given)
    spark.sql(f"UPDATE {tables.warehouse.qualified('profile_state')} SET column_edges = CAST('ARROW1' AS BINARY), state = CAST('ARROW1' AS BINARY)")

    with pytest.raises(ContractError, match=r"begins with b'ARRO'.*`sparkml-ops edges renew`"):
        run(spark, tables, reference, frame, window="2013-08", **given)
    renewed = run(spark, tables, reference, frame, window="2013-08", renew=True, **given)
    assert run(spark, tables, reference, frame, window="2013-09", **given).edges == renewed.edges


def test_distinct_values_merge_over_windows(spark: SparkSession, tables: Tables) -> None:
    """Two windows that share customers: the sketches together know how many there are; their bytes are those that `datasketches` makes."""
    frames = [spark.range(first, first + 6000).selectExpr("id % 5000 AS customer", "concat('c', id) AS code", "1.5 AS x") for first in (0, 3000)]
    settings = DriftSection(distinct=("customer", "code", "x"))
    for window, frame in zip(("2013-07", "2013-08"), frames, strict=True):
        run(spark, tables, frames[0], frame, window=window, columns=("x",), reference_where=None, settings=settings)

    rows = {(row["window"], row["column"]): row for row in tables.rows("drift_metrics", {"statistic": "distinct"})}
    assert rows["2013-07", "customer"]["value"] == pytest.approx(5000, rel=0.05)
    assert rows["2013-07", "customer"]["lower"] < 5000 < rows["2013-07", "customer"]["upper"]
    assert rows["2013-08", "x"]["value"] == pytest.approx(1.0, abs=1e-6)
    both = distinct_over(tables, "flights", "code", ["2013-07", "2013-08"])
    assert both.estimate == pytest.approx(9000, rel=0.05)
    assert both.lower < 9000 < both.upper
    (state,) = tables.rows("profile_state", {"window": "2013-07", "column": "customer (distinct)"})
    own = hll_sketch(12, tgt_hll_type.HLL_8)
    for value in range(5000):
        own.update(value)
    stored, told = hll_sketch.deserialize(state["state"]), set()
    for parts in ((own, own), (stored, stored), (own, stored)):
        union = hll_union(12)  # of what was merged it estimates by the cells alone, not by the order in which they were fed
        for part in parts:
            union.update(part)
        told.add(union.get_estimate())
    assert len(told) == 1
    assert spark.createDataFrame([(state["state"],)], "s binary").selectExpr("hll_sketch_estimate(s)").first()[0] == pytest.approx(5000, rel=0.05)
    with pytest.raises(ContractError, match="no sketch of `code` of 2013-09"):
        distinct_over(tables, "flights", "code", ["2013-08", "2013-09"])
    assert stored_report(tables, "flights", "2013-08", snapshot=tables.newest("drift_metrics"), settings=settings)["x"].verdict == "no drift"
