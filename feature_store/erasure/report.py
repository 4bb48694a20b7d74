"""What an erasure touched, or would touch; no record repeats a key's value."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.consumers import Consumer
from feature_store.erasure.forgotten import Tombstone

__all__ = ["ErasureReport", "HoldingTable", "Proof"]


@dataclass(frozen=True)
class HoldingTable:
    """A table that can hold the entity.

    Args:
        table: Its name.
        kind: `feature table`, `training set`, `store` (predictions, scoring sets, quarantine and whatever else was made by it) or
            `source`: not the store's own.
        columns: The column combinations that were searched, as `origin` or `carrier+origin`.
        rows: Rows of the entity in the newest version: deleted ones after an erasure, except of a source that was left alone.
    """

    table: str
    kind: str
    columns: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Proof:
    """What was read to see that nothing is left.

    Args:
        data_files: Data and change files of which every row was decoded, live or not.
        rows: Rows in them.
        log_files: Commits, checkpoints and checksum files of which every entry was read.
        entries: Entries in them.
        findings: Files that still told of the entity; 0 in a report of an erasure.
    """

    data_files: int
    rows: int
    log_files: int
    entries: int
    findings: int


@dataclass(frozen=True)
class ErasureReport:
    """How an entity was forgotten.

    Args:
        erasure: Id in the table `erasures`, the same each time that the same entity is forgotten; empty in a dry run.
        keys: The key columns.
        dry_run: Whether nothing was written.
        tables: Tables of the store that have such columns, with the rows that were (in a dry run: would be) deleted.
        sources: Tables that are not the store's own and still hold rows: theirs to delete who own them. `refresh` leaves them out.
        tombstones: Training sets of which rows were erased.
        consumers: Models and others made from tables that held the entity: models want another training.
        proof: What was read afterwards; None in a dry run.
        notes: What was not searched, and why.
    """

    erasure: str
    keys: tuple[str, ...]
    dry_run: bool
    tables: tuple[HoldingTable, ...]
    sources: tuple[HoldingTable, ...]
    tombstones: tuple[Tombstone, ...]
    consumers: tuple[Consumer, ...]
    proof: Proof | None
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows that were, or would be, deleted."""
        return sum(table.rows for table in self.tables)

    @property
    def advice(self) -> tuple[str, ...]:
        """What is left to do, a sentence each."""
        models = [f"retrain model {item.name} {item.version}: it was made from rows of the entity" for item in self.consumers if item.kind == "model"]
        sources = [f"source `{item.table}` still holds {item.rows} rows: yours to delete" for item in self.sources if item.rows]
        return (*models, *sources, *self.notes)
