"""Windows of flights with every kind of bad row, and calls that all scoring tests share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from feature_store.delta import Tables, Transaction
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.model import artifact
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.records import ModelVersion, ScoredWindow, Snapshot, TrainingSet
from sparkml_ops.scoring import score
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.published import PublishedModel, publish
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage

WINDOW, START = "2013-07", datetime(2013, 7, 1, tzinfo=UTC)
TRAINING_SET = TrainingSet("flights_1", Snapshot("training_set_flights_1", 0), {"raw_flights": 3}, "0" * 16, 1000)
SCHEMA = "flight_id bigint, leg string, scheduled timestamp, carrier string, month int, distance double, seats bigint, note string, window string"
SPEC = ModelSpec(
    "mlp",
    (NumericInput("distance", "double", 900.0, 1000.0, 700.0, indicator=True), NumericInput("seats", "bigint", 150.0, 150.0, 40.0)),
    (CategoricalInput("carrier", "string", ("AA", "UA", "DL"), 2), CategoricalInput("month", "int", ("7", "8"), 1)),
    hidden=(8, 4),
)
SETTINGS = ScoringSection(target="flights_scores", max_quarantine_share=0.5)


def good_rows(count: int, window: str = WINDOW, first: int = 0) -> list[tuple[Any, ...]]:
    """Rows to score: null, NaN and unknown values among them."""
    rows = []
    for index in range(first, first + count):
        distance = [100.0 + index, None, math.nan][index % 3]
        carrier, seats = ["AA", "UA", "ZZ", None][index % 4], [150 + index, None][index % 2]
        rows.append((index, "out", START + timedelta(minutes=index), carrier, [7, 12, None][index % 3], distance, seats, "x", window))
    return rows


def bad_rows(window: str = WINDOW) -> dict[str, list[tuple[Any, ...]]]:
    """Rows for the quarantine by their reason."""
    fine = (START, "AA", 7, 500.0, 150, "x", window)
    return {
        "null row identity": [(None, "out", *fine), (9001, None, *fine)],
        "duplicate row identity": [(9002, "out", *fine), (9002, "out", START, "UA", 8, 1.0, 1, "y", window)],
        "null spine time": [(9003, "out", None, *fine[1:])],
        "infinite feature: distance": [
            (9004, "out", START, "AA", 7, math.inf, 150, "x", window),
            (9005, "out", START, "AA", 7, -math.inf, 150, "x", window),
        ],
        "value out of range: seats below 0": [(9007, "out", START, "AA", 7, 1.0, -150, "x", window)],
        "uncastable value: seats is a whole number beyond 2^53": [(9006, "out", START, "AA", 7, 1.0, 2**53 + 1, "x", window)],
    }


def all_bad(window: str = WINDOW) -> list[tuple[Any, ...]]:
    return [row for rows in bad_rows(window).values() for row in rows]


def ready(folder: Path, storage: Storage, loader: str, signature: Signature, name: str = "flights") -> ScoringModel:
    """As `load` makes it from the registry."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple((path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)
    pickled = loader == "mlflow.pyfunc.model"  # named by these tests, as a configuration would
    published = PublishedModel(storage, artifact.digest(folder), loader, files, signature.inputs, signature.outputs, seconds=1800.0, pickled=pickled)
    publish(published, folder)
    return ScoringModel(ModelVersion(name, 1, published.digest, TRAINING_SET), published)


def store_rows(
    tables: Tables, rows: Sequence[tuple[Any, ...]], window: str = WINDOW, *, generation: int = 0, partitions: int = 2, target: str = SETTINGS.target
) -> Snapshot:
    """A scoring set of given rows, committed as `materialise` does."""
    frame = tables.spark.createDataFrame(list(rows), SCHEMA).repartition(partitions)
    name, details = f"{target}_scoring_set", {"inputs": {"raw_flights": 3}}
    return tables.replace(name, frame, {"window": window}, transaction=Transaction(f"{name}/{window}/{generation}"), details=details).snapshot


def run(tables: Tables, model: ScoringModel, scoring_set: Snapshot, *, window: str = WINDOW, slot: str = "champion", **changes: Any) -> ScoredWindow:
    """`score` with what all tests have in common."""
    generation, row_key = changes.pop("generation", 0), changes.pop("row_key", ("flight_id", "leg"))
    settings = SETTINGS.model_copy(update={name: changes.pop(name) for name in list(changes) if name in ScoringSection.model_fields})
    call = {"settings": settings, "scored_at": datetime(2013, 9, 4, tzinfo=UTC), "run_id": "r1", "spine_time": "scheduled", **changes}
    return score(tables.spark, tables, model, scoring_set, window=window, slot=slot, generation=generation, row_key=row_key, **call)


def contents(tables: Tables, target: str = SETTINGS.target, *without: str) -> list[dict[str, Any]]:
    """All rows of a target in a fixed order."""
    frame = tables.read(target).drop(*without)
    return [row.asDict(recursive=True) for row in frame.orderBy(F.to_json(F.struct(*frame.columns))).collect()]
