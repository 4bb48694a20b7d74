"""A spine with a known truth, training sets of it, and models of it with known weights."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyspark.sql import SparkSession

import feature_store as fs
from sparkml_ops.model import artifact
from sparkml_ops.model.network import Network
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput

__all__ = ["SPEC", "START", "day", "frame", "save", "spine", "training_set"]

ROWS, DAYS = 2400, 100
START = datetime(2013, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("linear", (NumericInput("x", "double", 0.0, 0.0, 1.0),), (CategoricalInput("origin", "string", ("EWR", "JFK", "LGA")),))


def day(number: float) -> datetime:
    """So many days after the first row."""
    return START + timedelta(days=number)


def spine() -> pd.DataFrame:
    """Rows over 100 days; the label follows x, and LGA is half as frequent as the others; ten rows of XXX."""
    draw = np.random.default_rng(11)
    x = draw.normal(size=ROWS)
    origin = draw.choice(["EWR", "JFK", "LGA"], ROWS, p=[0.4, 0.4, 0.2])
    origin[draw.choice(ROWS, 30, replace=False)] = "XXX"
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "at": [START + timedelta(minutes=DAYS * 1440 * number // ROWS) for number in range(ROWS)],
            "x": x,
            "origin": origin,
            "label": (draw.random(ROWS) < 1 / (1 + np.exp(-(1.5 * x - 0.4)))).astype(float),
        }
    )


def frame(spark: SparkSession) -> Any:
    """The spine as Spark sees it."""
    rows = [(int(row.id), row.at.to_pydatetime(), float(row.x), str(row.origin), float(row.label)) for row in spine().itertuples()]
    return spark.createDataFrame(rows, "id bigint, at timestamp, x double, origin string, label double")


def training_set(store: fs.FeatureStore, name: str, until: float, end: float, **changes: Any) -> fs.TrainingSet:
    """Rows before day `until` to train on (a tenth for validation), rows before day `end` to judge by."""
    options = {
        "name": name,
        "spine_time": "at",
        "label": "label",
        "row_key": ("id",),
        "split": fs.Split({"train": day(until), "evaluation": day(end)}, ("validation", 0.1), 3, changes.pop("since", None)),
        "as_of": day(200),
    }
    return store.training_set("examples", [], **{**options, **changes})


def save(folder: Path, slope: float, bias: dict[str, float] | None = None, spec: ModelSpec = SPEC) -> Path:
    """A model 1 / (1 + exp(-(slope x + bias of the airport - 0.4)))."""
    state = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in Network(spec).state_dict().items()}
    state["output.weight"][0, 0] = slope
    state["output.bias"][0] = -0.4
    for value, weight in (bias or {}).items():
        state["embeddings.0.weight"][spec.categorical[0].vocabulary.index(value) + 1, 0] = weight
    artifact.save(folder, spec, state)
    return folder
