"""Which tables of a warehouse can hold an entity, and in which columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from feature_store.consumers import CONSUMERS, Consumer
from feature_store.delta import Purge, table_names
from feature_store.delta.folder import is_delta
from feature_store.delta.log import FORMAT
from feature_store.erasure.decode import Sought
from feature_store.erasure.entity import Entity, is_searchable, value_for
from feature_store.erasure.forgotten import ERASURES
from feature_store.errors import ContractError
from feature_store.names import parse_table
from feature_store.nearest import did_you_mean
from feature_store.records import TrainingSet
from feature_store.table import FeatureTable

__all__ = ["Place", "Walk"]

FEATURES, TRAINING, STORE, SOURCE = "feature table", "training set", "store", "source"
# The table of a target's scoring sets, by its name.
_SCORING_SET = "_scoring_set"
_QUARANTINE = re.compile(r"_quarantine(_v\d+)?$")
# Their `name` or `id` is a table's, not an entity's.
_OWN = frozenset({"feature_tables", "training_sets", CONSUMERS, ERASURES})


@dataclass(frozen=True)
class Place:
    """A table that can hold the entity.

    Args:
        table: Its physical name.
        kind: As in `HoldingTable`.
        schema: Its columns.
        roles: Columns that stand for the key columns, in their order, for each way in which the table can hold the entity.
        training_set: Id of the training set that it is.
        rows: Rows of the entity that were found.
    """

    table: str
    kind: str
    schema: StructType
    roles: tuple[tuple[str, ...], ...]
    training_set: str | None = None
    rows: int = 0

    def row(self, purge: Purge, entity: Entity) -> tuple[DataFrame, list[dict[str, str]]]:
        """The entity's values as one row in the types of this table's columns, and for each role which column is which."""
        fields: list[StructField] = []
        values: list[str] = []
        roles: list[dict[str, str]] = []
        for role in self.roles:
            names = [f"__sought_{len(fields) + index}" for index in range(len(role))]
            fields += [StructField(name, self.schema[column].dataType) for name, column in zip(names, role, strict=True)]
            values += list(entity.values)
            roles.append(dict(zip(role, names, strict=True)))
        text = purge.spark.createDataFrame([tuple(values)], ", ".join(f"{field.name} string" for field in fields))
        return text.select(*(text[field.name].cast(field.dataType).alias(field.name) for field in fields)), roles

    def sought(self, entity: Entity) -> Sought:
        """What to look for in this table's files, whose columns may have other names than the table's."""
        return Sought(tuple(tuple(_file_names(self.schema[column]) for column in role) for role in self.roles), entity.values)


@dataclass(frozen=True)
class Walk:
    """What is known of a warehouse before its tables are looked at.

    Args:
        purge: The warehouse.
        registered: Its feature tables.
        training_sets: Its training sets, each with what it was made by, as JSON types.
        consumers: Who was recorded as using tables.
        roles: Further columns that hold a key, as {"airport": ("origin", "dest")}, in any table.
    """

    purge: Purge
    registered: Sequence[FeatureTable]
    training_sets: Sequence[tuple[TrainingSet, Mapping[str, Any]]]
    consumers: Sequence[Consumer]
    roles: Mapping[str, Sequence[str]]

    def places(self, entity: Entity) -> tuple[tuple[Place, ...], tuple[str, ...]]:
        """The tables that can hold the entity, and what could not be searched.

        Raises:
            ContractError: No table has the key columns.
        """
        found: list[Place] = []
        notes: list[str] = []
        seen: set[str] = set()
        for name in table_names(self.purge):
            if name in _OWN:
                continue
            if not is_delta(self.purge, name):
                notes.append(f"`{name}` is no Delta table, which is not searched")
                continue
            schema = self.purge.schema(name)
            seen |= set(schema.names)
            roles = self._roles(name, schema, entity)
            odd = [column for role in roles for column in role if not is_searchable(schema[column].dataType.simpleString())]
            if odd:
                notes.append(f"column `{odd[0]}` of `{name}` is {schema[odd[0]].dataType.simpleString()}, which is not searched as a key")
            fitting = tuple(role for role in roles if _fits(role, schema, entity))
            notes += self._profiled(name, schema, entity)
            if fitting:
                found.append(replace(self._place(name, schema), roles=fitting))
        if not found and not set(entity.columns) <= seen:
            self._refuse(entity, seen)
        return tuple(found), tuple(notes)

    def _profiled(self, name: str, schema: StructType, entity: Entity) -> list[str]:
        """What a table of profiles, a row for each column of others, tells of the key columns: it may count their values."""
        if not {"column", "state"} <= set(schema.names):
            return []
        columns = sorted({*entity.columns, *(item for items in self.roles.values() for item in items)})
        there = not self.purge.read(name).where(F.col("column").isin(columns)).isEmpty()
        return [f"`{name}` holds profiles of {columns}, which count values: profile them no more, and delete those rows"] if there else []

    def _place(self, name: str, schema: StructType) -> Place:
        sets = {made.snapshot.table: made.id for made, _ in self.training_sets}
        if name in sets:
            return Place(name, TRAINING, schema, (), sets[name])
        if name in {parse_table(table.table_name) for table in self.registered}:
            return Place(name, FEATURES, schema, ())
        sources = {parse_table(source) for source in self._sources()}
        used = {item.name for item in self.consumers if item.kind == "predictions"}
        own = name in used or bool(_QUARANTINE.search(name)) or FORMAT in self.purge.properties(name)
        return Place(name, STORE if own and name not in sources else SOURCE, schema, ())

    def _sources(self) -> Iterable[str]:
        yield from (table.source for table in self.registered if table.source)
        yield from (definition["spine"] for _, definition in self.training_sets if definition["spine"])

    def _roles(self, name: str, schema: StructType, entity: Entity) -> list[tuple[str, ...]]:
        """Column combinations: the keys' own names, names that the caller gave, and those that lookups gave in this table."""
        lookups = self._lookups(name, schema)
        choices = [
            list(dict.fromkeys(item for item in (key, *self.roles.get(key, ()), *lookups.get(key, ())) if item in schema.names))
            for key in entity.columns
        ]
        return list(product(*choices))

    def _lookups(self, name: str, schema: StructType) -> dict[str, list[str]]:
        """Key column of a table to the spine's columns that were joined with it, where this table is of such a spine.

        That is the spine's own table, the training set, and a table that the store has made for scoring: one with all its columns.
        """
        found: dict[str, list[str]] = {}
        scored_columns = set(self._scored(name, schema))
        for made, definition in self.training_sets:
            pairs = [tuple(pair) for lookup in definition["lookups"] for pair in lookup["keys"]]
            spine = {definition["spine_time"], *(left for left, _ in pairs)}
            if spine <= scored_columns or name in (made.snapshot.table, parse_table(definition["spine"]) if definition["spine"] else None):
                for left, right in pairs:
                    found.setdefault(right, []).append(left)
        return found

    def _scored(self, name: str, schema: StructType) -> list[str]:
        """Columns of the scoring set that a table is, or that predictions were made from."""
        if name.endswith(_SCORING_SET):
            return schema.names
        made_from = f"{name}{_SCORING_SET}"
        return self.purge.schema(made_from).names if self.purge.exists(made_from) else []

    def _refuse(self, entity: Entity, seen: Iterable[str]) -> None:
        known = sorted({key for table in self.registered for key in table.keys} or set(seen))
        listed = ", ".join(f"`{name}`{did_you_mean(name, known)}" for name in entity.columns)
        raise ContractError(f"no table with the key {listed}", expected=f"key columns, as {known[:5]}", mend="correct the name")


def _fits(role: Sequence[str], schema: StructType, entity: Entity) -> bool:
    kinds = [schema[column].dataType.simpleString() for column in role]
    return all(is_searchable(kind) and value_for(kind, value) is not None for kind, value in zip(kinds, entity.values, strict=True))


def _file_names(field: StructField) -> tuple[str, ...]:
    physical = (field.metadata or {}).get("delta.columnMapping.physicalName")
    return (field.name, str(physical)) if physical else (field.name,)
