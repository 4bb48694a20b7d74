"""Who uses what the store keeps: models, prediction tables, and whatever else others record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql.types import StringType, StructField, StructType

from feature_store.delta import Tables, Transaction

__all__ = ["CONSUMERS", "Consumer", "Consumers"]

CONSUMERS = "consumers"
_SCHEMA = StructType([StructField(name, StringType(), False) for name in ("kind", "name", "version", "inputs")])


@dataclass(frozen=True)
class Consumer:
    """Something that was made from tables of the store.

    Args:
        kind: What it is, as "model" or "predictions".
        name: Its name among its kind.
        version: Its version, as text; empty where it has none.
        inputs: What it was made from: name of a table (a training set's own table too), or `kind:name` of another consumer, to
            the version that was read, None where the version is not known.

    >>> Consumer("model", "flights", "3", {"training_set_late_0f": 0}).key
    'model:flights:3'
    """

    kind: str
    name: str
    version: str = ""
    inputs: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.kind}:{self.name}:{self.version}"


class Consumers:
    """The recorded consumers of one warehouse, a row each.

    Args:
        tables: Where they are kept, as the table `consumers`.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def record(self, *consumers: Consumer) -> None:
        """Keep consumers, all in one commit; those of the same kind, name and version that are known already cost none."""
        known = {consumer.key for consumer in self.all()}
        fresh = {consumer.key: consumer for consumer in consumers if consumer.key not in known}
        if not fresh:
            return
        rows = [
            {"kind": item.kind, "name": item.name, "version": item.version, "inputs": json.dumps(dict(item.inputs), sort_keys=True)}
            for item in fresh.values()
        ]
        self._tables.add(CONSUMERS, _SCHEMA, rows, transaction=Transaction(f"consumer:{','.join(fresh)}"))

    def all(self) -> tuple[Consumer, ...]:
        """Every recorded consumer, by kind, name and version."""
        rows = self._tables.rows(CONSUMERS) if self._tables.exists(CONSUMERS) else []
        # Two drivers that record one beside different others both add it: it counts once.
        known = {consumer.key: consumer for consumer in map(_consumer, sorted(rows, key=lambda row: str(row["inputs"])))}
        return tuple(sorted(known.values(), key=lambda item: (item.kind, item.name, len(item.version), item.version)))

    def of(self, names: Iterable[str]) -> tuple[Consumer, ...]:
        """Those that were made from any of these tables."""
        wanted = set(names)
        return tuple(consumer for consumer in self.all() if wanted & set(consumer.inputs))


def _consumer(row: Mapping[str, Any]) -> Consumer:
    return Consumer(row["kind"], row["name"], row["version"], json.loads(row["inputs"]))
