"""Rows that were kept out of a feature table, with their reasons.

Delta has no transaction over two tables. So the rows are written first, under the name of a write, and the commit of the
feature table carries that name as an application transaction: readers count only rows of a write that landed. A writer killed
between the two leaves rows that nobody sees; its repeat finds them there, and lands them. A writer killed after both finds them
landed, and adds nothing. Transactions stay in a table's snapshot however old its log files are.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.delta import Tables, Transaction
from feature_store.difference import unlike
from feature_store.names import quote
from feature_store.pii import without_statistics
from feature_store.table import QUARANTINE_COLUMNS, FeatureTable

__all__ = ["REASONS", "WRITE", "Quarantine"]

REASONS, WRITE = QUARANTINE_COLUMNS


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of one feature table, `<table>_quarantine`.

    Args:
        tables: Where both lie.
        table: The feature table.
    """

    tables: Tables
    table: FeatureTable

    @property
    def name(self) -> str:
        """Logical name of the table that holds the rows, a partition for each write."""
        version = "" if self.table.version == 1 else f"@v{self.table.version}"
        return f"{self.table.name}_quarantine{version}"

    def keep(self, bad: DataFrame, write: str) -> Transaction | None:
        """Store bad rows that are not there yet.

        Args:
            bad: The rows, with `REASONS`; at least one.
            write: Names the write: the same for a repeat over the same table and rows, and for no other.

        Returns:
            What the table's commit must carry for them to count; None where there was nothing to add.
        """
        if self.tables.exists(self.name):
            self.tables.widen(self.name, {item.name: item.dataType.simpleString() for item in bad.schema.fields})
            bad = unlike(bad, self.read(), self.table.merge_keys)
            if bad.isEmpty():
                return None
        transaction, marked = _transaction(write), bad.withColumn(WRITE, F.lit(write))
        without_statistics(self.tables, self.name, marked.schema, self.table.pii, (WRITE,))
        self.tables.replace(self.name, marked, {WRITE: write}, transaction=transaction)
        return transaction

    def read(self) -> DataFrame:
        """The rows of writes that landed, with `REASONS` and `WRITE`.

        Raises:
            TableNotFound: No row was ever kept apart.
        """
        pinned = self.tables.newest(self.name)
        writes = self.tables.partition_values(pinned, WRITE)
        landed = self.tables.landed_among(self.table.table_name, {_transaction(write).app: write for write in writes})
        rows = self.tables.read(self.name, pinned.version)
        pending = sorted(writes - landed)
        return rows.where(~F.col(quote(WRITE)).isin(*pending)) if pending else rows


def _transaction(write: str) -> Transaction:
    return Transaction(f"quarantine:{write}")
