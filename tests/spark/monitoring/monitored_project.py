"""A project of three days with a model as champion, a truth that comes late, and what the tests of monitoring ask of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from pyspark.sql import SparkSession

from sparkml_ops.config.load import load
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.target import Target
from sparkml_ops.monitoring import performance
from sparkml_ops.records import Snapshot, TrainingSet
from sparkml_ops.tracking import Tracking
from sparkml_ops.verbs import monitor, score
from sparkml_ops.verbs.outcome import Outcome
from sparkml_ops.verbs.work import Work

__all__ = ["CLASSES", "DAYS", "HOURS", "NUMBER", "Place", "evaluation", "events", "in_words", "instant", "known", "scored"]

START = datetime(2020, 1, 1, tzinfo=UTC)
DAYS = ("2020-01-01", "2020-01-02", "2020-01-03")
HOURS = (1, 3, 24, 48)
INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    {"id": pa.int64(), "at": INSTANT, "shop": pa.string(), "x": pa.float64(), "label": pa.float64(), "known": INSTANT},
)
SPEC = ModelSpec("mlp", (NumericInput("x", "double", 0.0, 0.0, 1.0),), (CategoricalInput("shop", "string", ("a", "b"), 1),), hidden=(4,))
CLASSES = replace(SPEC, target=Target("multiclass", classes=("no", "yes")))
NUMBER = replace(SPEC, target=Target("regression", mean=0.5, scale=0.5))
FILES: dict[str, dict[str, Any]] = {
    "training.yaml": {
        "training_set": {
            "spine": "events",
            "time": "at",
            "row_key": ["id"],
            "label": "label",
            "label_known_time": "known",
            "columns": ["shop", "x"],
        }
    },
    "release.yaml": {"release": {"model": "tiny"}},
    "scoring.yaml": {"scoring": {"target": "tiny_scores", "max_quarantine_share": 0.1}},
    "monitoring.yaml": {"monitoring": {"segments": ["shop"], "complete_at": 0.8, "final_after": "10d", "lag_hours": list(HOURS)}},
}


def instant(day: float) -> datetime:
    """So many days after the start."""
    return START + timedelta(days=day)


def events() -> pd.DataFrame:
    """Three days of 300 rows: 70 of 100 labels are known within hours, most of the others on the next day, 4 of 100 never."""
    random = np.random.default_rng(3)
    rows = 900
    x, shop = random.normal(size=rows), random.choice(["a", "b", None], rows, p=[0.6, 0.35, 0.05])
    label = (random.random(rows) < 1 / (1 + np.exp(1.5 * x))).astype(float)
    at = [instant(index / 300) for index in range(rows)]
    lag = np.where(random.random(rows) < 0.7, random.uniform(0, 4, rows), random.uniform(20, 40, rows))
    known = [time + timedelta(hours=float(hours)) for time, hours in zip(at, lag, strict=True)]
    frame = pd.DataFrame({"id": np.arange(rows), "at": at, "shop": shop, "x": x, "label": label, "known": known})
    never = random.random(rows) < 0.04
    frame.loc[never, "label"], frame.loc[never, "known"] = None, pd.NaT
    frame.loc[[5, 700], "x"] = np.inf  # for the quarantine
    return frame


class Place:
    """A project in a folder: its tables, a model as champion, and what the tests ask of them."""

    def __init__(self, folder: Path, spark: SparkSession, *overrides: str) -> None:
        self.folder, self.spark = folder, spark
        self.config = load(folder / "conf", "tiny", overrides=overrides)
        self.work = Work(self.config, spark)

    @classmethod
    def make(cls, folder: Path, spark: SparkSession, mlflow: Path, spec: ModelSpec = SPEC, days: tuple[str, ...] = DAYS) -> Place:
        base = {
            "warehouse": {"root": "data/warehouse"},
            "storage": {"root": "data/storage"},
            "mlflow": {"tracking_uri": f"sqlite:///{folder}/mlflow.db"},
        }
        task = {"monitored.yaml": {"training": {"task": spec.target.task, "label": "label"}}}
        files = {folder / "conf" / "base.yaml": base, folder / "conf" / "env" / "local.yaml": {"spark": {"master": "local[2]"}}}
        for path, values in (files | {folder / "conf" / "projects" / "tiny" / name: values for name, values in (FILES | task).items()}).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(values))
        shutil.copyfile(mlflow, folder / "mlflow.db")
        place = cls(folder, spark)
        told = in_words if spec.target.classes else pd.DataFrame.copy
        place.write("events", told(events()))
        parts = [evaluation().assign(split="evaluation"), evaluation().assign(split="train")]
        snapshot = place.write("training_set_tiny_1", told(pd.concat(parts)))
        artifact.save(folder / "artifact", spec, build(spec, seed=7).state_dict())
        tracking = Tracking(f"sqlite:///{folder}/mlflow.db", "tiny", str(folder / "mlflow"))
        made = tracking.run("train/1", "train")
        trained_on = TrainingSet("tiny_1", snapshot, {}, "0" * 16, 600)
        outputs = spec.target.columns if spec.target.task != "binary" else [(spec.output, "double")]
        version = tracking.register(made.run_id, folder / "artifact", name="tiny", training_set=trained_on, inputs=spec.inputs, outputs=outputs)
        tracking.set_alias("tiny", "champion", version)
        for day in days:
            score.perform(place.work, window=day, as_of=instant(3))
        return place

    def copy(self, folder: Path, *overrides: str) -> Place:
        shutil.copytree(self.folder, folder)
        return Place(folder, self.spark, *overrides)

    def write(self, name: str, frame: pd.DataFrame, *, append: bool = False) -> Snapshot:
        schema = SCHEMA if frame["label"].dtype != object else SCHEMA.set(SCHEMA.get_field_index("label"), pa.field("label", pa.string()))
        schema = schema.append(pa.field("split", pa.string())) if "split" in frame.columns else schema
        table, tables = pa.Table.from_pandas(frame, schema, preserve_index=False), self.work.tables
        # As another engine would, in a fifth of the time.
        deltalake.write_deltalake(tables.warehouse.path(name), table, mode="append" if append else "overwrite")
        return tables.newest(name)

    def monitor(self, day: str, as_of: datetime, **options: Any) -> Outcome[Any]:
        return monitor.perform(self.work, window=day, as_of=as_of, **options)

    def commits(self) -> dict[str, int]:
        logs = (self.folder / "data" / "warehouse").glob("*/_delta_log/*.json")
        counts: dict[str, int] = {}
        for path in logs:
            counts[path.parts[-3]] = counts.get(path.parts[-3], 0) + 1
        return counts

    def rows(self, **options: Any) -> list[dict[str, Any]]:
        return performance(self.work.tables, "tiny", target="tiny_scores", **options)

    def scores(self, frame: pd.DataFrame) -> np.ndarray:
        return artifact.load(self.folder / "artifact").predict(frame)


def in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with classes for labels."""
    return frame.assign(label=frame["label"].map({0.0: "no", 1.0: "yes"}).astype(object))


def evaluation() -> pd.DataFrame:
    random = np.random.default_rng(5)
    x, shop = random.normal(size=600), random.choice(["a", "b"], 600)
    label = (random.random(600) < 1 / (1 + np.exp(1.5 * x))).astype(float)
    label[random.random(600) < 0.02] = np.nan
    return pd.DataFrame({"id": np.arange(600) + 10_000, "at": instant(-20), "shop": shop, "x": x, "label": label, "known": instant(-19)})


def known(frame: pd.DataFrame, day: str, as_of: datetime) -> pd.DataFrame:
    """The scored rows of a day whose label is known."""
    mine = frame[(frame["at"].dt.strftime("%Y-%m-%d") == day) & np.isfinite(frame["x"])]
    return mine[mine["label"].notna() & (mine["known"] <= as_of)]


def scored(frame: pd.DataFrame, day: str) -> pd.DataFrame:
    return frame[(frame["at"].dt.strftime("%Y-%m-%d") == day) & np.isfinite(frame["x"])]
