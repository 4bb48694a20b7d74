"""What the log of a table tells, and its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlparse

import deltalake
import deltalake.exceptions
import pyarrow as pa
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from feature_store.address import for_python
from feature_store.delta.commits import Commit, Transaction, notes
from feature_store.errors import ContractError, RetryableError, TableNotFound, first_line
from feature_store.names import Warehouse
from feature_store.records import Snapshot

__all__ = ["ERASED", "FORMAT", "FORMAT_VERSION", "TableReader", "format_of"]

FORMAT_VERSION = 1
FORMAT = "sparkml_ops.format"
# On an immutable table of which rows were erased: its newest version stands for each earlier one, whose files are gone.
ERASED = "sparkml_ops.erased"
_HISTORY = 50
_OWN_ROWS = "# Detailed Table Information"


class TableReader:
    """Delta tables of one warehouse, addressed by logical name.

    Args:
        spark: The session that reads and writes, or a function that gives it when it is first needed:
            looking up a finished run under a warehouse root needs none.
        warehouse: Where the tables lie.
    """

    def __init__(self, spark: SparkSession | Callable[[], SparkSession], warehouse: Warehouse) -> None:
        self._session_source, self.warehouse = spark, warehouse

    @cached_property
    def spark(self) -> SparkSession:
        """The session that reads and writes."""
        source = self._session_source
        return source() if callable(source) else source

    def exists(self, name: str) -> bool:
        """Whether the table is there."""
        if self.warehouse.catalog is not None:
            return self.spark.catalog.tableExists(self.warehouse.qualified(name))
        return _there(name, for_python(self.warehouse.path(name)))

    def location(self, name: str) -> str:
        """Where the table's files lie, as Python reads it: a local path or an address.

        Raises:
            TableNotFound: There is no such table.
        """
        if self.warehouse.catalog is None:
            path = for_python(self.warehouse.path(name))
            if not _there(name, path):
                raise TableNotFound(f"no table `{name}` under {self.warehouse.root}", mend="build it first, or correct its name")
            return path
        if not self.exists(name):
            raise TableNotFound(f"no table `{name}` in {self.warehouse.catalog}", mend="build it first, or correct its name")
        place = self._place(name)
        url = urlparse(place)
        return unquote(url.path) if url.scheme in ("", "file") else for_python(place)

    def newest(self, name: str) -> Snapshot:
        """The newest version.

        Raises:
            TableNotFound: There is no such table.
        """
        return Snapshot(name, self._log(name).version())

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The rows of a version; of the newest one, resolved now, without `version`.

        Raises:
            TableNotFound: No such table, or the version is no longer (or not yet) there.
        """
        log = self._log(name)
        found = log.version()
        if version is not None and not 0 <= version <= found:
            raise TableNotFound(f"version {version} of `{name}` asked for", expected=f"0 to {found}", mend="read a version that exists")
        self._check_format(name, log)
        version = None if ERASED in log.metadata().configuration else version
        reader = self.spark.read.format("delta").option("versionAsOf", str(found if version is None else version))
        return reader.load(self.warehouse.path(name)) if self.warehouse.catalog is None else reader.table(self.warehouse.qualified(name))

    def properties(self, name: str) -> dict[str, str]:
        """The table's properties, from the log."""
        return dict(self._log(name).metadata().configuration)

    def standing(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot that can be read for a pinned one: the newest, where rows of an immutable table were erased, else the same."""
        log = self._log(snapshot.table)
        return Snapshot(snapshot.table, log.version()) if ERASED in log.metadata().configuration else snapshot

    def details(self, name: str) -> Commit:
        """The newest of the last commits that was made through this class; the newest of all, without details, where none was.

        Raises:
            TableNotFound: There is no such table.
        """
        log = self._log(name)
        for version, note in notes(log, limit=_HISTORY):
            return Commit(Snapshot(name, version), note.get("details", {}), fresh=False)
        return Commit(Snapshot(name, log.version()), fresh=False)

    def noted(self, name: str, key: str) -> Iterator[Commit]:
        """Those of the last commits whose details have a key, newest first.

        Raises:
            TableNotFound: There is no such table.
        """
        for version, note in notes(self._log(name), limit=_HISTORY):
            if key in (details := note.get("details", {})):
                yield Commit(Snapshot(name, version), details, fresh=False)

    def partition_values(self, snapshot: Snapshot, column: str) -> frozenset[str]:
        """Values of a partition column in a version, from the log."""
        log = deltalake.DeltaTable(self.location(snapshot.table), version=snapshot.version)
        return frozenset(str(value) for value in pa.table(log.get_add_actions(flatten=True)).column(f"partition.{column}").to_pylist())

    def landed_among(self, name: str, apps: Mapping[str, str]) -> frozenset[str]:
        """Those of some application ids whose transaction has landed in a table, by what they stand for.

        Args:
            apps: Application id to what it stands for.
        """
        if not apps or not self.exists(name):
            return frozenset()
        log = self._log(name)
        return frozenset(meant for app, meant in apps.items() if log.transaction_version(app) is not None)

    def identity(self, name: str) -> str:
        """What tells the table from another one that took its name, from the log.

        Raises:
            TableNotFound: There is no such table.
        """
        return str(self._log(name).metadata().id)

    def keeps_feed(self, name: str) -> bool:
        """Whether the table's changes are recorded as a feed, from the log.

        Raises:
            TableNotFound: There is no such table.
        """
        return self._log(name).metadata().configuration.get("delta.enableChangeDataFeed") == "true"

    def partitioned_by(self, name: str) -> tuple[str, ...]:
        """The partition columns, from the log.

        Raises:
            TableNotFound: There is no such table.
        """
        return tuple(self._log(name).metadata().partition_columns)

    def schema(self, name: str, version: int | None = None) -> StructType:
        """The columns of a version, from the log; of the newest one without `version`.

        Raises:
            TableNotFound: No such table, or the version is not there.
        """
        log = self._log(name)
        if version is not None and ERASED not in log.metadata().configuration:
            if not 0 <= version <= (found := log.version()):
                raise TableNotFound(f"version {version} of `{name}` asked for", expected=f"0 to {found}", mend="read a version that exists")
            log = log if version == found else deltalake.DeltaTable(self.location(name), version=version)
        return StructType.fromJson(json.loads(log.schema().to_json()))

    def known_schema(self, name: str) -> StructType:
        """The newest version's columns, from the log, of a table that this version may write to.

        Raises:
            TableNotFound: There is no such table.
            ContractError: It is of a newer format.
        """
        log = self._log(name)
        self._check_format(name, log)
        return StructType.fromJson(json.loads(log.schema().to_json()))

    def columns(self, name: str) -> dict[str, str]:
        """Names and types (Spark's short form) of the newest version's columns, from the log."""
        return {field.name: field.dataType.simpleString() for field in self.schema(name)}

    def rows(self, name: str, where: Mapping[str, str | Sequence[str]] | None = None) -> list[dict[str, Any]]:
        """The rows of a small table of our own (ledger, registry, events), read without a Spark job.

        Args:
            where: Text column to the value that its rows have, or to some values of which they have one.
        """
        filters = [(column, "=", value) if isinstance(value, str) else (column, "in", list(value)) for column, value in (where or {}).items()]
        log = self._log(name)
        self._check_format(name, log)
        # The library's own file system is Python: an Arrow thread that still reads ahead in it when the
        # interpreter ends brings the process down. Local files are read by Arrow itself.
        place = self.location(name)
        local = None if "://" in place else SubTreeFileSystem(place, LocalFileSystem())
        return list(log.to_pyarrow_table(filters=filters or None, filesystem=local).to_pylist())

    def landed(self, name: str, transaction: Transaction) -> Commit | None:
        """The commit of a transaction, or None where it never landed.

        Raises:
            ContractError: A later version of the same application id has landed: Delta would skip this one.
        """
        if not self.exists(name):
            return None
        log = self._log(name)
        last = log.transaction_version(transaction.app)
        if last is None or last < transaction.version:
            return None
        if last > transaction.version:
            raise ContractError(
                f"transaction {transaction.app} at version {last}", expected=f"at most {transaction.version}", mend="use a higher generation"
            )
        for version, note in notes(log, limit=None):
            if note.get("transaction") == [transaction.app, transaction.version]:
                return Commit(Snapshot(name, version), note.get("details", {}), fresh=False)
        return Commit(Snapshot(name, log.version()), fresh=False)

    def _place(self, name: str) -> str:
        """Where a catalog keeps a table, by the catalog's own entry: DESCRIBE DETAIL counts files, in a job after each commit."""
        told = self.spark.sql(f"DESCRIBE TABLE EXTENDED {self.warehouse.qualified(name)}").collect()
        names = [row["col_name"] for row in told]
        # A column may be called so as well: the table's own rows follow this title.
        first = names.index(_OWN_ROWS) if _OWN_ROWS in names else len(names)
        place = next((row["data_type"] for row in told[first:] if row["col_name"] == "Location"), None)
        if place is None:
            place = self.spark.sql(f"DESCRIBE DETAIL {self.warehouse.qualified(name)}").collect()[0]["location"]
        return str(place)

    def _find(self, name: str, token: str) -> Commit | None:
        if not self.exists(name):
            return None
        for version, note in notes(self._log(name), limit=_HISTORY):
            if note.get("token") == token:
                return Commit(Snapshot(name, version), note["details"])
        return None

    def _log(self, name: str) -> deltalake.DeltaTable:
        place = self.location(name)
        with _reading(name, place):
            return deltalake.DeltaTable(place)

    def _check_format(self, name: str, log: deltalake.DeltaTable) -> None:
        found = format_of(log)
        if found > FORMAT_VERSION:
            raise ContractError(f"table `{name}` in format {found}", expected=f"format {FORMAT_VERSION} or older", mend="upgrade sparkml-ops")

    @staticmethod
    def _own_properties() -> dict[str, str]:
        """What marks a table of our own."""
        return {FORMAT: str(FORMAT_VERSION)}


def format_of(log: deltalake.DeltaTable) -> int:
    """The format that a table is marked with; 0 where it has no mark."""
    return int(log.metadata().configuration.get(FORMAT) or 0)


def _there(name: str, place: str) -> bool:
    with _reading(name, place):
        return deltalake.DeltaTable.is_deltatable(place)


@contextmanager
def _reading(name: str, place: str) -> Iterator[None]:
    """Say what is wrong with a log that the library cannot open."""
    try:
        yield
    except deltalake.exceptions.DeltaError as error:
        # The library's own words end in a trace of its threads.
        raise ContractError(
            f"an unreadable log of table `{name}` ({first_line(error)})",
            expected=f"a Delta log under {place}/_delta_log",
            mend="restore its files from a backup, or remove the table and build it again",
        ) from error
    except OSError as error:
        raise RetryableError(
            f"no answer from the store of table `{name}` ({_last_line(error)})",
            expected=f"{place} to be readable",
            mend="run again when the store is back, or correct its address and credentials",
        ) from error


def _last_line(error: Exception) -> str:
    """The cause of the causes that an object store's client lists, without its colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
