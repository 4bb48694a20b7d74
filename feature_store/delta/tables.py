"""Writing of Delta tables.

Delta skips silently a transaction that landed before, so every write looks for its own token afterwards.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
from pyspark.sql import DataFrame, DataFrameWriterV2
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from feature_store import hooks
from feature_store.address import for_python
from feature_store.delta.commits import Commit, Transaction
from feature_store.delta.gate import Gate
from feature_store.delta.log import TableReader
from feature_store.delta.placed import PlacedFile, put_files
from feature_store.delta.statements import lacking, merge_statement, part_condition, stretch_predicate
from feature_store.errors import ConflictError
from feature_store.names import parse_table, quote

__all__ = ["Tables"]

_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_APP, _VERSION = "spark.databricks.delta.write.txnAppId", "spark.databricks.delta.write.txnVersion"
_ATTEMPTS = 4
_CONFLICT = re.compile(
    r"DELTA_CONCURRENT|DELTA_METADATA_CHANGED|DELTA_PROTOCOL_CHANGED|Concurrent\w+Exception|(Metadata|Protocol)ChangedException"
    r"|Commit failed: .*(oncurrent transaction|(metadata|protocol) changed)"  # as the library says it
)
_EXISTS = re.compile(r"DELTA_PATH_EXISTS|DELTA_TABLE_ALREADY_EXISTS|TABLE_OR_VIEW_ALREADY_EXISTS|already exists")
# Session settings are the only door for MERGE; left set they would swallow the next write.
_SESSION = threading.Lock()
# A transaction set in the session would be taken for its own by every other write of this process.
_WRITING = Gate()


class Tables(TableReader):
    """Delta tables of one warehouse, read and written by logical name; as `TableReader`."""

    def ensure(self, name: str, schema: StructType, *, partition_by: Sequence[str] = (), properties: Mapping[str, str] | None = None) -> None:
        """Create one of our own tables, empty, marked with the format version, unless it is there.

        Args:
            properties: Further properties of the new table.
        """
        if self.exists(name):
            return
        try:
            with hooks.passing(f"delta.create.{parse_table(name)}"):
                self._create(name, schema, partition_by, properties or {})
        except Exception:
            # Another writer was first: what was asked for is there.
            if not self.exists(name):
                raise

    def append(self, name: str, frame: DataFrame, *, transaction: Transaction | None = None, details: Mapping[str, Any] | None = None) -> Commit:
        """Add rows."""
        return self._write(name, frame, "append", {}, transaction, details)

    def add(
        self,
        name: str,
        schema: StructType,
        rows: Sequence[Mapping[str, Any]],
        *,
        transaction: Transaction | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Add a few rows to one of our own tables, made unless it is there; in a local folder without Spark, for which one row is a second's work."""
        self.ensure(name, schema)
        table = _few(schema, rows)
        if not self._local(name):
            return self.append(name, self.spark.createDataFrame(table).coalesce(1), transaction=transaction, details=details)
        return self._commit(name, lambda note: self._put(name, table, note, transaction), transaction, details)

    def put(
        self,
        name: str,
        schema: StructType,
        rows: Sequence[Mapping[str, Any]],
        where: Mapping[str, str | Sequence[str]],
        *,
        transaction: Transaction | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Write a few rows as `replace` or `append` would, the first ones with their table in one commit; to a table in a local folder without Spark.

        Args:
            where: Of `replace`; empty: rows are added.
        """
        table, condition = _few(schema, rows), part_condition(where, '"')
        if self._local(name) and self.exists(name):
            return self._commit(name, lambda note: self._put(name, table, note, transaction, condition), transaction, details)
        frame = self.spark.createDataFrame(table).coalesce(1)
        if where:
            return self.replace(name, frame, where, transaction=transaction, details=details)
        return self.append(name, frame, transaction=transaction, details=details)

    def overwrite(
        self,
        name: str,
        frame: DataFrame,
        *,
        partition_by: Sequence[str] = (),
        transaction: Transaction | None = None,
        details: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
        file_rows: int | None = None,
    ) -> Commit:
        """Replace all rows, and the schema with them.

        Args:
            settings: Session settings that hold during this write only.
            file_rows: Most rows of a file; None: as the session says.
        """
        options = {"overwriteSchema": "true", **_file_option(file_rows)}
        return self._write(name, frame, "overwrite", options, transaction, details, partition_by=partition_by, settings=settings)

    def replace(
        self,
        name: str,
        frame: DataFrame,
        where: Mapping[str, str | Sequence[str]],
        *,
        transaction: Transaction | None = None,
        details: Mapping[str, Any] | None = None,
        partition_by: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> Commit:
        """Replace exactly the rows of some partition values; an empty frame deletes them.

        Args:
            where: Partition column to value, or to some values; values are labels (letters, digits, `:._-`).
        """
        predicate = part_condition(where, "`")
        partitions = partition_by or tuple(where)
        return self._write(name, frame, "overwrite", {"replaceWhere": predicate}, transaction, details, partition_by=partitions, settings=settings)

    def place(
        self, name: str, files: Sequence[PlacedFile], where: Mapping[str, str], *, transaction: Transaction, details: Mapping[str, Any] | None = None
    ) -> Commit:
        """Replace exactly the rows of some partition values by files that lie in the table's folder already; without Spark.

        Args:
            files: Whole; their rows have been checked (`placed.refusal_of` says which tables take such files).
            where: Partition column to value.
        """
        return self._commit(name, lambda note: put_files(self, name, files, where, note, transaction), transaction, details)

    def replace_stretch(
        self,
        name: str,
        frame: DataFrame,
        between: tuple[str, int, int],
        *,
        transaction: Transaction | None = None,
        details: Mapping[str, Any] | None = None,
        file_rows: int | None = None,
    ) -> Commit:
        """Replace exactly the rows of a stretch of time.

        Args:
            frame: All columns of the table; each row lies in the stretch.
            between: A timestamp column, and the half-open range of microseconds.
            file_rows: Most rows of a file; None: as the session says.
        """
        options = {"replaceWhere": stretch_predicate(*between), **_file_option(file_rows)}
        return self._write(name, frame, "overwrite", options, transaction, details)

    def merge(
        self,
        name: str,
        frame: DataFrame,
        keys: Sequence[str],
        *,
        transaction: Transaction | None = None,
        details: Mapping[str, Any] | None = None,
        gone: str | None = None,
        between: tuple[str, int, int] | None = None,
    ) -> Commit:
        """Insert rows with new keys and update rows whose other columns differ; equal rows stay untouched.

        Keys compare null-safe. The frame must hold each key once. Columns of the table that the frame lacks stay as they are, null in new rows.

        Args:
            gone: Column of the frame, no column of the table, that is true for rows to delete.
            between: A timestamp column among the keys, and the half-open range of microseconds in which it lies in every row of the frame:
                other files are not looked at.
        """
        statement = merge_statement(self.warehouse.qualified(name), frame.columns, keys, gone=gone, between=between)

        def write(token: str) -> None:
            once = {} if transaction is None else {_APP: transaction.app, _VERSION: str(transaction.version)}
            with self._session({_METADATA: token, **once}, alone=transaction is not None):
                self.spark.sql(statement, source=frame)

        return self._commit(name, write, transaction, details)

    def widen(self, name: str, columns: Mapping[str, str]) -> Commit | None:
        """Add those columns that a table lacks, null in all rows that are there; None where it lacks none.

        Args:
            columns: Column to type, in Spark's short form.

        Raises:
            ContractError: A column is there with another type.
        """
        added = lacking(name, self.columns(name), columns)
        if not added:
            return None

        def write(token: str) -> None:
            with self._session({_METADATA: token}):
                self.spark.sql(f"ALTER TABLE {self.warehouse.qualified(name)} ADD COLUMNS ({', '.join(added)})")

        return self._commit(name, write, None, {"kind": "widen", "columns": added})

    def _create(self, name: str, schema: StructType, partition_by: Sequence[str], properties: Mapping[str, str]) -> None:
        if self.warehouse.catalog is None:
            # Not by Spark: it takes an empty log folder, of a killed or of a faster writer, for a table that is there.
            # Without retries: a second commit of the same metadata would make a new version.
            deltalake.DeltaTable.create(
                for_python(self.warehouse.path(name)),
                deltalake.Schema.from_json(schema.json()),
                partition_by=list(partition_by),
                configuration={**self._own_properties(), **properties},
                commit_properties=deltalake.CommitProperties(max_commit_retries=0),
                raise_if_key_not_exists=False,
            )
            return
        with self._session({}):
            self._new(name, self.spark.createDataFrame([], schema), partition_by, properties).create()

    def _new(self, name: str, frame: DataFrame, partition_by: Sequence[str], properties: Mapping[str, str] | None = None) -> DataFrameWriterV2:
        """What makes a table of our own, with the rows of a frame."""
        writer = frame.writeTo(self.warehouse.qualified(name)).using("delta")
        for key, value in {**self._own_properties(), **(properties or {})}.items():
            writer = writer.tableProperty(key, value)
        return writer.partitionedBy(*(F.col(quote(column)) for column in partition_by)) if partition_by else writer

    def _begun(self, name: str) -> bool:
        """Whether Spark could not make the table with its first rows.

        It takes an empty log folder, of a killed writer, for a table that is there. And a Connect server writes down the collation of
        text, which other readers of the log do not know.
        """
        if type(self.spark).__module__.startswith("pyspark.sql.connect"):
            return True
        folder = None if self.warehouse.catalog is not None else self.warehouse.path(name)
        return folder is not None and "://" not in folder and (Path(folder) / "_delta_log").is_dir()

    def _write(
        self,
        name: str,
        frame: DataFrame,
        mode: str,
        options: Mapping[str, str],
        transaction: Transaction | None,
        details: Mapping[str, Any] | None,
        *,
        partition_by: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> Commit:
        # What is only added to or replaced in parts is a table of our own; others are made anew with their schema.
        own = "overwriteSchema" not in options

        def write(token: str) -> None:
            if own and self._begun(name):
                self.ensure(name, _plain(frame.schema), partition_by=partition_by)
            once = {} if transaction is None else {"txnAppId": transaction.app, "txnVersion": str(transaction.version)}
            creates = not self.exists(name)
            writer = frame.write.format("delta").mode(mode).options(**options, **once, userMetadata=token)
            if partition_by:
                writer = writer.partitionBy(*partition_by)
            # The commit that creates a table by its name takes its metadata from the session alone.
            by_name = creates and (own or self.warehouse.catalog is not None)
            with self._session({**(settings or {}), **({_METADATA: token} if by_name else {})}):
                if own and creates:
                    self._new(name, frame, partition_by).options(**once).create()
                elif self.warehouse.catalog is None:
                    writer.save(self.warehouse.path(name))
                else:
                    writer.saveAsTable(self.warehouse.qualified(name))

        return self._commit(name, write, transaction, details)

    def _local(self, name: str) -> bool:
        """Whether Python can commit to a table: beside Spark's commits only Spark knows how a catalog's or a store's are kept apart."""
        return self.warehouse.catalog is None and "://" not in for_python(self.warehouse.path(name))

    def _put(self, name: str, rows: pa.Table, note: str, transaction: Transaction | None, condition: str = "") -> None:
        """Commit rows without Spark: added, or in place of those that a condition names."""
        log = self._log(name)
        # Another writer's commit after this version is a conflict where it is of the same transaction.
        if transaction is not None and (log.transaction_version(transaction.app) or 0) >= transaction.version:
            return
        once = [deltalake.Transaction(transaction.app, transaction.version)] if transaction else None
        properties = deltalake.CommitProperties(custom_metadata={"userMetadata": note}, app_transactions=once)
        if condition:
            deltalake.write_deltalake(log, rows, mode="overwrite", predicate=condition, commit_properties=properties)
        else:
            deltalake.write_deltalake(log, rows, mode="append", commit_properties=properties)

    def _commit(self, name: str, write: Callable[[str], None], transaction: Transaction | None, details: Mapping[str, Any] | None) -> Commit:
        """Write with a bounded number of fresh attempts, then find the version that this call made."""
        if transaction is not None and (landed := self.landed(name, transaction)):
            return landed
        token = uuid.uuid4().hex
        note = {"token": token, "transaction": [transaction.app, transaction.version] if transaction else None, "details": dict(details or {})}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with hooks.passing(f"delta.commit.{parse_table(name)}"):
                    write(json.dumps(note, default=str))
            except Exception as error:
                # The reply may be lost while the commit landed: look before trying again.
                if found := self._find(name, token) or (self.landed(name, transaction) if transaction else None):
                    return found
                if not (_CONFLICT.search(str(error)) or _EXISTS.search(str(error))):
                    raise
                if attempt == _ATTEMPTS:
                    raise ConflictError(f"{attempt} concurrent writes to `{name}`", mend="run the verb again") from error
            else:
                break
        if found := self._find(name, token):
            return found
        if transaction is not None and (landed := self.landed(name, transaction)):
            return landed
        raise ConflictError(f"no commit of this write in the log of `{name}`", mend="run the verb again; the table is unchanged by it")

    @contextmanager
    def _session(self, settings: Mapping[str, str], *, alone: bool = False) -> Iterator[None]:
        """Hold settings of the session during a write.

        Args:
            alone: Whether no other write of this process may run meanwhile.
        """
        with _WRITING.alone() if alone else _WRITING.shared(), self._settings(settings):
            yield

    @contextmanager
    def _settings(self, settings: Mapping[str, str]) -> Iterator[None]:
        if not settings:
            yield
            return
        with _SESSION:
            before = {key: self.spark.conf.get(key, None) for key in settings}
            try:
                for key, value in settings.items():
                    self.spark.conf.set(key, value)
                yield
            finally:
                for key, previous in before.items():
                    if previous is None:
                        self.spark.conf.unset(key)
                    else:
                        self.spark.conf.set(key, previous)


def _file_option(rows: int | None) -> dict[str, str]:
    return {} if rows is None else {"maxRecordsPerFile": str(rows)}


def _few(schema: StructType, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows that the driver holds, in a table's types."""
    return pa.Table.from_pylist([dict(row) for row in rows], to_arrow_schema(schema, timezone="UTC"))


def _plain(schema: StructType) -> StructType:
    """As Delta writes a frame's schema down: all of it may be null, and text has no collation."""
    text = re.sub(r'"(nullable|containsNull|valueContainsNull)": ?false', r'"\1":true', schema.json())
    return StructType.fromJson(json.loads(text.replace("string collate UTF8_BINARY", "string")))
