"""Rows that a team writes to a feature table: checked, judged, merged in one commit."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from feature_store.contract import check_rows, check_schema, check_types
from feature_store.delta import Tables
from feature_store.difference import unlike
from feature_store.erasure import without_forgotten
from feature_store.names import quote
from feature_store.pii import without_statistics
from feature_store.quality.checked import Checked, checked
from feature_store.records import Snapshot
from feature_store.table import FeatureTable

__all__ = ["write"]


def write(tables: Tables, table: FeatureTable, frame: DataFrame, as_of: datetime) -> Snapshot:
    """Merge rows on the table's identity; `FeatureStore.write` says what is refused.

    Args:
        tables: Where the table lies.
        table: The declared table.
        frame: Exactly its columns, in any order.
        as_of: The instant from which an expectation of freshness counts.
    """
    what = f"the rows for `{table.table_name}`"
    check_schema(table, frame, what)
    frame = without_forgotten(tables, frame.select(*(F.col(quote(column)) for column in table.columns)))
    check_rows(table, frame, what)
    stored = _stored(tables, table, frame, what)
    kept = checked(tables, table, frame, what=what, as_of=as_of, unit="write", whole=False, beside=stored)
    without_statistics(tables, table.table_name, frame.schema, table.pii)
    return _merged(tables, table, kept, stored)


def _merged(tables: Tables, table: FeatureTable, kept: Checked, stored: DataFrame | None) -> Snapshot:
    name, details, fresh = table.table_name, {"kind": "write", "definition": table.definition_hash, **kept.details}, kept.rows
    if stored is None:
        # A merge into the empty table, not an append: two first writers of the same rows must not both add them.
        tables.ensure(name, StructType([StructField(item.name, item.dataType) for item in fresh.schema.fields]))
    else:
        fresh = unlike(fresh, stored, table.merge_keys)
        if fresh.isEmpty():
            if kept.transaction is None:
                return tables.newest(name)
            # Nothing but the rows that were kept apart is new: they count by a commit without rows.
            return tables.append(name, fresh.limit(0), transaction=kept.transaction, details=details).snapshot
    return tables.merge(name, fresh, table.merge_keys, transaction=kept.transaction, details=details).snapshot


def _stored(tables: Tables, table: FeatureTable, frame: DataFrame, what: str) -> DataFrame | None:
    """The rows that are there, with columns for features that were added since; None without a table."""
    name = table.table_name
    if not tables.exists(name):
        return None
    stored = tables.read(name)
    types = {item.name: item.dataType.simpleString() for item in stored.schema.fields if item.name in table.columns}
    check_types(types, frame.schema, what)
    if len(types) == len(table.columns):
        return stored
    tables.widen(name, {item.name: item.dataType.simpleString() for item in frame.schema.fields})
    return tables.read(name)
