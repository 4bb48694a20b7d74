"""A project of 900 rows: its tables, its configuration and the commands of its verbs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store import hooks
from feature_store.content import measure
from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops.config.load import load
from sparkml_ops.project import Project

__all__ = ["AS_OF", "FILES", "ROWS", "UNTIL", "WINDOW", "Place", "content", "events"]

ROWS, WINDOW, UNTIL, AS_OF = 900, "2020-02", "2020-02-01", "2020-04-01"
TRAINING = {
    "label": "label",
    "exclude": ["id"],
    "backend": "local",
    "workers": 1,
    "epochs": 2,
    "batch_size": 64,
    "shards": 4,
    "minimum_count": 1,
    "checkpoint_every": 2,  # the kill tests kill inside an epoch too
}
FILES: dict[str, dict[str, Any]] = {
    "sources.yaml": {"sources": {"events": {"table": "events", "event_time": "at", "row_id": ["id"]}}},
    "features.yaml": {
        "features": {
            "customers": {"keys": ["customer"], "event_time": "at", "source": "events", "features": {"amount": {"type": "double", "unit": "EUR"}}}
        }
    },
    "training.yaml": {
        "training_set": {
            "spine": "events",
            "time": "at",
            "row_key": ["id"],
            "label": "label",
            "columns": ["customer", "distance"],
            "lookups": [{"table": "customers", "keys": ["customer"], "exact_match": False}],
            "split": {"validation": 0.2, "evaluation": "30d"},
        },
        "training": TRAINING,
    },
    "release.yaml": {
        "release": {
            "model": "tiny",
            "minimum_rows": 10,
            "gates": {"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": 0.5}},
        }
    },
    "scoring.yaml": {"scoring": {"target": "tiny_scores", "max_quarantine_share": 0.1}},
    "monitoring.yaml": {"drift": {"columns": ["distance", "customer"]}},
}


class Place:
    """The project with tables of its own in an empty folder.

    Args:
        folder: Holds `conf/` and, unless `base` says otherwise, `data/`.
        base: What every environment shares: where tables and objects lie.
        spark: The section `spark` of the environment `local`; the environment `cluster` has none.
    """

    def __init__(self, folder: Path, *, base: Mapping[str, Any] | None = None, spark: Mapping[str, Any] | None = None) -> None:
        self.folder, self._base, self._spark = folder, base or {"warehouse": {"root": "data/warehouse"}}, spark
        for path, values in {
            folder / "conf" / "base.yaml": dict(self._base),
            folder / "conf" / "env" / "local.yaml": {"spark": {"master": "local[2]", "driver_memory": "1g", **(spark or {})}},
            folder / "conf" / "env" / "cluster.yaml": {},
            **{folder / "conf" / "projects" / "tiny" / name: values for name, values in FILES.items()},
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(values))

    def tables(self, spark: SparkSession) -> Tables:
        """Its warehouse."""
        return Tables(spark, self.warehouse)

    @property
    def warehouse(self) -> Warehouse:
        """Where its tables lie."""
        return load(self.folder / "conf", "tiny").sections.warehouse.warehouse()

    def names(self) -> list[str]:
        """Its tables, found in its folder."""
        return sorted(path.parent.name for path in (self.folder / "data" / "warehouse").glob("*/_delta_log"))

    def locations(self, spark: SparkSession) -> dict[str, str]:
        """Where each of its tables lies, as its folder or its catalog says."""
        catalog = self._base.get("warehouse", {}).get("catalog")
        if catalog is None:
            return {name: self.warehouse.path(name) for name in self.names()}
        names = [row["tableName"] for row in spark.sql(f"SHOW TABLES IN {catalog}").collect()]
        return {name: spark.sql(f"DESCRIBE DETAIL {catalog}.`{name}`").collect()[0]["location"] for name in names}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, without a Spark job."""
        found: pa.Table = deltalake.DeltaTable(self.warehouse.path(table)).to_pyarrow_table()
        return list(found.to_pylist())

    def copy(self, folder: Path) -> Place:
        """The same tables, objects and runs in another folder; artifacts stay where MLflow's store says."""
        shutil.copytree(self.folder, folder)
        return Place(folder, base=self._base, spark=self._spark)

    def in_catalog(self, spark: SparkSession, folder: Path, schema: str) -> Place:
        """A copy whose tables have names in a schema of `spark_catalog`; where a path would look for them there is nothing."""
        copy, catalog = self.copy(folder), f"spark_catalog.{schema}"
        moved = (copy.folder / "data" / "warehouse").rename(copy.folder / "tables")
        spark.sql(f"CREATE SCHEMA {catalog}")
        for table in sorted(moved.iterdir()):
            spark.sql(f"CREATE TABLE {catalog}.`{table.name}` USING delta LOCATION '{table}'")
        return Place(folder, base={"warehouse": {"catalog": catalog}}, spark=self._spark)

    def project(self, spark: SparkSession | None) -> Project:
        """The notebook's handle."""
        return Project.open(self.folder / "conf", "tiny", spark=spark)

    def prepare(self, spark: SparkSession, *, train: bool = True) -> None:
        """Everything up to a champion that can score: tables, features, training set, model; without `train` no model."""
        self.tables(spark).overwrite("events", events(spark).where("id is not null").coalesce(1))
        project = self.project(spark)
        project.build_features(as_of=AS_OF)
        project.training_set(until=UNTIL, as_of=AS_OF)
        self.tables(spark).overwrite("events", events(spark).coalesce(1))  # no training set takes a null identity
        if train:
            project.train(as_of=AS_OF)
            project.promote(project.register(as_of=AS_OF), as_of=AS_OF)

    def options(self, as_of: str = AS_OF) -> list[str]:
        """What a command needs to work on this project."""
        return ["--project", "tiny", "--conf", str(self.folder / "conf"), "--as-of", as_of]

    def start(
        self, verb: str, *window: str, hooking: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None, as_of: str = AS_OF
    ) -> int:
        """Exit status of the verb as the console script does it: a kill takes Spark's JVM with it."""
        command = [sys.executable, "-m", "sparkml_ops", verb, *self.options(as_of), *(["--window", *window] if window else [])]
        hooked = {} if hooking is None else {hooks.VARIABLE: json.dumps(hooking)}
        return subprocess.run(command, env={**os.environ, **(environment or {}), **hooked}, timeout=1500).returncode


def events(spark: SparkSession) -> DataFrame:
    """Rows over January and February, a label that follows two columns, a null identity."""
    frame = spark.range(ROWS, numPartitions=1).select(
        F.when(F.col("id") != ROWS - 1, F.col("id")).alias("id"),
        F.timestamp_micros(F.lit(1_577_836_800_000_000) + F.col("id") * F.lit(5_000_000_000)).alias("at"),
        F.concat(F.lit("c"), (F.col("id") % 7).cast("string")).alias("customer"),
        ((F.col("id") * 37) % 101).cast("double").alias("distance"),
        ((F.col("id") * 17) % 23).cast("double").alias("amount"),
    )
    noise = F.pmod(F.xxhash64("distance", "at"), F.lit(100)) < 20
    return frame.withColumn("label", ((F.col("distance") > 50) != noise).cast("double"))


def content(frame: DataFrame) -> object:
    """Everything but when and by which run."""
    return measure(frame.drop("scored_at", "run_id", "model_run_id"))
