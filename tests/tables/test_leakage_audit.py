"""Each planted leak is found, and a clean set has none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import roc_auc_score

import feature_store as fs

ROWS, CUSTOMERS, NOISE = 1500, 150, 120
SPLIT = fs.Split({"train": None}, {"validation": 0.1, "evaluation": 0.2}, seed=3)
BY_CUSTOMER = fs.Split({"train": None}, {"validation": 0.1, "evaluation": 0.2}, seed=3, group=("customer",))


def noise(name: str, number: int) -> str:
    """A column without meaning, the same in every run."""
    return f"pmod(xxhash64(id, {number}), 1000) / 10D as {name}"


def examples(spark: SparkSession) -> DataFrame:
    """Purchases, labelled by a coin, with noise."""
    return spark.range(ROWS).selectExpr(
        "id as row",
        "id",
        f"concat('c', pmod(xxhash64(id, 1), {CUSTOMERS})) as customer",
        "timestamp_micros(1577836800000000 + id * 3600000000) as at",
        "cast(pmod(xxhash64(id, 2), 100) < 30 as double) as label",
        "concat('shop ', pmod(xxhash64(id, 3), 7)) as shop",
        "concat('order ', id) as ident",
        "cast(null as double) as empty",
        "timestamp_micros(1577836800000000 + id * 3600000000 - 60000000) as opened_at",
        noise("spent", 4),
        "pmod(xxhash64(id, 5), 4) / 2D as importance",
    )


def balances(spark: SparkSession) -> DataFrame:
    """A value of each customer every day."""
    rows = [(f"c{customer}", day, float(customer % 7)) for customer in range(0, CUSTOMERS, 3) for day in range(0, 120, 10)]
    frame = spark.createDataFrame(rows, "customer string, day int, balance double")
    return frame.selectExpr("customer", "timestamp_micros(1577836800000000 + day * 86400000000) as at", "balance")


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> fs.FeatureStore:
    made = fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("audited")))
    made.register(fs.FeatureTable("balances", ("customer",), "at", (fs.Feature("balance", "double"),), known_time="1h"))
    made.write("balances", balances(spark))
    made.tables.overwrite("examples", examples(spark).drop("id"))
    return made


def test_a_clean_set_has_no_finding(store: fs.FeatureStore) -> None:
    """An identifier, a constant, noise and an honest time among its features; split by the customer, weighted, joined with what was known."""
    made = store.training_set(
        "examples",
        (fs.Lookup("balances", ("customer",)),),
        name="clean",
        spine_time="at",
        label="label",
        row_key=("row",),
        split=BY_CUSTOMER,
        weight="importance + 0.5",
    )
    report = store.audit(made.id)

    rows = store.load(made).toPandas()
    assert report.findings == ()
    assert report.clean
    assert {item.feature for item in report.strengths} == {"shop", "ident", "empty", "spent", "importance", "balance"}
    found = {item.feature: item.value for item in report.strengths}
    area = roc_auc_score(rows["label"], rows["spent"])
    assert found["spent"] == pytest.approx(max(area, 1 - area), abs=1e-12)
    assert [(item.lookup, item.ahead) for item in report.lookups] == [("balances", 0)]
    assert report.lookups[0].rows == rows["balance"].notna().sum()
    assert report.lookups[0].least is not None
    assert report.lookups[0].least >= 0
    # The split and the weights of it, from their definitions.
    assert rows.groupby("customer")["split"].nunique().max() == 1
    shares = rows.drop_duplicates("customer")["split"].value_counts(normalize=True)
    assert np.allclose(shares[["train", "validation", "evaluation"]], [0.7, 0.1, 0.2], atol=0.08)
    assert np.allclose(rows["sample_weight"], rows["importance"] + 0.5)
    assert store.rebuild(made.id) == made
    with pytest.raises(fs.ContractError, match="no column `nobody`"):
        store.audit(made, allow=("nobody",))


def test_each_planted_leak_is_found_among_many_columns(store: fs.FeatureStore, spark: SparkSession, tmp_path: Path) -> None:
    """A copy of the label, a code for it, a value that only one label has, a later time, copied rows, shared customers and ties."""
    rows = examples(spark)
    flawed = rows.select(
        "*",
        F.expr("label * 10 + pmod(xxhash64(id, 6), 100) / 100D").alias("copied"),
        F.expr("if(pmod(xxhash64(id, 7), 50) = 0, 'open', if(label = 1, 'late', 'paid'))").alias("status"),
        F.expr("if(label = 1, pmod(xxhash64(id, 8), 100), null)").alias("refund"),
        F.expr("at + interval 3 days").alias("settled_at"),
        *(F.expr(noise(f"noise_{number}", 100 + number)) for number in range(NOISE)),
    )
    # Every tenth row stands there once more under another key.
    doubled = flawed.unionByName(flawed.where("row % 10 = 0").withColumn("row", F.col("row") + ROWS)).drop("id", "ident")
    store.tables.overwrite("flawed", doubled)
    store.tables.overwrite("moods", balances(spark).selectExpr("customer", "at", "explode(array(balance, balance + 1)) as mood"))
    lookups = (fs.Lookup("moods", ("customer",), event_time="at"),)
    made = store.training_set("flawed", lookups, name="flawed", spine_time="at", label="label", row_key=("row",), split=SPLIT)
    report = store.audit(made, group=("customer",), allow=("settled_at",))

    assert {(item.kind, item.subject) for item in report.findings} == {
        *(("too good", name) for name in ("copied", "status", "refund")),
        *(("shared between splits", "customer"),),
        ("duplicates", "features and label"),
        ("tie", "lookups"),
    }
    assert any(note.startswith("accepted: time from the future, settled_at") for note in report.notes)
    assert [(item.column, item.rows) for item in report.times] == [("settled_at", made.rows)]
    assert len(report.strengths) == NOISE + 9
    assert "with different values for" in next(item.found for item in report.findings if item.kind == "tie")
    twins = {item.part: item.shared for item in report.shared if item.key == "features and label"}
    assert twins == expected_twins(store.load(made).select("row", "split").toPandas())
    page = report.to_html(tmp_path / "audit.html").read_text()
    assert "refund" in page
    assert "&lt;" not in page
    assert json.loads(report.to_json())["clean"] is False


def expected_twins(rows: pd.DataFrame) -> dict[str, int]:
    """Rows of a part whose copy stands in the train part."""
    rows = rows.assign(origin=rows["row"] % ROWS)
    train = set(rows[rows["split"] == "train"]["origin"])
    return {part: int(rows[rows["split"] == part]["origin"].isin(train).sum()) for part in ("validation", "evaluation")}


def test_a_number_as_label_is_judged_by_ranks_and_entities_return_over_time(store: fs.FeatureStore) -> None:
    """A bent copy of it is found; a customer of the train part who comes again later is expected; unusable weights are refused."""
    spine = store.read("examples").selectExpr("row", "at", "customer", "spent as label", "exp(spent / 10) as bent", "importance - 2 as bad")
    split = fs.Split({"train": pd.Timestamp("2020-02-01", tz="UTC").to_pydatetime(), "evaluation": None})
    wanted = {"name": "spent", "spine_time": "at", "label": "label", "row_key": ("row",), "split": split}
    made = store.training_set(spine, (fs.Lookup("balances", ("customer",)),), **wanted)
    report = store.audit(made, sample=500)

    assert [(item.kind, item.subject) for item in report.findings] == [("too good", "bent")]
    assert {item.key: item.shared > 0 for item in report.shared if item.key in ("row", "customer")} == {"row": False, "customer": True}
    assert report.strengths[0].measure == "rank correlation"
    assert report.strengths[0].value == pytest.approx(1.0)
    assert (report.sample, report.strengths[0].rows) == (500, 500)
    with pytest.raises(fs.ContractError, match=r"[0-9]+ examples whose weight 'bad' is null, not finite or below zero"):
        store.training_set(spine, (), **wanted, weight="bad")
    with pytest.raises(fs.ContractError, match="the weight 'customer' of type string"):
        store.training_set(spine, (), **wanted, weight="customer")
    with pytest.raises(fs.ContractError, match=r"the weight 'spend' with `spend`"):
        store.training_set(store.read("examples"), (), **wanted, weight="spend")
