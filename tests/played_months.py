"""The tiny project with a champion of January, and January and February scored and compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tiny_project import FILES, Place, events

__all__ = ["CHAMPION_UNTIL", "FEBRUARY", "FIRST", "JANUARY", "NOW", "POLICY", "declared", "prepared", "write"]

CHAMPION_UNTIL, FIRST, NOW = "2020-01-22", "2020-02-01", "2020-03-01"
JANUARY, FEBRUARY = "2020-01", "2020-02"
POLICY = {"labels": 300, "minimum_labels": 200, "cooldown": "10d", "schedule": "90d"}


@pytest.fixture(scope="session")
def prepared(spark: SparkSession, mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A champion of January, judged on its last ten days; January and February scored and measured."""
    place = Place(tmp_path_factory.mktemp("retrain") / "tiny")
    (place.folder / "data").mkdir()
    shutil.copyfile(mlflow_template, place.folder / "data" / "mlflow.db")
    training = FILES["training.yaml"]
    declared = {**training["training_set"], "split": {"validation": 0.2, "evaluation": "10d"}}
    write(place, "training.yaml", {**training, "training_set": declared})
    write(place, "retraining.yaml", {"retraining": {"policy": POLICY}})
    # The tiny project's rows, spread over all of February: a window is scored when it has ended.
    spread = F.timestamp_micros(F.lit(1_577_836_800_000_000) + F.col("id") * F.lit(5_700_000_000))
    place.tables(spark).overwrite("events", events(spark).where("id is not null").withColumn("at", spread).coalesce(1))
    project = place.project(spark)
    project.build_features(as_of=NOW)
    result = project.train(project.training_set(until=CHAMPION_UNTIL, as_of=FIRST), as_of=FIRST)
    project.promote(project.register(result, as_of=FIRST), as_of=FIRST)
    for window, as_of in ((JANUARY, FIRST), (FEBRUARY, NOW)):
        project.score(window, as_of=as_of)
        project.drift(window, as_of=as_of)
    return place


def declared(prepared: Place, place: Place) -> Place:
    """Under the declarations of the prepared project, which a copy has not."""
    for name in ("training.yaml", "retraining.yaml"):
        path = Path("conf") / "projects" / "tiny" / name
        (place.folder / path).write_text((prepared.folder / path).read_text())
    return place


def write(place: Place, name: str, values: object) -> None:
    (place.folder / "conf" / "projects" / "tiny" / name).write_text(yaml.safe_dump(values))
