"""Delta's own statements of upkeep: merge files, cluster, vacuum, mark. None of them changes a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from pyspark.sql.types import BooleanType, LongType, StringType, StructField, StructType

from feature_store import hooks
from feature_store.address import for_spark
from feature_store.delta.files import TableFiles
from feature_store.delta.tables import Tables
from feature_store.names import parse_table, quote

__all__ = ["Upkeep"]

_INVENTORY = StructType(
    [
        StructField("path", StringType()),
        StructField("length", LongType()),
        StructField("isDir", BooleanType()),
        StructField("modificationTime", LongType()),
    ]
)


class Upkeep:
    """Statements of upkeep for the tables of one warehouse, by path and by catalog.

    Args:
        tables: Where they lie.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def compact(self, name: str, *, small: int, target: int, by: Sequence[str] = ()) -> None:
        """Merge files below `small` bytes into files of up to `target` bytes.

        Args:
            by: Columns by which all rows of the table are laid anew, those with like values into the same files; none: no row moves.
        """
        ordered = f" ZORDER BY ({', '.join(map(quote, by))})" if by else ""
        settings = {"minFileSize": str(small), "maxFileSize": str(target)}
        self._run(name, f"OPTIMIZE {self._name(name)}{ordered}", {f"spark.databricks.delta.optimize.{key}": value for key, value in settings.items()})

    def vacuum(self, name: str, retain: timedelta, *, hold: Collection[str] = ()) -> None:
        """Take the files away that no version has needed for `retain`.

        Args:
            hold: Paths below the table's folder that stay whatever their age.
        """
        hours = -(-retain // timedelta(hours=1))
        # The length of the retention was decided by the caller. Without a note in the log: nothing in the table has changed, and
        # what is computed from its newest version would be computed again.
        settings = {"retentionDurationCheck.enabled": "false", "vacuum.logging.enabled": "false"}
        options = {f"spark.databricks.delta.{key}": value for key, value in settings.items()}
        free = self._free(name, retain, hold)
        if not free:
            return
        # Delta looks at no other file than those of the list, and takes none of these that a version still needs. Its own listing of a
        # folder is a job of two hundred tasks, however few files lie there.
        view = f"upkeep_{parse_table(name)}"
        self._tables.spark.createDataFrame(free, _INVENTORY).createOrReplaceTempView(view)
        try:
            listed = f"SELECT path, length, isDir, modificationTime FROM {quote(view)}"
            self._run(name, f"VACUUM {self._name(name)} USING INVENTORY ({listed}) RETAIN {hours} HOURS", options)
        finally:
            self._tables.spark.catalog.dropTempView(view)

    def mark(self, name: str) -> None:
        """Mark a table of our own with the format that this version writes."""
        listed = ", ".join(f"'{key}' = '{value}'" for key, value in self._tables._own_properties().items())
        self._run(name, f"ALTER TABLE {self._name(name)} SET TBLPROPERTIES ({listed})", {})

    def _run(self, name: str, statement: str, settings: dict[str, str]) -> None:
        with hooks.passing(f"delta.upkeep.{parse_table(name)}"), self._tables._session(settings):
            self._tables.spark.sql(statement)

    def _name(self, name: str) -> str:
        return self._tables.warehouse.qualified(name)

    def _free(self, name: str, retain: timedelta, hold: Collection[str]) -> list[tuple[str, int, bool, int]]:
        """The files that may go, as Delta takes a list of them."""
        files = TableFiles(self._tables, name)
        place = for_spark(files.place) if "://" in files.place else f"file:{files.place}"
        # Which deletion vectors a held version needs is not known: then all of them stay.
        vectors = files.old_vectors(retain) if not hold else frozenset[str]()
        free = files.sizes((files.removable(retain) | files.changes | vectors) - set(hold))
        return [(f"{place.rstrip('/')}/{path}", size, False, changed) for path, (size, changed) in free.items()]
