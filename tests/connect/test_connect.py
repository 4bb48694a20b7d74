"""The path of the data under Spark Connect: the session is a client, as on Databricks' shared and serverless compute."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from ended import run
from pyspark import SparkContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tiny_plans import FEW_ROWS
from tiny_project import AS_OF, ROWS, WINDOW, Place

from feature_store import FeatureStore
from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.testing import assert_pit_equal, generators, window_oracle
from feature_store.windows import Aggregate, windows_at
from sparkml_ops import scoring
from sparkml_ops.project import Project
from sparkml_ops.records import to_json

pytestmark = pytest.mark.timeout(3600)  # of the fixtures too, on a busy machine


@pytest.fixture(scope="module")
def place(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Features, training set, a model trained in this process, promoted."""
    prepared = Place(tmp_path_factory.mktemp("place"), spark={"conf": FEW_ROWS})
    prepared.prepare(spark)
    return prepared


def test_the_session_is_a_client(spark: SparkSession) -> None:
    """What passes here needs no JVM beside it."""
    assert type(spark).__module__ == "pyspark.sql.connect.session"
    assert SparkContext._active_spark_context is None


def test_what_the_server_writes_every_reader_of_the_log_knows(spark: SparkSession, tmp_path: Path) -> None:
    """A first write of our own tables by path and in a catalog: text is text, not text of a collation."""
    spark.sql("CREATE SCHEMA spark_catalog.client")
    frame = spark.range(3).select(F.col("id").cast("string").alias("part"), F.lit("x").alias("text"))
    for warehouse in (Warehouse(root=str(tmp_path)), Warehouse(catalog="spark_catalog.client")):
        tables = Tables(spark, warehouse)
        tables.replace("t", frame.where("part = '1'"), {"part": "1"})
        tables.append("u", frame)

        assert [tables.columns(name) for name in ("t", "u")] == [{"part": "string", "text": "string"}] * 2
        assert [len(tables.rows(name)) for name in ("t", "u")] == [1, 3]


def test_a_client_forgets_an_entity(spark: SparkSession, tmp_path: Path) -> None:
    """MERGE, the search of the files and the shortened log need no JVM beside the session."""
    store = FeatureStore(spark, root=str(tmp_path))
    rows = spark.createDataFrame([("C-0017x", 1), ("B", 2)], "customer string, n int")
    store.tables.overwrite("visits", rows.coalesce(1), partition_by=("customer",))
    report = store.forget({"customer": "C-0017x"}, include_sources=True)

    assert [item.rows for item in report.tables] == [1]
    assert report.proof is not None
    assert report.proof.findings == 0
    assert [row["n"] for row in store.tables.rows("visits")] == [2]
    assert not [path for path in tmp_path.rglob("*") if "C-0017x" in str(path) or (path.suffix == ".json" and "C-0017x" in path.read_text())]
    late, _ = store.assemble(rows.selectExpr("customer", "n", "timestamp'2013-01-01' AS at"), [], spine_time="at")
    assert [row["customer"] for row in late.toLocalIterator()] == ["B"]


def test_features_follow_their_source(place: Place, spark: SparkSession) -> None:
    """A refresh merges what its source holds now: equal rows stay, others are added."""
    tables = place.tables(spark)
    assert tables.read("customers").count() == ROWS - 1
    more = spark.range(1).select(
        F.lit(10_000).cast("long").alias("id"),
        F.expr("timestamp '2020-03-01 00:00:00'").alias("at"),
        F.lit("c1").alias("customer"),
        F.lit(1.0).alias("distance"),
        F.lit(4.0).alias("amount"),
        F.lit(0.0).alias("label"),
    )
    tables.append("events", more)

    (snapshot,) = place.project(spark).build_features(as_of="2020-04-02")

    assert tables.read("customers", snapshot.version).count() == ROWS + 1
    assert tables.read("customers", snapshot.version).where("at >= '2020-03-01'").select("amount").first()[0] == 4.0


def test_a_trailing_window_is_what_the_oracle_says(spark: SparkSession) -> None:
    """Late, corrected and null rows included."""
    spine, events = generators.spine_rows(1, 50), generators.event_rows(1, 100)
    aggregates = [Aggregate("sum", "amount", "36h"), Aggregate("last", "city", "2d"), Aggregate("distinct", "city", "2d")]
    names = {"keys": ("customer", "shop"), "spine_time": "at", "event_time": "happened", "known_time": "known", "row_id": "row"}

    found = windows_at(
        generators.to_spark(spark, spine, generators.SPINE), generators.to_spark(spark, events, generators.EVENTS, partitions=3), aggregates, **names
    )

    assert_pit_equal(found, window_oracle(events, aggregates, spine=spine, **names))


def test_a_window_is_scored_and_its_drift_measured(place: Place, spark: SparkSession, tmp_path: Path) -> None:
    """Each row is a prediction or in quarantine; the report on both drift columns is the one that a session with a JVM of its own makes."""
    project = place.project(spark)
    scored = project.score(WINDOW, as_of=AS_OF)
    local = place.copy(tmp_path / "local")
    command = [sys.executable, "-m", "sparkml_ops", "drift", *local.options(), "--window", WINDOW, "--json"]
    # What the client has set would make the command a client too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    expected = run(command, {**environment, "SPARK_LOCAL_IP": "127.0.0.1"}, tmp_path).record
    report = project.drift(WINDOW, as_of=AS_OF)

    assert scored.quarantined == 1
    assert project.predictions(WINDOW).count() == scored.rows
    assert scored.rows < ROWS
    assert {name: column["verdict"] for name, column in expected["columns"].items()} == {"distance": "no drift", "customer": "no drift"}
    # A client makes a table before its first commit.
    assert {**json.loads(to_json(report)), "snapshot": None} == {**expected, "snapshot": None}


def test_the_public_function_gives_what_was_stored(place: Place, spark: SparkSession) -> None:
    """`predict_udf` of the project that is open in the session gives, row by row, what scoring gave."""
    project = place.project(spark)
    project.score(WINDOW, as_of=AS_OF)
    predict = scoring.predict_udf(spark, "models:/tiny@champion", tracking_uri=f"sqlite:///{place.folder}/data/mlflow.db")
    inputs = place.tables(spark).read("tiny_scores_scoring_set").where("id is not null")

    stored = project.predictions(WINDOW).select("id", "prediction.probability")
    free = inputs.select("id", predict(F.struct("customer", "distance", "amount"))["probability"].alias("free"))
    compared = stored.join(free, "id").select(F.max(F.abs(F.col("probability") - F.col("free"))), F.count("*")).first()

    assert compared == (0.0, stored.count())


def test_horovod_trains_through_the_client(place: Place, spark: SparkSession) -> None:
    """Two ranks on the server's executors give what one process gave, up to the order of sums."""
    one = next(run for run in place.project(spark).runs() if run.key.verb == "train").record["metrics"]
    overrides = ("training.backend=horovod", "training.workers=2")
    two = Project.open(place.folder / "conf", "tiny", overrides=overrides, spark=spark).train(generation="next", as_of=AS_OF).metrics

    for name, value in one.items():
        if name.startswith("evaluation_"):
            assert two[name] == pytest.approx(value, abs=1e-4), name
