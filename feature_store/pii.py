"""Columns with personal data carry no file statistics: else the log keeps a key that is the least or greatest of its file."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql.types import StructField, StructType

from feature_store.delta import Purge, Tables
from feature_store.names import quote
from feature_store.table import FeatureTable

__all__ = ["statistics_properties", "without_statistics"]

_COLUMNS, _NUMBER = "delta.dataSkippingStatsColumns", "delta.dataSkippingNumIndexedCols"


def statistics_properties(columns: Iterable[str], pii: Iterable[str]) -> dict[str, str]:
    """The table property that leaves personal data out of file statistics; none where there is nothing to leave out.

    >>> statistics_properties(("customer", "at", "sum"), ("customer",))
    {'delta.dataSkippingStatsColumns': '`at`,`sum`'}
    """
    hidden, names = set(pii), list(columns)
    if not hidden & set(names):
        return {}
    shown = [name for name in names if name not in hidden]
    return {_COLUMNS: ",".join(map(quote, shown))} if shown else {_NUMBER: "0"}


def without_statistics(tables: Tables, table: FeatureTable, schema: StructType) -> None:
    """Make sure, before rows are written, that a table's PII columns get no statistics; costs nothing where it marks none.

    Args:
        tables: Where it lies.
        table: The declaration, with its `pii`.
        schema: The columns that it is made with, where it is not there yet.
    """
    wanted = statistics_properties(schema.names, table.pii)
    if not wanted:
        return
    name = table.table_name
    if not tables.exists(name):
        tables.ensure(name, StructType([StructField(item.name, item.dataType) for item in schema.fields]), properties=wanted)
    elif not wanted.items() <= tables.properties(name).items():
        Purge.of(tables).set_properties(name, wanted)
