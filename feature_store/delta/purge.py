"""Rows, files and log entries that go for good: what Delta otherwise keeps for its history."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import reduce
from operator import and_, or_
from typing import Any, Self

import fsspec
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store import hooks
from feature_store.delta.commits import Commit
from feature_store.delta.files import TableFiles
from feature_store.delta.folder import CHANGE, DATA, LeftFile, committed_since, empty_folders, kind_of, left_files, recent
from feature_store.delta.log import ERASED, TableReader
from feature_store.delta.tables import Tables
from feature_store.errors import RetryableError
from feature_store.names import quote

__all__ = ["Purge"]

_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
# Set while the log is shortened: the next commit makes a checkpoint, and the checkpoint forgets removed files, whose paths may hold a key.
_SHORT = {"delta.checkpointInterval": "1", "delta.deletedFileRetentionDuration": "interval 0 seconds"}
_BEFORE = "sparkml_ops.before_shortening."
_VERSION = re.compile(r"_delta_log/\.?(\d{20})\.")


class Purge(Tables):
    """Deletes rows of tables, the files that held them, and the log entries that told of them."""

    @classmethod
    def of(cls, tables: TableReader) -> Self:
        """The same warehouse in the same session."""
        return cls(lambda: tables.spark, tables.warehouse)

    def held(self, name: str, sought: DataFrame, roles: Sequence[Mapping[str, str]]) -> DataFrame:
        """The rows of the newest version that are sought, without columns: to be counted; lazy.

        Args:
            sought: One row of values.
            roles: Table column to column of `sought`; a row is meant where any of these holds altogether.
        """
        frame = self.read(name).join(F.broadcast(sought), _any(roles), "left_semi")
        return frame.select(F.lit(name).alias("table"))

    def delete(self, name: str, sought: DataFrame, roles: Sequence[Mapping[str, str]], details: Mapping[str, Any]) -> Commit:
        """Delete the rows that are sought, in one commit that does not tell their values.

        By MERGE: the log keeps a DELETE's condition, values included. As `held`.
        """

        def write(token: str) -> None:
            same = " OR ".join(
                "(" + " AND ".join(f"target.{_literal(quote(left))} = source.{_literal(quote(right))}" for left, right in role.items()) + ")"
                for role in roles
            )
            query = f"MERGE INTO {_literal(self.warehouse.qualified(name))} AS target USING {{source}} AS source ON {same} WHEN MATCHED THEN DELETE"
            with self._session({_METADATA: token}):
                self.spark.sql(query, source=sought)

        return self._commit(name, write, None, details)

    def drop_vectors(self, name: str) -> None:
        """Rewrite the files of which rows are only marked as deleted; nothing where the table has no deletion vectors."""
        protocol = self._log(name).protocol()
        if "deletionVectors" in (protocol.writer_features or ()):
            with hooks.passing("erasure.purge"):
                self.spark.sql(f"REORG TABLE {self.warehouse.qualified(name)} APPLY (PURGE)")

    def vacuum(self, name: str, *, idle: timedelta) -> int:
        """Remove every file that is not live, whatever the table's retention says.

        Args:
            idle: A file that no commit speaks of and that is younger may belong to a writer at work: it stays.

        Returns:
            The number of such files that stayed.
        """
        table = TableFiles(self, name)
        files = left_files(table.place)
        since = recent(files, idle)
        committed = committed_since(files, since)
        # The log is opened after the list was made: what a writer has committed in between is live.
        live = table.paths(table.log.version())
        rows = [file for file in files if _holder(file.name) is not None]
        young = {file.name for file in rows if file.modified >= since and _holder(file.name) not in committed}
        with hooks.passing("erasure.vacuum"):
            _remove(table.place, [file for file in rows if file.name not in young and _holder(file.name) not in live])
            for folder in empty_folders(table.place):
                folder.rmdir()
        return sum(file.kind in (DATA, CHANGE) for file in rows if file.name in young)

    def mark_erased(self, name: str, erasure: str) -> None:
        """Write into an immutable table that rows were erased: from now on its newest version stands for each earlier one."""
        if self._log(name).metadata().configuration.get(ERASED) != erasure:
            self.set_properties(name, {ERASED: erasure})

    def shorten_log(self, name: str) -> None:
        """Replace the log by a checkpoint of the newest version: entries of earlier ones, with their statistics and paths, go.

        Raises:
            RetryableError: The checkpoint was not made; the log is as it was.
        """
        before = self._log(name).metadata().configuration
        kept = {f"{_BEFORE}{key}": before[key] for key in _SHORT if key in before and before[key] != _SHORT[key]}
        # This commit stays: a refresh finds in it what the last one recorded.
        note = {"token": uuid.uuid4().hex, "transaction": None, "details": dict(self.details(name).details)}
        with self._session({_METADATA: json.dumps(note, default=str)}):
            self.set_properties(name, {**kept, **_SHORT})
        version = self._checkpointed(name)
        with hooks.passing("erasure.shorten"):
            place = self.location(name)
            files = left_files(place)
            sidecars = {path for file in files if _at(file) == version for path in _sidecars(file)}
            old = [file for file in files if _old(file, version, sidecars)]
            _remove(place, old)
        self.restore_properties(name)

    def restore_properties(self, name: str) -> None:
        """Give a table back the properties that a shortening, perhaps a killed one, has set aside."""
        now = self._log(name).metadata().configuration
        if now.get("delta.deletedFileRetentionDuration") != _SHORT["delta.deletedFileRetentionDuration"]:
            return
        aside = {key.removeprefix(_BEFORE): value for key, value in now.items() if key.startswith(_BEFORE)}
        if aside:
            self.set_properties(name, aside)
        self.unset_properties(name, [*(key for key in _SHORT if key not in aside), *(f"{_BEFORE}{key}" for key in aside)])

    def set_properties(self, name: str, properties: Mapping[str, str]) -> None:
        """Set properties of a table, in a commit without rows."""
        pairs = ", ".join(f"{_text(key)} = {_text(value)}" for key, value in properties.items())
        with hooks.passing("erasure.properties"):
            self.spark.sql(f"ALTER TABLE {self.warehouse.qualified(name)} SET TBLPROPERTIES ({pairs})")

    def unset_properties(self, name: str, keys: Sequence[str]) -> None:
        """Take properties from a table, in a commit without rows."""
        listed = ", ".join(map(_text, keys))
        with hooks.passing("erasure.properties"):
            self.spark.sql(f"ALTER TABLE {self.warehouse.qualified(name)} UNSET TBLPROPERTIES IF EXISTS ({listed})")

    def _checkpointed(self, name: str) -> int:
        """The newest version that has a checkpoint, which must be of the last commit or one after it."""
        newest = self.newest(name).version
        made = {_at(file) for file in left_files(self.location(name)) if ".checkpoint." in file.name}
        if newest not in made:
            raise RetryableError(f"no checkpoint of `{name}` at version {newest}", expected="one, by which its log can be cut", mend="run it again")
        return newest


def _literal(text: str) -> str:
    """For a query with named arguments, where braces stand for them."""
    return text.replace("{", "{{").replace("}", "}}")


def _text(value: str) -> str:
    """A property's key or value as SQL text."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _any(roles: Sequence[Mapping[str, str]]) -> Column:
    return reduce(or_, [reduce(and_, [F.col(quote(left)) == F.col(quote(right)) for left, right in role.items()]) for role in roles])


