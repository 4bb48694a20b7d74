"""What has been declared: an append-only Delta table of definitions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence

from pyspark.sql.types import IntegerType, StringType, StructField, StructType

from feature_store.change import Change, change_of
from feature_store.delta import Tables
from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean
from feature_store.table import FeatureTable
from feature_store.transform import Function

__all__ = ["Registry"]

Users = Callable[[FeatureTable, Collection[str] | None], Sequence[str]]

_LOG = logging.getLogger(__name__)
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

    def add(self, declared: Sequence[FeatureTable], users: Users | None = None) -> None:
        """Register tables, all in one commit; what is registered already costs nothing.

        Features may come under the same version: the stored table gets their columns, null until they are written. They may go, and
        types and keys may change, where nobody would miss them; the commit's details say so.

        Args:
            users: Gives the names of those who use a table, or some columns of it; None: nobody does.

        Raises:
            ContractError: The same name and version with another meaning, or without what somebody uses; says what differs.
        """
        self._refresh()
        fresh = [table for table in declared if (known := self._known.get(_key(table))) is None or known.definition != table.definition]
        changes = {table.table_name: change for table in fresh if (change := self._change(table, users))}
        for table in fresh:
            self._widen(table, changes.get(table.table_name))
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
            words = {name: list(change.words) for name, change in changes.items()}
            self._tables.add(_TABLE, _SCHEMA, rows, details={"changes": words} if words else None)
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

    def _change(self, table: FeatureTable, users: Users | None) -> Change | None:
        """What a declaration changes in the registered one, if that is allowed; None where values stay what they are."""
        known = self._known.get(_key(table))
        if known is None or known.definition_hash == table.definition_hash:
            return None
        change, another = change_of(known, table), f"declare version={table.version + 1}"
        if change.meaning:
            raise ContractError(
                f"another meaning of `{table.name}` version {table.version}: {'; '.join(change.meaning[:5])}",
                expected="the registered definition, or more features",
                mend=f"{another}, or restore those fields",
            )
        what = f"{'; '.join(change.words[:5])} in `{table.name}` version {table.version}"
        if change.takes_away and users and (used := users(known, change.touched)):
            more = f" and {len(used) - 5} more" if len(used) > 5 else ""
            raise ContractError(f"{what}, which {', '.join(used[:5])}{more} use", expected="nobody who would miss it", mend=f"{another} beside it")
        if (change.retyped or change.keys) and table.source is None and self._tables.exists(table.table_name):
            raise ContractError(f"{what}, whose rows are stored as they were written", expected="the type and keys of those rows", mend=another)
        if change.takes_away:
            _LOG.warning("%s; nobody is recorded as using it", what)
        return change

    def _widen(self, table: FeatureTable, change: Change | None) -> None:
        """Give the stored table the columns of added features; before they are registered, so that a kill between the two is repaired by a repeat."""
        if change is not None and change.added and self._tables.exists(table.table_name):
            self._tables.widen(table.table_name, {item.name: item.type for item in table.features if item.name in change.added})


def _key(table: FeatureTable) -> tuple[str, int]:
    return table.name, table.version


def _callable(table: FeatureTable) -> bool:
    return isinstance(table.transform, Function) and table.transform.call is not None
