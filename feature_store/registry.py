"""What has been declared: an append-only Delta table of definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql.types import IntegerType, StringType, StructField, StructType

from feature_store.delta import Tables
from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean
from feature_store.table import FeatureTable, meaning_of
from feature_store.transform import Function

__all__ = ["Registry"]

_TABLE = "feature_tables"
_SCHEMA = StructType(
    [
        StructField("name", StringType(), False),
        StructField("version", IntegerType(), False),
        StructField("revision", IntegerType(), False),
        StructField("definition", StringType(), False),
        StructField("hash", StringType(), False),
    ]
)


class Registry:
    """Registered feature tables of one warehouse.

    Args:
        tables: Where the registry lies, as the table `feature_tables`.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[tuple[str, int], FeatureTable] = {}
        self._revisions: dict[tuple[str, int], int] = {}

    def add(self, declared: Sequence[FeatureTable]) -> None:
        """Register tables, all in one commit; what is registered already costs nothing.

        Raises:
            ContractError: The same name and version with another meaning; says which fields differ.
        """
        self._refresh()
        fresh = [table for table in declared if not self._same(table)]
        if fresh:
            rows = [
                {
                    "name": table.name,
                    "version": table.version,
                    "revision": self._revisions.get(_key(table), -1) + 1,
                    "definition": json.dumps(table.definition),
                    "hash": table.definition_hash,
                }
                for table in fresh
            ]
            self._tables.add(_TABLE, _SCHEMA, rows)
        self._known |= {_key(table): table for table in declared}
        self._revisions |= {_key(table): self._revisions.get(_key(table), -1) + 1 for table in fresh}

    def find(self, name: str) -> FeatureTable | None:
        """The table of a name: the newest version of a bare one, that version of `name@v2`; None if unknown."""
        self._refresh()
        bare, _, version = name.partition("@v")
        return self._lookup(bare, version)

    def get(self, name: str) -> FeatureTable:
        """As `find`.

        Raises:
            ContractError: No such table; lists the registered ones.
        """
        if found := self.find(name):
            return found
        known = sorted({table.name for table in self._known.values()})
        raise ContractError(
            f"no feature table `{name}`{did_you_mean(name, known)}", expected=f"one of {known}", mend="register it, or correct the name"
        )

    def all(self) -> tuple[FeatureTable, ...]:
        """Every registered table and version, by name and version."""
        self._refresh()
        return tuple(self._known[key] for key in sorted(self._known))

    def _lookup(self, name: str, version: str) -> FeatureTable | None:
        if version:
            return self._known.get((name, int(version)))
        versions = [number for known, number in self._known if known == name]
        return self._known[name, max(versions)] if versions else None

    def _refresh(self) -> None:
        if not self._tables.exists(_TABLE):
            return
        for row in sorted(self._tables.rows(_TABLE), key=lambda row: int(row["revision"])):
            key = (row["name"], row["version"])
            known = self._known.get(key)
            self._revisions[key] = row["revision"]
            # An object of this session carries its Python function; the stored text only names it.
            if known is None or not _callable(known) or known.definition_hash != row["hash"]:
                self._known[key] = FeatureTable.from_definition(json.loads(row["definition"]))

    def _same(self, table: FeatureTable) -> bool:
        known = self._known.get(_key(table))
        if known is None:
            return False
        if known.definition_hash != table.definition_hash:
            fields = _differing(meaning_of(known.definition), meaning_of(table.definition))
            raise ContractError(
                f"another meaning of `{table.name}` version {table.version}: {'; '.join(fields[:5])}",
                expected="the registered definition",
                mend=f"declare version={table.version + 1}, or restore those fields",
            )
        return known.definition == table.definition


def _key(table: FeatureTable) -> tuple[str, int]:
    return table.name, table.version


def _callable(table: FeatureTable) -> bool:
    return isinstance(table.transform, Function) and table.transform.call is not None


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {json.dumps(old.get(name))} and is {json.dumps(new.get(name))}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
