"""Spine and lookups brought together at pinned versions: for training sets and for scoring sets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.checks import refuse_clash, require_columns, require_instant
from feature_store.content import measure
from feature_store.delta import Tables
from feature_store.duration import duration_text, is_duration, parse_duration
from feature_store.erasure import without_forgotten
from feature_store.errors import ContractError
from feature_store.expressions import check
from feature_store.joins.source import check as check_join
from feature_store.joins.source import resolve
from feature_store.lookup import Lookup
from feature_store.names import quote
from feature_store.nearest import did_you_mean
from feature_store.pii import personal_columns
from feature_store.point_in_time import JoinPlan, JoinStatistics, explain_join, join_statistics, point_in_time_join
from feature_store.reach import Between, held_between, within_reach
from feature_store.records import Snapshot
from feature_store.registry import Registry
from feature_store.row_function import RowFunction, add_functions
from feature_store.scan import most_rows
from feature_store.table import FeatureTable
from feature_store.versions import Versions
from feature_store.weight import WEIGHT, weight_of

__all__ = ["COUNTED_FROM", "Assembly", "lookup_document", "lookup_of"]

# Feature rows from which a hot key can be worth a pass over keys and times.
COUNTED_FROM = 50_000_000
_LOCAL = "<frame>"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assembly:
    """A spine and what is joined to it, resolved and pinned once.

    Args:
        tables: Where the named tables lie.
        spine: The rows at their pinned version, filtered and cut to the carried columns.
        spine_name: Logical name of the spine's table; None where the spine was given as a frame.
        lookups: With every setting filled in; a frame stays a frame.
        spine_time: The spine's column of the instant of prediction.
        inputs: Version of each table that is read.
        where: The condition that the spine's rows have passed.
        spine_known_time: The column by which the last known version of each of the spine's rows was taken; None: all rows.
        functions: What is computed of each joined row.
        between: Two instants between which every row of the spine lies, both included; None: nobody knows.
        personal: The joined columns with personal data, as far as feature tables mark theirs.
    """

    tables: Tables
    spine: DataFrame
    spine_name: str | None
    lookups: tuple[Lookup, ...]
    spine_time: str
    inputs: Mapping[str, int]
    where: str | None = None
    spine_known_time: str | None = None
    functions: tuple[RowFunction, ...] = ()
    between: Between | None = None
    personal: frozenset[str] = frozenset()

    @classmethod
    def resolve(
        cls,
        tables: Tables,
        registry: Registry,
        spine: str | DataFrame,
        lookups: Sequence[Lookup],
        *,
        spine_time: str,
        needed: Iterable[str] = (),
        columns: Sequence[str] | None = None,
        where: str | None = None,
        versions: Versions | None = None,
        functions: Sequence[RowFunction] = (),
        weight: str | None = None,
    ) -> Assembly:
        """Pin the newest version of every table, and check names and types before any job.

        Args:
            needed: Columns of the spine that are carried whatever `columns` says.
            columns: Further columns to carry; None carries all.
            where: SQL condition on the spine's rows.
            versions: Which of the spine's rows correct others; the condition is for those that are left.
            functions: What is computed of each joined row; columns of the spine that they read are carried.
            weight: A column of the spine or an expression over them, carried as `sample_weight`.
        """
        resolved = tuple(_resolved(lookup, registry) for lookup in lookups)
        spine_name = _table_name(spine, registry) if isinstance(spine, str) else None
        named = [name for name in (spine_name, *(lookup.table for lookup in resolved)) if isinstance(name, str)]
        inputs = {name: tables.newest(name).version for name in dict.fromkeys(named)}
        frame = tables.read(spine_name, inputs[spine_name]) if spine_name else spine
        assert isinstance(frame, DataFrame)
        frame = without_forgotten(tables, frame, [pair for lookup in resolved for pair in lookup.pairs])
        what = f"the spine `{spine_name}`" if spine_name else "the spine"
        keys = [left for lookup in resolved for left, _ in lookup.pairs]
        read = [name for item in functions for name in item.columns if name in frame.columns]
        wanted = frame.columns if columns is None else list(dict.fromkeys((*needed, spine_time, *keys, *columns, *read)))
        require_columns(frame, (*needed, spine_time, *keys, *wanted), what)
        require_instant(frame.schema, spine_time, "spine_time")
        # A correction after which a row no longer meets the condition takes the row away.
        rows = frame if versions is None else versions.last(frame, what)
        rows = rows if where is None else rows.where(F.expr(check(where)))
        known = None if versions is None else versions.known_time
        if weight is not None and columns is None:
            # Carried as `sample_weight`, a weight is no feature beside it.
            wanted = [name for name in wanted if name != weight or name in (*needed, *keys)]
        weighing = () if weight is None else (weight_of(rows, weight, what),)
        if weighing:
            refuse_clash({"the weight": (WEIGHT,), what: wanted})
        carried = rows.select(*(F.col(quote(name)) for name in wanted), *weighing)
        personal = personal_columns(registry, lookups)
        return cls(tables, carried, spine_name, resolved, spine_time, inputs, where, known, tuple(functions), personal=personal)

    @property
    def tables_joined(self) -> tuple[str, ...]:
        """Names of the tables among the lookups, each once."""
        return tuple(dict.fromkeys(lookup.table for lookup in self.lookups if isinstance(lookup.table, str)))

    def join(self, spine: DataFrame, statistics: JoinStatistics | None = None, *, audit: bool = False) -> DataFrame:
        """The point-in-time join of rows of this spine, and what is computed of each; lazy.

        Args:
            statistics: What was counted of these rows.
            audit: Add the source times of each lookup, and fail where its rows tie or come from the future.
        """
        tables = self._frames(audit=audit)
        held = spine if self.between is None else held_between(spine, self.spine_time, self.between)
        joined = point_in_time_join(held, self.lookups, spine_time=self.spine_time, audit=audit, tables=tables, statistics=statistics)
        return add_functions(joined, self.functions)

    def source_times(self) -> DataFrame:
        """Under the join's audit, each spine row's source times of every lookup; lazy, and of the spine only keys and time are carried.

        Raises:
            ContractError: As the join.
        """
        needed = dict.fromkeys((self.spine_time, *(left for lookup in self.lookups for left, _ in lookup.pairs)))
        spine = self.spine.select(*(F.col(quote(name)) for name in needed))
        return point_in_time_join(spine, self.lookups, spine_time=self.spine_time, audit=True, tables=self._frames(audit=True))

    def columns(self) -> list[str]:
        """Names of the joined columns, checked as the join is, without planning it."""
        if self.functions:
            return list(self.join(self.spine).columns)
        sources = resolve(self.lookups, self._frames())
        check_join(self.spine, sources, self.spine_time)
        return [*self.spine.columns, *(name for source in sources for name in source.outputs)]

    def counted(self, spine: DataFrame) -> JoinStatistics | None:
        """The rows that the join brings together, by key; None where so few are joined that counting them would cost more than it saves."""
        if sum(most_rows(self.tables, Snapshot(name, self.inputs[name])) for name in self.tables_joined) < COUNTED_FROM:
            return None
        return self.count(spine)

    def count(self, spine: DataFrame) -> JoinStatistics:
        """The rows that the join brings together, by key; starts jobs."""
        return join_statistics(spine, self.lookups, spine_time=self.spine_time, tables=self._frames())

    def explain(self, statistics: JoinStatistics | None = None) -> JoinPlan:
        """Which plan the join takes for each entity, and why."""
        return explain_join(self.spine, self.lookups, spine_time=self.spine_time, tables=self._frames(), statistics=statistics)

    def _frames(self, *, audit: bool = False) -> dict[str, DataFrame]:
        frames = {name: self.tables.read(name, self.inputs[name]) for name in self.tables_joined}
        if self.between is None or audit:  # an audit looks for ties in all rows
            return frames
        lookups = {name: [lookup for lookup in self.lookups if lookup.table == name] for name in frames}
        return {name: within_reach(frame, lookups[name], self.between) for name, frame in frames.items()}

    def document(self) -> dict[str, Any]:
        """What is joined, as JSON types; frames stand with the hash of their content, which takes a job each."""
        return {
            "spine": self.spine_name,
            "spine_columns": self.spine.columns,
            "where": self.where,
            "lookups": [lookup_document(lookup) for lookup in self.lookups],
            # Left out where there is none: sets without it keep their ids.
            **({"spine_known_time": self.spine_known_time} if self.spine_known_time else {}),
            **({"functions": [item.document() for item in self.functions]} if self.functions else {}),
        }


def lookup_document(lookup: Lookup) -> dict[str, Any]:
    """A lookup as JSON types."""
    # Defaults are left out where there are none: sets without them keep their ids.
    document = {item.name: _plain(getattr(lookup, item.name)) for item in fields(lookup) if item.name != "defaults" or lookup.defaults}
    if not isinstance(lookup.table, str):
        document |= {"table": _LOCAL, "content": measure(lookup.table).digest}
    return {**document, "keys": [list(pair) for pair in lookup.pairs]}


def lookup_of(document: Mapping[str, Any]) -> Lookup:
    """The lookup of a stored document.

    Raises:
        ContractError: It was a frame, of which nothing is kept.
    """
    if document["table"] == _LOCAL:
        raise ContractError(
            "a lookup that was given as a DataFrame",
            expected="tables, whose versions can be read again",
            mend="write the frame to a table and name that in the lookup",
        )
    known, ttl = document["known_time"], document["ttl"]
    times = {"known_time": parse_duration(known) if is_duration(known) else known, "ttl": None if ttl is None else parse_duration(ttl)}
    return Lookup(**{**document, **times, "keys": dict(map(tuple, document["keys"]))})


def _resolved(lookup: Lookup, registry: Registry) -> Lookup:
    if not isinstance(lookup.table, str):
        return lookup
    table = registry.find(lookup.table)
    if table is None:
        if lookup.event_time is None:
            known = [item.name for item in registry.all()]
            raise ContractError(
                f"the lookup of `{lookup.table}`, which is not registered{did_you_mean(lookup.table, known)}",
                expected="a registered feature table, or an event_time",
                mend="register it, correct the name, or set event_time",
            )
        return lookup
    _check_lookup(lookup, table)
    if table.deprecated is not None:
        _LOG.warning("`%s` is deprecated from %s on: look its features up elsewhere", table.table_name, table.deprecated.isoformat())
    return replace(
        lookup,
        table=table.table_name,
        features=lookup.features or tuple(feature.name for feature in table.features),
        event_time=table.event_time,
        known_time=None if table.aggregates else table.known_time,
        ttl=lookup.ttl or table.ttl,
    )


def _check_lookup(lookup: Lookup, table: FeatureTable) -> None:
    theirs = {right for _, right in lookup.pairs}
    if theirs != set(table.keys):
        raise ContractError(
            f"the keys {sorted(theirs)} in a lookup of `{table.name}`",
            expected=f"its keys {list(table.keys)}",
            mend="name all of them, as {spine column: table column} where the names differ",
        )
    for name in ("event_time", "known_time"):
        given, declared = getattr(lookup, name), getattr(table, name)
        if given is not None and given != declared:
            raise ContractError(f"{name}={given!r} in a lookup of `{table.name}`", expected=f"{declared!r}, as it declares", mend=f"leave out {name}")
    known = table.columns
    if missing := [name for name in (*(lookup.features or ()), *lookup.tie_break) if name not in known]:
        hints = ", ".join(f"`{name}`{did_you_mean(name, known)}" for name in missing[:5])
        raise ContractError(f"no column {hints} in `{table.name}`", expected=f"one of {list(known)}", mend="correct the name")


def _table_name(name: str, registry: Registry) -> str:
    table = registry.find(name)
    return table.table_name if table else name


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return duration_text(value)
    return list(value) if isinstance(value, tuple) else value
