"""Upkeep and audit under Spark Connect: SQL statements, a list of files as a view, and frames alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

import feature_store as fs
from feature_store.delta import TableFiles
from feature_store.maintenance import Policy


def test_a_warehouse_is_kept_up_and_a_training_set_audited(spark: SparkSession, tmp_path: Path) -> None:
    """Files are merged and taken away but for those that the set pins; a copy of the label among its features is found."""
    store = fs.FeatureStore(spark, root=str(tmp_path))
    rows = spark.range(400).selectExpr(
        "id",
        "timestamp_micros(1577836800000000 + id * 3600000000) as at",
        "cast(id % 2 as double) as label",
        "(id % 2) * 3 as copied",
        "id * 1.5D as spent",
    )
    split = fs.Split({"train": datetime(2021, 1, 1, tzinfo=UTC)}, {"evaluation": 0.3}, group=("id",))
    store.tables.overwrite("spine", rows.repartition(3))
    made = store.training_set("spine", (), name="pinned", spine_time="at", label="label", row_key=("id",), split=split, weight="id + 1")
    store.tables.overwrite("spine", rows.repartition(2))
    store.tables.overwrite("spine", rows.repartition(2))

    policy = Policy(few=2, retain=timedelta(0), short=True)
    assert [[step.kind for step in store.maintain("spine", policy=policy)[0].steps] for _ in range(3)] == [["compact", "vacuum"], [], []]
    assert [TableFiles(store.tables, "spine").lost(version) for version in (0, 1)] == [False, True]
    assert [state.gone for state in store.training_sets()] == [()]
    assert [(item.kind, item.subject) for item in store.audit(made).findings] == [("too good", "copied")]
