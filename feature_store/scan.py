"""The live files of a Delta snapshot, as data: the only module that reads a table's file list.

Training, scoring and statistics read the same way: the driver pins a version and lists its
files here, and Python tasks on the executors read them with pyarrow, columns only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.delta import Tables
from feature_store.delta.direct import readable
from feature_store.errors import ContractError
from feature_store.records import Snapshot

__all__ = ["Scan", "ScanFile", "most_rows", "newest_instant", "plan_scan", "scannable"]


@dataclass(frozen=True)
class ScanFile:
    """One live Parquet file.

    Args:
        path: Absolute path or address, readable by pyarrow on the executors.
        rows: Number of rows, from the log.
        size: Bytes.
        partition: Values of the partition columns; None is null.
        row_groups: Rows of each row group; empty unless asked for.
    """

    path: str
    rows: int
    size: int
    partition: Mapping[str, str | None]
    row_groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scan:
    """A pinned snapshot and its files in a fixed order (by path).

    Args:
        snapshot: What is read.
        schema: Arrow schema of the table, partition columns included.
        files: The live files that match.
    """

    snapshot: Snapshot
    schema: pa.Schema
    files: tuple[ScanFile, ...]

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(file.rows for file in self.files)


def scannable(tables: Tables, snapshot: Snapshot) -> bool:
    """Whether Python can read the files of a snapshot as they are; its log alone is asked.

    Raises:
        TableNotFound: No such table.
    """
    snapshot = tables.standing(snapshot)
    return readable(deltalake.DeltaTable(tables.location(snapshot.table), version=snapshot.version))


def plan_scan(
    tables: Tables, snapshot: Snapshot, *, where: Mapping[str, str] | None = None, row_groups: bool = False, most_footers: int | None = None
) -> Scan | None:
    """List the files of a snapshot, or None where Python cannot read them as they are.

    None means deletion vectors, column mapping, type widening or another reader feature: use
    `DataFrame.mapInArrow` on `tables.read(...)`, with the identical result.

    Args:
        where: Partition column to value; other files are left out.
        row_groups: Read each file's footer for its row groups too.
        most_footers: With `row_groups`, leave them unread where there are more files; None: read all.

    Raises:
        TableNotFound: No such table.
        ContractError: `where` names a column that is no partition column.
    """
    snapshot = tables.standing(snapshot)
    table = deltalake.DeltaTable(tables.location(snapshot.table), version=snapshot.version)
    if not readable(table):
        return None
    partitions = table.metadata().partition_columns
    if unknown := sorted(set(where or {}) - set(partitions)):
        raise ContractError(
            f"{unknown} in a filter on files of `{snapshot.table}`", expected=f"partition columns {partitions}", mend="filter rows instead"
        )
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    matching = [action for action in sorted(actions, key=lambda action: str(action["path"])) if _matches(action, where)]
    row_groups = row_groups and (most_footers is None or len(matching) <= most_footers)
    files = [_file(table.table_uri, action, partitions, row_groups=row_groups) for action in matching]
    return Scan(snapshot, pa.schema(table.schema().to_arrow()), tuple(files))


def most_rows(tables: Tables, snapshot: Snapshot) -> int:
    """How many rows a snapshot has at most, from its log: rows that deletion vectors take away are counted.

    Raises:
        TableNotFound: No such table.
    """
    actions = pa.table(deltalake.DeltaTable(tables.location(snapshot.table), version=snapshot.version).get_add_actions(flatten=True))
    return int(pc.sum(actions["num_records"]).as_py() or 0)


def newest_instant(tables: Tables, name: str, column: str, version: int | None = None) -> datetime | None:
    """The greatest value of a timestamp column, from the statistics of the live files; no row is read.

    Args:
        version: Of the table; None: the newest.

    Returns:
        To the millisecond, as Delta keeps it, UTC. None: no rows, or a file without statistics of this column.

    Raises:
        TableNotFound: No such table.
    """
    actions = pa.table(deltalake.DeltaTable(tables.location(name), version=version).get_add_actions(flatten=True)).to_pylist()
    found: list[datetime | None] = [action.get(f"max.{column}") for action in actions if action.get("num_records") != 0]
    instants = [value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC) for value in found if value is not None]
    return max(instants) if instants and len(instants) == len(found) else None


def _matches(action: Mapping[str, Any], where: Mapping[str, str] | None) -> bool:
    return all(str(action[f"partition.{column}"]) == value for column, value in (where or {}).items())


def _file(root: str, action: Mapping[str, Any], partitions: list[str], *, row_groups: bool) -> ScanFile:
    # The log escapes its paths as addresses are; the names of partitions are escaped before, and stay so.
    path = unquote(str(action["path"]))
    if "://" not in path and not path.startswith("/"):
        path = f"{root.removeprefix('file://').rstrip('/')}/{path}"
    groups: tuple[int, ...] = ()
    if row_groups:
        footer = pq.read_metadata(path)
        groups = tuple(footer.row_group(index).num_rows for index in range(footer.num_row_groups))
    values = {column: None if (value := action[f"partition.{column}"]) is None else str(value) for column in partitions}
    return ScanFile(path, int(action["num_records"]), int(action["size_bytes"]), values, groups)