def _remove(place: str, files: Sequence[LeftFile]) -> None:
    """Take files of a table away, those in a local folder or in a store; one that another run took is no fault."""
    system, _ = fsspec.core.url_to_fs(place)
    for file in files:
        with suppress(FileNotFoundError):
            system.rm_file(file.path if "://" not in file.path else system._strip_protocol(file.path))


def _holder(name: str) -> str | None:
    """The file of rows that a file is, or that it is Hadoop's own sum of (`.<name>.crc`); None for any other."""
    folder, slash, base = name.rpartition("/")
    held = f"{folder}{slash}{base[1:-4]}" if base.startswith(".") and base.endswith(".crc") else name
    return held if kind_of(held) in (DATA, CHANGE) else None


def _at(file: LeftFile) -> int:
    found = _VERSION.match(file.name)
    return int(found[1]) if found else -1


def _old(file: LeftFile, version: int, sidecars: set[str]) -> bool:
    if file.name.startswith("_delta_log/_sidecars/"):
        return file.name.rsplit("/", 1)[-1].removeprefix(".").removesuffix(".crc") not in sidecars
    return 0 <= _at(file) < version


def _sidecars(file: LeftFile) -> list[str]:
    """Names of the files that a checkpoint consists of besides itself."""
    if not file.name.endswith(".parquet") or ".checkpoint." not in file.name:
        return []
    with fsspec.open(file.path, "rb") as source:
        checkpoint = pq.ParquetFile(source)
        if "sidecar" not in checkpoint.schema_arrow.names:
            return []
        rows = checkpoint.read(columns=["sidecar"]).column("sidecar").to_pylist()
    return [str(row["path"]).rsplit("/", 1)[-1] for row in rows if row]
