"""Records that the feature store hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Snapshot", "TrainingSet"]


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
