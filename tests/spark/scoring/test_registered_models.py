"""From the registry: resolved once, verified, scored; and as a function for notebooks and SQL."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scoring_rows import SCHEMA, SETTINGS, SPEC, TRAINING_SET, good_rows

from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.scoring import activate, load, predict_udf
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking

INPUTS = ["distance", "seats", "carrier", "month"]


@pytest.fixture(scope="module")
def tracking(folder: Path, artifact_folder: Path, mlflow_template: Path) -> Tracking:
    """A real MLflow store with our model as champion."""
    shutil.copyfile(mlflow_template, folder / "mlflow.db")
    store = Tracking(f"sqlite:///{folder}/mlflow.db", "flights", str(folder / "mlflow"))
    made = store.run("train/1", "train")
    version = store.register(
        made.run_id, artifact_folder, name="flights", training_set=TRAINING_SET, inputs=SPEC.inputs, outputs=[(SPEC.output, "double")]
    )
    made.finish("FINISHED")
    store.set_alias("flights", "champion", version)
    return store


@pytest.fixture(scope="module")
def flights(spark: SparkSession) -> pd.DataFrame:
    """Rows as a user has them, under the name `flights` in SQL."""
    rows = [*good_rows(20), (99, "out", None, "AA", 7, float("inf"), 150, "x", "2013-07")]
    frame = spark.createDataFrame(rows, SCHEMA)
    frame.createOrReplaceTempView("flights")
    return pd.DataFrame(rows, columns=frame.columns)


def expected(folder: Path, flights: pd.DataFrame) -> list[float | None]:
    values = artifact.load(folder).predict(flights)
    return [None if row == 99 else value for row, value in zip(flights["flight_id"], values, strict=True)]


def test_the_slot_names_the_alias_and_the_record_names_the_version(tracking: Tracking, storage: Storage, model: ScoringModel) -> None:
    """An alias is resolved once, to the version that each row will name; its verified files are where executors read them."""
    found = load(tracking, storage, "flights", "champion", SETTINGS)

    assert found.record == tracking.resolve("flights", "champion").record
    assert found == model


def test_an_unknown_alias_is_refused(tracking: Tracking, storage: Storage) -> None:
    """A slot without a model scores nothing."""
    with pytest.raises(ContractError, match="no alias shadow of `flights`"):
        load(tracking, storage, "flights", "shadow", SETTINGS)


def test_predict_udf_in_a_column(spark: SparkSession, tracking: Tracking, storage: Storage, artifact_folder: Path, flights: pd.DataFrame) -> None:
    """A struct of inputs in, in any order and with further fields; a struct of outputs out; one bad row costs no other."""
    predict = predict_udf(spark, "models:/flights@champion", tracking_uri=tracking.uri, storage_root=storage.root)

    scored = spark.table("flights").withColumn("scored", predict(F.struct("note", *reversed(INPUTS))))

    rows = scored.orderBy("flight_id").select("scored.probability", "scored.reason").collect()
    assert [row["probability"] for row in rows] == expected(artifact_folder, flights)
    assert [row["reason"] for row in rows if row["reason"]] == ["infinite feature: distance"]


def test_predict_udf_in_sql_with_the_active_project_s_stores(
    spark: SparkSession, tracking: Tracking, storage: Storage, artifact_folder: Path, flights: pd.DataFrame
) -> None:
    """Registered under a name it is a function of SQL; a project that is open says where its models are."""
    activate(spark, tracking_uri=tracking.uri, storage_root=storage.root)
    spark.udf.register("predict_late", predict_udf(spark, "models:/flights/1"))

    rows = spark.sql(f"SELECT predict_late(struct({', '.join(INPUTS)})).probability AS p FROM flights ORDER BY flight_id").collect()

    assert [row["p"] for row in rows] == expected(artifact_folder, flights)


def test_where_only_the_project_s_model_is_allowed_no_other_is_loaded(spark: SparkSession, tracking: Tracking, storage: Storage) -> None:
    """Not by another name, from another store or with loaders of its own; a project without the rule takes it away."""
    activate(spark, tracking_uri=tracking.uri, storage_root=storage.root, only="flights")
    try:
        predict_udf(spark, "models:/flights/1")
        for uri, more in (
            ("models:/other/1", {}),
            ("models:/flights/1", {"tracking_uri": tracking.uri}),
            ("models:/flights/1", {"allowed_loaders": ["x"]}),
        ):
            with pytest.raises(ContractError, match=r"release\.registered_names_only"):
                predict_udf(spark, uri, **more)
    finally:
        activate(spark, tracking_uri=tracking.uri, storage_root=storage.root)
    predict_udf(spark, "models:/flights/1", tracking_uri=tracking.uri)


def test_predict_udf_names_the_input_that_a_struct_lacks(spark: SparkSession, tracking: Tracking, storage: Storage, flights: pd.DataFrame) -> None:
    """A struct has no schema before it is applied: the first batch says what is wrong."""
    predict = predict_udf(spark, "models:/flights@champion", tracking_uri=tracking.uri, storage_root=storage.root)

    with pytest.raises(Exception, match="a struct without `month`"):
        spark.table("flights").select(predict(F.struct(*INPUTS[:-1]))).collect()
    with pytest.raises(Exception, match="`distance` of type str where the model reads double"):
        spark.table("flights").withColumn("distance", F.lit("far")).select(predict(F.struct(*INPUTS))).collect()
