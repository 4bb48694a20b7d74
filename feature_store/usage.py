"""Who would miss something of a feature table: tables computed from it, training sets, models and whatever else is recorded."""

from __future__ import annotations

from collections.abc import Collection

from feature_store.consumers import Consumers
from feature_store.delta import Tables
from feature_store.table import FeatureTable
from feature_store.training_set import TrainingSets

__all__ = ["users_of"]


def users_of(tables: Tables, registered: Collection[FeatureTable], table: FeatureTable, columns: Collection[str] | None = None) -> tuple[str, ...]:
    """Names of those who use a table, with what they are.

    Args:
        tables: The warehouse.
        registered: Its feature tables.
        table: Whose users are asked for.
        columns: Only training sets that hold one of these; None: all. Others do not say which columns they use.
    """
    name = table.table_name
    computed = [f"feature table {item.table_name}" for item in registered if item.source == name and item.table_name != name]
    sets = TrainingSets(tables).using(name, columns)
    made = {f"training_set_{identity}" for identity in sets}
    consumers = [" ".join(filter(None, (item.kind, item.name, item.version))) for item in Consumers(tables).of({name, *made})]
    return (*computed, *(f"training set {identity}" for identity in sets), *consumers)
