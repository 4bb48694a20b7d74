"""The files of a table's versions: in its log, and in its folder. No Spark job, and no row is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import deltalake
import pyarrow as pa
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, PyFileSystem, SubTreeFileSystem

from feature_store.address import for_python
from feature_store.delta.commits import history
from feature_store.delta.log import TableReader, format_of
from feature_store.errors import TableNotFound
from feature_store.names import quote

__all__ = ["LiveFile", "TableFiles", "table_names"]

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..*parquet")
_INTERVAL = re.compile(r"(?:interval\s+)?(\d+)\s+(week|day|hour)s?")
_FOR_EVER = timedelta(days=36_500)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,127}")


@dataclass(frozen=True)
class LiveFile:
    """One file of a version.

    Args:
        path: Below the table's folder.
        bytes: Its size.
        rows: From the log, those that a deletion vector hides included; None where the log does not say.
        partition: Its values of the partition columns, as one text.
    """

    path: str
    bytes: int
    rows: int | None
    partition: str


class TableFiles:
    """The files of one table.

    Args:
        tables: Where it lies.
        name: Its logical name.

    Raises:
        TableNotFound: There is no such table.
    """

    def __init__(self, tables: TableReader, name: str) -> None:
        self.name, self.place, self._tables = name, tables.location(name), tables
        self._paths: dict[int, frozenset[str]] = {}
        self._found: dict[timedelta, frozenset[str]] = {}

    @cached_property
    def log(self) -> deltalake.DeltaTable:
        """The newest version's log, as of the first look at it."""
        return self._tables._log(self.name)

    @cached_property
    def live(self) -> tuple[LiveFile, ...]:
        """The newest version's files."""
        return tuple(map(_live, self._actions.to_pylist()))

    @property
    def stated(self) -> frozenset[str]:
        """Columns of whose values the log has the greatest of some file: by these a reader skips files."""
        found = self._actions
        columns = [name for name in found.column_names if name.startswith("max.")]
        return frozenset(name.removeprefix("max.") for name in columns if found.column(name).null_count < found.num_rows)

    @property
    def format(self) -> int:
        """The mark of a table of our own; 0 where there is none."""
        return format_of(self.log)

    @property
    def partitioned(self) -> bool:
        """Whether it has partition columns."""
        return bool(self.log.metadata().partition_columns)

    @property
    def retention(self) -> timedelta:
        """How long the table itself asks for files to be kept (`delta.deletedFileRetentionDuration`); zero where it says nothing."""
        asked = self.log.metadata().configuration.get("delta.deletedFileRetentionDuration")
        if asked is None:
            return timedelta(0)
        found = _INTERVAL.fullmatch(asked.strip().lower())
        # A length that cannot be read is no reason to take files away.
        return timedelta(**{f"{found[2]}s": int(found[1])}) if found else _FOR_EVER

    def paths(self, version: int) -> frozenset[str]:
        """Paths of a version's files, below the table's folder.

        Raises:
            TableNotFound: The log no longer holds the version.
        """
        if version not in self._paths:
            try:
                log = self.log if version == self.log.version() else deltalake.DeltaTable(self.place, version=version)
            except DeltaError as error:
                raise TableNotFound(f"version {version} of `{self.name}`, which its log no longer holds", mend="read a newer one") from error
            self._paths[version] = frozenset(map(_stored, pa.table(log.get_add_actions()).column("path").to_pylist()))
        return self._paths[version]

    def lost(self, version: int) -> bool:
        """Whether a version can no longer be read: its log or one of its files is gone.

        Only files that left the table since are looked for: retention takes no other.
        """
        try:
            left = self.paths(version) - self.paths(self.log.version())
        except TableNotFound:
            return True
        return any(info.type == FileType.NotFound for info in self._folder.get_file_info(sorted(left)))

    def removable(self, retain: timedelta) -> frozenset[str]:
        """Paths of the files that a vacuum would take: of no version for longer than that, or of none at all; deletion vectors apart."""
        return self._strays(retain) - self.old_vectors(retain)

    def old_vectors(self, retain: timedelta) -> frozenset[str]:
        """Paths of the files of deletion vectors that are older than that: those that are in force among them, which the library cannot tell."""
        return frozenset(path for path in self._strays(retain) if path.rpartition("/")[2].startswith("deletion_vector_"))

    def sizes(self, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Bytes and time of last change (milliseconds) of those of some files that are there."""
        found = self._folder.get_file_info(sorted(paths))
        return {info.path: (info.size or 0, int((info.mtime_ns or 0) // 1_000_000)) for info in found if info.type == FileType.File}

    @property
    def changes(self) -> frozenset[str]:
        """Paths of the files of the change data feed, which no version of the table's rows needs."""
        found = self._folder.get_file_info(FileSelector("_change_data", recursive=True, allow_not_found=True))
        return frozenset(info.path for info in found if info.type == FileType.File)

    @property
    def deletion_vectors(self) -> int:
        """Files of the newest version some of whose rows are hidden by one."""
        if "deletionVectors" not in (self.log.protocol().reader_features or ()):
            return 0
        return sum(batch.num_rows for batch in self.log.deletion_vectors())

    @property
    def commits_since_checkpoint(self) -> int:
        """Commits that a reader has to read one by one."""
        names = [info.base_name for info in self._folder.get_file_info(FileSelector("_delta_log", allow_not_found=True))]
        last = max((int(found[1]) for name in names if (found := _CHECKPOINT.match(name))), default=-1)
        return sum(int(found[1]) > last for name in names if (found := _COMMIT.fullmatch(name)))

    def added_since_clustered(self, columns: Sequence[str]) -> frozenset[str]:
        """Paths of live files that came after the table was last clustered by these columns; all of them where it never was.

        The log keeps its own history for thirty days, unless told otherwise: what is older counts as never.
        """
        live = self.paths(self.log.version())
        for entry in history(self._tables._log(self.name), None):
            by = entry.get("operationParameters", {}).get("zOrderBy")
            if by is not None and json.loads(by) == list(columns):
                try:
                    return live - self.paths(int(entry["version"]))
                except TableNotFound:
                    return live
        return live

    def _strays(self, retain: timedelta) -> frozenset[str]:
        """What the library's own vacuum would take."""
        if retain not in self._found:
            hours = -(-retain // timedelta(hours=1))
            found = self.log.vacuum(retention_hours=hours, dry_run=True, enforce_retention_duration=False, full=True)
            self._found[retain] = frozenset(path.removeprefix(f"{self.place.rstrip('/')}/") for path in found)
        return self._found[retain]

    @cached_property
    def _actions(self) -> pa.Table:
        return pa.table(self.log.get_add_actions(flatten=True))

    @cached_property
    def _folder(self) -> FileSystem:
        return _filesystem(self.place)


def table_names(tables: TableReader) -> tuple[str, ...]:
    """Names of the Delta tables of a warehouse, those that this store can address, in order."""
    return tuple(sorted(name for name in _listed(tables) if _NAME.fullmatch(name)))


def _listed(tables: TableReader) -> Iterator[str]:
    warehouse = tables.warehouse
    if warehouse.catalog is not None:
        yield from _shown(tables, warehouse.catalog)
        return
    root = for_python(warehouse.root or "")
    folder = Path(root.removeprefix("file://"))
    if "://" in root.removeprefix("file://"):
        names = [info.base_name for info in _filesystem(root).get_file_info(FileSelector("", allow_not_found=True))]
    else:
        names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    # A log folder of a killed writer has no commit yet: no table.
    yield from (name for name in names if _NAME.fullmatch(name) and tables.exists(name))


def _shown(tables: TableReader, catalog: str) -> Iterator[str]:
    """The tables of a catalog's schema: two statements, while `listTables` asks for each table and fails over one that is broken."""
    schema = ".".join(map(quote, catalog.split(".")))
    views = {row["viewName"] for row in tables.spark.sql(f"SHOW VIEWS IN {schema}").where("not isTemporary").collect()}
    found = tables.spark.sql(f"SHOW TABLES IN {schema}").where("not isTemporary").collect()
    yield from (row["tableName"] for row in found if row["tableName"] not in views)


def _filesystem(place: str) -> FileSystem:
    """Local files are read by Arrow itself, those of an object store as the library reads them."""
    return PyFileSystem(DeltaStorageHandler(place)) if "://" in place else SubTreeFileSystem(place, LocalFileSystem())


def _stored(path: str) -> str:
    """A path as it is stored: in the log it stands as part of an address, in which `%` and other characters are escaped."""
    return unquote(path)


def _live(action: dict[str, Any]) -> LiveFile:
    partition = ", ".join(f"{name.removeprefix('partition.')}={value}" for name, value in sorted(action.items()) if name.startswith("partition."))
    return LiveFile(_stored(str(action["path"])), int(action["size_bytes"]), action["num_records"], partition)
