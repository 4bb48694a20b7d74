"""One record between two rooms: what each verb hands on, printed as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal

from feature_store.records import Snapshot, TrainingSet

__all__ = [
    "GateReport",
    "GateResult",
    "ModelVersion",
    "ScoredWindow",
    "Snapshot",
    "TrainingResult",
    "TrainingSet",
    "to_document",
    "to_json",
]


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Args:
        run_id: MLflow's id of the run.
        training_set: What it was trained and evaluated on.
        metrics: Flat names to values; `evaluation_*` are on the evaluation split.
        checkpoint: Folder of the artifact under `storage.root`.
    """

    run_id: str
    training_set: TrainingSet
    metrics: Mapping[str, float]
    checkpoint: str


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of a model; it carries its training set.

    Args:
        name: Registered name.
        version: MLflow's number.
        digest: SHA-256 over the artifact's files.
        training_set: Its reference for drift, so that nothing ever searches for it.
    """

    name: str
    version: int
    digest: str
    training_set: TrainingSet


@dataclass(frozen=True)
class GateResult:
    """What one gate found."""

    gate: str
    verdict: Literal["pass", "fail", "no evidence"]
    found: Mapping[str, float]
    limit: Mapping[str, float]
    message: str


@dataclass(frozen=True)
class GateReport:
    """All gates of one model version, bound to what was judged and by which rules."""

    model: str
    version: int
    digest: str
    evaluation_hash: str
    config_hash: str
    passed: bool
    results: tuple[GateResult, ...]


@dataclass(frozen=True)
class ScoredWindow:
    """The predictions of one window in one slot.

    Args:
        rows: Scored rows.
        quarantined: Rows set aside with a reason; both together are the window's rows.
    """

    model: ModelVersion
    window: str
    slot: str
    snapshot: Snapshot
    rows: int
    quarantined: int


def to_document(record: Any) -> Any:
    """A record as plain JSON types."""
    if hasattr(record, "to_document"):
        return record.to_document()
    if is_dataclass(record) and not isinstance(record, type):
        return asdict(record)
    if isinstance(record, list | tuple):
        return [to_document(item) for item in record]
    if isinstance(record, Mapping):
        return {str(key): to_document(value) for key, value in record.items()}
    return record


def to_json(record: Any) -> str:
    """A record as one line of JSON."""
    return json.dumps(to_document(record), sort_keys=True, default=str)
