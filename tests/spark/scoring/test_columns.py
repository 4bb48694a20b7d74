"""A scoring set's columns against the model and the target: before any task starts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scoring_rows import SCHEMA, SETTINGS, WINDOW, good_rows, ready, run, store_rows

from feature_store.delta import Tables
from feature_store.records import Snapshot
from feature_store.scan import plan_scan
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import ModelSpec, NumericInput, artifact, load
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ArrayInput
from sparkml_ops.scoring import predictions, quarantine
from sparkml_ops.scoring.explaining import explained
from sparkml_ops.scoring.kinds import arrow_kind
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER

ROWS = 8


def rewritten(tables: Tables, change: Any) -> Snapshot:
    """The scoring set with changed columns, as a table of its own."""
    frame: DataFrame = change(tables.spark.createDataFrame(good_rows(ROWS), SCHEMA))
    return tables.overwrite("changed_scoring_set", frame, partition_by=("window",)).snapshot


def declared(tables: Tables, change: Any) -> Snapshot:
    """As `rewritten`, without Spark: for those who look at no more than its columns."""
    frame: DataFrame = change(tables.spark.createDataFrame(good_rows(ROWS), SCHEMA))
    deltalake.write_deltalake(
        tables.warehouse.path("changed_scoring_set"), frame.toArrow(), partition_by=["window"], mode="overwrite", schema_mode="overwrite"
    )
    return tables.newest("changed_scoring_set")


def jobs(spark: SparkSession) -> int:
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup("checked"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.withColumnRenamed("distance", "distence"), r"no column `distance` \(did you mean `distence`\?\)"),
        (lambda frame: frame.drop("carrier", "month"), "no column `carrier`; no column `month`"),
        (lambda frame: frame.withColumn("distance", F.col("distance").cast("string")), "`distance` of type string where the model reads double"),
        (lambda frame: frame.withColumn("month", F.col("month").cast("double")), "`month` of type double where the model reads int"),
        (lambda frame: frame.drop("leg"), "no column `leg` in window 2013-07"),
        (lambda frame: frame.withColumn("scheduled", F.to_date("scheduled")), "spine time `scheduled` of type date; expected timestamp"),
        (lambda frame: frame.withColumn("leg", F.array("leg")), "`leg` of type array<string> in the row key"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(spark: SparkSession, warehouse: Tables, model: ScoringModel, change: Any, message: str) -> None:
    """The message names column, types and what to do; no Spark job has run and nothing is written."""
    snapshot = declared(warehouse, change)
    spark.sparkContext.setJobGroup("checked", "checked")

    with pytest.raises(ContractError, match=message):
        run(warehouse, model, snapshot)

    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    assert jobs(spark) == 0
    assert not warehouse.exists(SETTINGS.target)


def test_a_check_on_an_unknown_column_is_refused(warehouse: Tables, model: ScoringModel) -> None:
    """A rule that never holds anything back is worse than none."""
    checks = ScoringSection.model_validate({"checks": {"distence": {"minimum": 0}, "carrier": {"maximum": 1}}}).checks
    snapshot = declared(warehouse, lambda frame: frame)

    with pytest.raises(ContractError, match=r"scoring.checks.distence, and no such column \(did you mean `distance`\?\)"):
        run(warehouse, model, snapshot, checks={"distence": checks["distence"]})
    with pytest.raises(ContractError, match="a limit on `carrier` of type string"):
        run(warehouse, model, snapshot, checks={"carrier": checks["carrier"]})


def test_order_narrower_types_and_further_columns_do_not_matter(warehouse: Tables, model: ScoringModel) -> None:
    """Columns are found by name; an int feeds a double. A longer row key widens the target, a key of another type is refused."""
    mixed = rewritten(
        warehouse,
        lambda frame: frame.select(*reversed(frame.columns)).withColumn("month", F.col("month").cast("smallint")).withColumn("extra", F.lit(1)),
    )
    run(warehouse, model, store_rows(warehouse, good_rows(ROWS)))

    run(warehouse, model, mixed, slot="mixed", engine="pandas", row_key=("flight_id", "leg", "note"))

    rows = predictions(warehouse, SETTINGS.target, window=WINDOW).select("slot", "flight_id", "prediction.probability", "note").collect()
    found = {slot: sorted((row["flight_id"], row["probability"]) for row in rows if row["slot"] == slot) for slot in ("champion", "mixed")}
    assert len(found["champion"]) == ROWS
    assert found["mixed"] == found["champion"]
    assert {(row["slot"], row["note"]) for row in rows} == {("champion", None), ("mixed", "x")}
    other = rewritten(warehouse, lambda frame: frame.withColumn("flight_id", F.col("flight_id").cast("string")))
    with pytest.raises(ContractError, match="`flight_id` is bigint there and string here"):
        run(warehouse, model, other, slot="other")


def test_a_number_that_training_never_saw_missing(spark: SparkSession, warehouse: Tables, storage: Storage, tmp_path: Path) -> None:
    """Set aside on each engine where the configuration says so, refused where it says that; what was missing in training is scored in any case."""
    numbers = (NumericInput("seats", "bigint", 150.0, 150.0, 40.0), NumericInput("distance", "double", 0.0, 0.0, 1.0, indicator=True))
    spec = ModelSpec("linear", numbers, (), arrays=(ArrayInput("pair", "array<double>", (0.0, 0.0), (1.0, 1.0)),))
    artifact.save(tmp_path / "full", spec, build(spec, seed=3).state_dict())
    full = ready(tmp_path / "full", storage, OWN_LOADER, Signature.of_artifact(tmp_path / "full"))
    second = F.when(F.col("flight_id") == 2, None).when(F.col("flight_id") == 4, float("nan")).otherwise(1.0)
    snapshot = rewritten(warehouse, lambda frame: frame.withColumn("pair", F.array(F.lit(0.5), second)))
    said = dict.fromkeys((1, 3, 5, 7), "unseen null: seats, never missing in training")
    said |= dict.fromkeys((2, 4), "unseen null: pair, never missing in training")

    call = {"target": "unseen_scores", "max_quarantine_share": 0.9}
    for engine in ("files", "arrow", "pandas"):
        run(warehouse, full, snapshot, slot=engine, engine=engine, unseen_nulls="quarantine", **call)
        found = quarantine(warehouse, "unseen_scores", slot=engine).select("flight_id", "reason").collect()
        assert dict(map(tuple, found)) == said
        with pytest.raises(ContractError, match=r"6 of 8 rows .* no training row had missing .*scoring.unseen_nulls=refuse"):
            run(warehouse, full, snapshot, slot="strict", engine=engine, unseen_nulls="refuse", **call)
    run(warehouse, full, snapshot, slot="all", **call)
    assert predictions(warehouse, "unseen_scores", slot="all").count() == ROWS


def test_dates_and_arrays_score_as_they_were_trained(spark: SparkSession, warehouse: Tables, storage: Storage, tmp_path: Path) -> None:
    """Both engines give, to the last bit, what the model says of the rows that training reads; an array of another length is put apart."""
    array = ArrayInput("embedding", "array<float>", (0.5, 1.0, 2.0), (1.0, 2.0, 0.5), indicator=True)
    spec = ModelSpec("mlp", (NumericInput("day", "date", 15800.0, 15900.0, 30.0, True),), (), (8,), arrays=(array,))
    artifact.save(tmp_path / "model", spec, build(spec, seed=3).state_dict())
    trained = ready(tmp_path / "model", storage, OWN_LOADER, Signature.of_artifact(tmp_path / "model"))

    def listed(frame: DataFrame) -> DataFrame:
        number = F.col("flight_id")
        third = F.when(number == 4, None).when(number == 5, float("nan")).otherwise(0.5).cast("float")
        values = F.array((number * 0.3).cast("float"), F.sqrt(number).cast("float"), third)
        day = F.when(number == 1, None).otherwise(F.date_add(F.lit("2013-07-01"), number.cast("int")))
        return frame.withColumn("embedding", F.when(number == 2, None).when(number == 3, F.slice(values, 1, 2)).otherwise(values)).withColumn(
            "day", day
        )

    snapshot = rewritten(warehouse, listed)
    files = [file.path for file in (plan_scan(warehouse, snapshot) or pytest.fail("unreadable")).files]
    rows = pa.concat_tables(pq.ParquetFile(path).read() for path in files).sort_by("flight_id")
    expected = load(tmp_path / "model").predict(rows.filter(pc.not_equal(rows["flight_id"], 3)))
    for engine in ("files", "arrow", "pandas"):
        run(warehouse, trained, snapshot, slot=f"arrays_{engine}", engine=engine)
        found = predictions(warehouse, SETTINGS.target, window=WINDOW, slot=f"arrays_{engine}").orderBy("flight_id").collect()
        assert [row["prediction"]["probability"] for row in found] == expected.tolist()
        apart = quarantine(warehouse, SETTINGS.target, window=WINDOW, slot=f"arrays_{engine}").select("flight_id", "reason").collect()
        assert [tuple(row) for row in apart] == [(3, "uncastable value: embedding as 3 elements")]


def test_what_a_prediction_hangs_on_stands_beside_it(warehouse: Tables, storage: Storage, model: ScoringModel, artifact_folder: Path) -> None:
    """Each engine names the same inputs, and together they are the way from the row of which nothing is known; rows before have none."""
    plain, target = model.published, "explained_scores"
    signature = explained(Signature(plain.inputs, plain.outputs), "flights")
    telling = replace(model, published=replace(plain, outputs=signature.outputs, explain=len(plain.inputs)))
    snapshot = rewritten(warehouse, lambda frame: frame)

    run(warehouse, model, snapshot, slot="plain", target=target)
    for engine in ("arrow", "files", "pandas"):  # a new column of the target comes through Spark
        run(warehouse, telling, snapshot, slot=engine, engine=engine, target=target)

    found: dict[str, list[tuple[float, Any]]] = defaultdict(list)
    for row in predictions(warehouse, target).orderBy("flight_id").collect():
        found[row["slot"]].append((row["prediction"]["probability"], row["prediction"]["explanation"]))
    nothing = pa.table({field.name: pa.nulls(1, arrow_kind(field.type)) for field in plain.inputs})
    (start,) = load(artifact_folder).predict(nothing)
    assert found["arrow"] == found["files"] == found["pandas"]
    assert found["plain"] == [(probability, None) for probability, _ in found["arrow"]]
    for probability, told in found["arrow"]:
        assert {item["feature"] for item in told} == {field.name for field in plain.inputs}
        assert sum(item["contribution"] for item in told) == pytest.approx(probability - start, abs=1e-6)
