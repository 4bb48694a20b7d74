"""Records that the feature store hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Snapshot", "TrainingSet", "TrainingSetState"]


@dataclass(frozen=True)
class Snapshot:
    """One version of one Delta table: logical name and the log's version number."""

    table: str
    version: int


@dataclass(frozen=True)
class TrainingSet:
    """An immutable table of examples, with what it was made from.

    Args:
        id: `<name>_<hash>`; the hash covers definition, inputs and spine.
        snapshot: The Delta table that holds the rows.
        inputs: Version of each table that was read, by logical name.
        content_hash: Order-free hash of all rows, 16 hexadecimal digits.
        rows: Number of rows.
    """

    id: str
    snapshot: Snapshot
    inputs: Mapping[str, int]
    content_hash: str
    rows: int


@dataclass(frozen=True)
class TrainingSetState:
    """A recorded training set, and what of it is still there.

    Args:
        training_set: Its record.
        gone: Inputs whose pinned version can no longer be read: the set is as it was, but `rebuild` cannot prove it any more.
        readable: Whether its own rows are there.
    """

    training_set: TrainingSet
    gone: tuple[str, ...]
    readable: bool
