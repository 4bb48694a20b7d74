"""Files that tasks have put into a table's folder, and their way into a version: one commit, without Spark.

Until then no version speaks of them. They lie where Delta's own writer puts its files before it commits, so a vacuum takes what is
left of a killed writer, and an erasure reads it like every other file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from feature_store.delta.commits import Transaction
from feature_store.delta.direct import readable
from feature_store.delta.files import TableFiles
from feature_store.delta.log import TableReader
from feature_store.errors import TableNotFound

__all__ = ["PlacedFile", "folder_of", "put_files", "refusal_of", "remove_left"]

# What asks nothing of a writer that adds files, or only what is looked at below.
_FEATURES = frozenset({"appendOnly", "invariants", "checkConstraints", "changeDataFeed", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})
_ATTEMPTS = 20
_PLAIN = re.compile(r"[^A-Za-z0-9._=-]")


@dataclass(frozen=True)
class PlacedFile:
    """A Parquet file in a table's folder that no version has yet.

    Args:
        path: Below the table's folder.
        size: Bytes.
        partition: Its value of each partition column.
        statistics: As the log keeps them: JSON with `numRecords`, and least and greatest values where they may be known.
    """

    path: str
    size: int
    partition: Mapping[str, str]
    statistics: str


def folder_of(partition: Mapping[str, str]) -> str:
    """Folder of a partition's files below the table's, in characters that no log has to escape.

    >>> folder_of({"window": "2013-07", "slot": "a:b"})
    'window=2013-07/slot=a_b'
    """
    return "/".join(_PLAIN.sub("_", f"{name}={value}") for name, value in partition.items())


def refusal_of(tables: TableReader, name: str) -> str:
    """Why files that Python made cannot become rows of a table; empty: they can.

    Only the table's log is asked: its place, its protocol, its properties and its columns. A table that is not there has none of them.
    """
    if tables.warehouse.catalog is not None or "://" in tables.warehouse.path(name):
        # Beside Spark's commits only Spark knows how a catalog's or a store's are kept apart.
        return "its warehouse is no folder, the only place where Python commits beside Spark"
    if not tables.exists(name):
        return ""
    log = tables._log(name)
    protocol, settings = log.protocol(), log.metadata().configuration
    if not readable(log):
        return "its protocol asks more of a reader than Parquet"
    if further := sorted(set(protocol.writer_features or ()) - _FEATURES):
        return f"its protocol asks {', '.join(further)} of a writer"
    if settings.get("delta.appendOnly") == "true":
        return "it only takes additions"
    fields = log.schema().fields
    declared = [setting for setting in settings if setting.startswith("delta.constraints.")]
    declared += [field.name for field in fields if not field.nullable or set(field.metadata) - {"comment"}]
    return f"it declares constraints ({', '.join(sorted(declared)[:3])})" if declared else ""


def put_files(tables: TableReader, name: str, files: Sequence[PlacedFile], where: Mapping[str, str], note: str, transaction: Transaction) -> None:
    """Commit files in place of all that some partitions hold, unless the transaction has landed.

    The library's own retries compare too little for this: they would let a file stay that came after the version whose files are removed.
    So there are none, and each attempt looks at the newest version for the transaction and for what is to go.

    Args:
        files: Whole, in the table's folder.
        where: Partition column to value: what is replaced.
        note: Of the commit.
        transaction: Lands once.
    """
    made = time.time_ns() // 1_000_000
    adds: list[AddAction | RemoveAction] = [AddAction(file.path, file.size, file.partition, made, True, file.statistics) for file in files]
    properties = deltalake.CommitProperties(
        custom_metadata={"userMetadata": note}, app_transactions=[deltalake.Transaction(transaction.app, transaction.version)], max_commit_retries=0
    )
    for attempt in range(1, _ATTEMPTS + 1):
        log = tables._log(name)
        if (log.transaction_version(transaction.app) or 0) >= transaction.version:
            return
        try:
            log.create_write_transaction(
                adds,
                "overwrite",
                log.schema(),
                log.metadata().partition_columns,
                [(column, "=", value) for column, value in where.items()],
                commit_properties=properties,
            )
        except CommitFailedError:
            if attempt == _ATTEMPTS or tables._log(name).version() == log.version():
                raise
        else:
            return


def remove_left(tables: TableReader, name: str, folder: str, mark: str, *, version: int | None, kept: Set[str] = frozenset()) -> None:
    """Take away the files of some attempts that no version needs.

    Args:
        folder: What holds them, below the table's.
        mark: Begins the names of their files, and of no others.
        version: That of the commit that landed, whose files stay, as do those of the newest version; None: none landed.
        kept: Paths below the table's folder of further files that stay.
    """
    root = Path(tables.location(name))
    left = [path for path in (root / folder).rglob(f"{mark}*.parquet") if path.is_file()]
    if not left:
        return
    files = TableFiles(tables, name)
    try:
        needed = kept | files.paths(files.log.version()) | (files.paths(version) if version is not None else frozenset())
    except TableNotFound:
        return  # The log has forgotten which they were: a vacuum knows which files are needed.
    for path in left:
        if path.relative_to(root).as_posix() not in needed:
            path.unlink(missing_ok=True)
