"""Units of joined columns, as feature tables declare them."""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.lookup import Lookup
from feature_store.registry import Registry

__all__ = ["declared_units"]


def declared_units(registry: Registry, lookups: Iterable[Lookup]) -> dict[str, str]:
    """Unit of each column that lookups add and whose table declares one; a lookup of a frame declares none."""
    units = {}
    for lookup in lookups:
        table = registry.find(lookup.table) if isinstance(lookup.table, str) else None
        for feature in table.features if table is not None else ():
            if feature.unit is not None and (not lookup.features or feature.name in lookup.features):
                units[lookup.prefix + feature.name] = feature.unit
    return units
