"""A warehouse of feature tables with everything that is made from them, written without Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession
from tiny_project import Place

import feature_store as fs
from feature_store.records import Snapshot, TrainingSet
from feature_store.training_set import TrainingSets
from sparkml_ops.config.load import load
from sparkml_ops.verbs.work import Work

__all__ = ["DELAYS", "NEWEST", "PLANES", "PLANES_2", "SPEEDS", "Known", "no_session"]

NEWEST = datetime(2020, 1, 31, 23, tzinfo=UTC)
DELAYS = fs.FeatureTable(
    "delays",
    ("origin",),
    "at",
    (
        fs.Feature("delay_mean_1d", "double", "min", "How late the flights of a day were"),
        fs.Feature("cancelled_3h", "bigint", "flights", "Flights of three hours that never left"),
    ),
    source="raw_flights",
    transform={"delay": "least(Dep_Delay, 180D)"},
    aggregates=(fs.Aggregate("mean", "delay", "1d"), fs.Aggregate("count", None, "3h", where="state = 'cancelled'", name="cancelled_3h")),
    slide="1h",
    ttl="1h",
    owner="operations",
    meaning="How late an airport is",
    tags=("delays",),
    freshness="2d",
)
PLANES = fs.FeatureTable(
    "planes",
    ("tailnum",),
    "at",
    (fs.Feature("age", "int", "years", "Age of the plane"), fs.Feature("model", "string"), fs.Feature("pilot", "string", meaning="Who flew it")),
    source="raw_planes",
    transform=fs.Derived({"age": "2013 - built"}, where="in_service"),
    pii=("pilot",),
)
PLANES_2 = fs.FeatureTable("planes", ("tailnum",), "at", (fs.Feature("age", "double", "years"),), source="raw_planes", version=2)
SPEEDS = fs.FeatureTable("speeds", ("tailnum",), "at", (fs.Feature("fast", "boolean"),), source="planes", transform={"fast": "age < 5"})
_LOOKUP = {"keys": [["origin", "origin"]], "event_time": "at", "known_time": None, "ttl": None, "exact_match": True, "tie_break": []}


def no_session() -> SparkSession:
    """For a store that may not start one."""
    raise AssertionError("a session was asked for")


class Known:
    """The tiny project with three feature tables, a training set that takes one feature, two versions of a model, and predictions.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.store = fs.FeatureStore(no_session, root=self.place.warehouse.root)

    @property
    def work(self) -> Work:
        """As a command opens it."""
        return Work(load(self.place.folder / "conf", "tiny"))

    def fill(self) -> Known:
        """All of it."""
        self.store.register(DELAYS, PLANES, SPEEDS)
        hours = [NEWEST - timedelta(hours=hour) for hour in range(48)]
        rng = np.random.default_rng(7)
        self.write("delays", {"origin": ["JFK"] * 48, "at": hours, "delay_mean_1d": rng.normal(10, 5, 48), "cancelled_3h": rng.poisson(2, 48)})
        self.training_set("late_0a", {"delays": 0, "raw_flights": 5}, features=["delay_mean_1d"])
        for version in ("1", "2"):
            self.store.consumers.record(fs.Consumer("model", "late", version, {"training_set_late_0a": 0, "delays": 0, "raw_flights": 5}))
            read = {"scores_scoring_set": None, "delays": None, "raw_flights": None, "model:late": int(version)}
            self.store.consumers.record(
                fs.Consumer("scoring set", "scores_scoring_set", "", {"delays": None, "raw_flights": None}),
                fs.Consumer("predictions", "scores", version, read),
            )
        return self

    def write(self, name: str, columns: dict[str, object]) -> None:
        """Rows of a table, added in one commit."""
        deltalake.write_deltalake(self.place.warehouse.path(name), pa.table(columns), mode="append")

    def training_set(self, identity: str, inputs: dict[str, int], *, features: list[str], as_of: datetime = NEWEST) -> None:
        """The record of a training set that takes features of `delays` at flights."""
        lookup = {**_LOOKUP, "table": "delays", "features": features, "prefix": "origin_"}
        definition = {"spine": "raw_flights", "spine_columns": ["flight", "origin", "dep_delay"], "where": None, "lookups": [lookup]}
        made = TrainingSet(identity, Snapshot(f"training_set_{identity}", 0), inputs, "c0ffee", 48)
        TrainingSets(self.store.tables)._record(made, identity.split("_", maxsplit=1)[0], definition, "hash", as_of)
