"""Columns with personal data carry no file statistics: else the log keeps a key that is the least or greatest of its file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from pyspark.sql.types import DateType, NumericType, StringType, StructField, StructType, TimestampNTZType, TimestampType

from feature_store.delta import Purge, Tables
from feature_store.lookup import Lookup
from feature_store.names import quote
from feature_store.registry import Registry

__all__ = ["marked_personal", "personal_columns", "stated_columns", "statistics_properties", "without_statistics"]

_COLUMNS, _NUMBER = "delta.dataSkippingStatsColumns", "delta.dataSkippingNumIndexedCols"
_OWN = "sparkml_ops.personal"
# Delta refuses a list that names a column of another type.
_BOUNDED = (NumericType, DateType, TimestampType, TimestampNTZType, StringType)


def personal_columns(registry: Registry, lookups: Iterable[Lookup]) -> frozenset[str]:
    """Columns of joined rows that hold personal data: the spine's keys of a table that marks its own, and features that it marks."""
    found: set[str] = set()
    for lookup in lookups:
        table = registry.find(lookup.table) if isinstance(lookup.table, str) else None
        if table is not None:
            taken = lookup.features or tuple(item.name for item in table.features)
            found |= {left for left, right in lookup.pairs if right in table.pii}
            found |= {lookup.prefix + name for name in taken if name in table.pii}
    return frozenset(found)


def statistics_properties(fields: Iterable[StructField], personal: Collection[str], partition_by: Sequence[str] = ()) -> dict[str, str]:
    """The table properties that leave personal data out of the statistics of a table with some columns, and of those that it gets later.

    >>> spend = StructType().add("customer", "string").add("at", "timestamp").add("sum", "double").add("first", "boolean")
    >>> statistics_properties(spend.fields, {"customer"})["delta.dataSkippingStatsColumns"]
    '`at`,`sum`'
    """
    shown = [item.name for item in fields if item.name not in (*personal, *partition_by) and isinstance(item.dataType, _BOUNDED)]
    kept = {_COLUMNS: ",".join(map(quote, shown))} if shown else {_NUMBER: "0"}
    return {**kept, _OWN: json.dumps(sorted(personal))}


def marked_personal(tables: Tables, name: str) -> frozenset[str]:
    """The columns of a table that were marked as personal when it was written."""
    return frozenset(json.loads(tables.properties(name).get(_OWN, "[]")))


def stated_columns(tables: Tables, name: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Those of some columns whose least and greatest values the log of a table may keep, by the table's properties."""
    found = tables.properties(name)
    if found.get(_NUMBER) == "0":
        return ()
    listed = found.get(_COLUMNS)
    personal = json.loads(found.get(_OWN, "[]"))
    return tuple(item for item in columns if item not in personal and (listed is None or item in listed.split(",") or quote(item) in listed))


def without_statistics(
    tables: Tables, name: str, schema: StructType, personal: Collection[str], partition_by: Sequence[str] = (), *, overwritten: bool = False
) -> None:
    """Make sure, before rows are written, that columns with personal data get no statistics; costs nothing where there are none.

    Args:
        name: The table.
        schema: The columns that are written.
        personal: Which of them hold personal data; others are ignored.
        partition_by: Its partition columns, whose values stand in the log as they are.
        overwritten: Whether the table will have these columns and no others.
    """
    hidden = {*personal} & {*schema.names}
    if not hidden:
        return
    if not tables.exists(name):
        plain = StructType([StructField(item.name, item.dataType) for item in schema.fields])
        tables.ensure(name, plain, partition_by=partition_by, properties=statistics_properties(plain.fields, hidden, partition_by))
        return
    if not overwritten:
        hidden |= marked_personal(tables, name)
    # Delta refuses a list with a column that the table is yet to get, which has its bounds from the next write on, or is about to lose.
    there = [item for item in tables.schema(name).fields if not overwritten or item.name in schema.names]
    wanted = statistics_properties(there, hidden, partition_by)
    if not wanted.items() <= tables.properties(name).items():
        Purge.of(tables).set_properties(name, wanted)
