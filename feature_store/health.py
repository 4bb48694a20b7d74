"""How a table stands: files, bytes, small files, the length of its log. Read from the log, without Spark in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feature_store.delta import TableFiles, Tables

__all__ = ["SMALL", "TableHealth", "health"]

SMALL = 32 * 1024**2


@dataclass(frozen=True)
class TableHealth:
    """One table.

    Args:
        version: The newest.
        changed: When it was made, ISO 8601.
        rows: Those that a deletion vector hides included; None where a file does not say.
        files: Of the newest version.
        bytes: Of these files.
        small_files: Those of them below 32 MiB.
        deletion_vectors: Files some of whose rows are hidden by one.
        commits_since_checkpoint: Commits that every reader reads one by one.
        removable_files: Files that no version has needed for seven days; still stored.
        format: Mark of the tables of our own; 0 where there is none.
    """

    table: str
    version: int
    changed: str
    rows: int | None
    files: int
    bytes: int
    small_files: int
    deletion_vectors: int
    commits_since_checkpoint: int
    removable_files: int
    format: int

    @property
    def small_share(self) -> float:
        """Share of the files that are small, 0 to 1."""
        return self.small_files / self.files if self.files else 0.0


def health(tables: Tables, name: str) -> TableHealth:
    """How one table stands.

    Raises:
        TableNotFound: There is no such table.
    """
    found = TableFiles(tables, name)
    live, rows = found.live, [file.rows for file in found.live]
    newest = found.log.history(1)[0]
    return TableHealth(
        name,
        found.log.version(),
        datetime.fromtimestamp(newest["timestamp"] / 1000, UTC).isoformat(timespec="seconds"),
        None if None in rows else sum(count for count in rows if count is not None),
        len(live),
        sum(file.bytes for file in live),
        sum(file.bytes < SMALL for file in live),
        found.deletion_vectors,
        found.commits_since_checkpoint,
        len(found.removable(timedelta(days=7))),
        found.format,
    )
