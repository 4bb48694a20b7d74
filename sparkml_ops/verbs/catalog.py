"""The catalog of features: the registered tables with their freshness, their values and who uses them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import feature_store as fs
from feature_store.duration import duration_text
from feature_store.lineage import Graph, Lineage
from feature_store.names import parse_table
from feature_store.records import Snapshot
from feature_store.scan import newest_instant, plan_scan
from feature_store.transform import Builder, Derived, Function
from sparkml_ops import clock
from sparkml_ops.catalog import Catalog, Distribution, FeatureEntry, TableEntry, Users, distribution_of
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.profile import WHOLE, Profile, profile
from sparkml_ops.drift.source import source_of
from sparkml_ops.drift.states import StateKey, StoredProfile, read_stored, write_profiles
from sparkml_ops.errors import ContractError
from sparkml_ops.logs import logger
from sparkml_ops.summaries import Edges, kind_of
from sparkml_ops.verbs.work import Work

__all__ = ["Pictures", "find", "lineage", "perform", "store_of"]

# Distributions: none; those that are stored, which takes no Spark under a warehouse root; or of the newest version, computed where they are not stored.
Pictures = Literal["none", "stored", "newest"]
_WINDOW, _ROLE = "catalog", "catalog"
# A picture has thirty bars and six categories; the cells are as few as summaries have.
_SETTINGS = DriftSection(cells=1020, categories=1000, top_categories=100)
# A task holds the states of all columns of its pass: with a thousand at once they would be hundreds of megabytes.
_COLUMNS = 500
_MODELS = "models:/"


def store_of(work: Work) -> fs.FeatureStore:
    """The feature store, whose session starts when it is first needed: what the catalog reads under a warehouse root needs none."""
    warehouse = work.sections.warehouse
    return fs.FeatureStore(lambda: work.spark, root=warehouse.root, catalog=warehouse.catalog)


def perform(work: Work, *, text: str = "", as_of: datetime | str | None = None, pictures: Pictures = "none") -> Catalog:
    """The tables in which every word of a text stands, all without a text.

    Args:
        text: As in `FeatureStore.search`.
        as_of: Ages are told at this instant.
        pictures: Which distributions to show. A table's values are read once for each of its versions, and kept in `profile_state`.
    """
    now = clock.resolve(as_of)
    work.check()
    store = store_of(work)
    tables, graph = store.search(text), store.graph()
    entries = tuple(_entry(work, table, graph, now, pictures) for table in tables)
    return Catalog(work.config.project, now.isoformat(), entries, graph)


def find(work: Work, name: str, *, as_of: datetime | str | None = None) -> tuple[TableEntry, FeatureEntry | None]:
    """One table, or one of its features with its table, with the distributions that are stored.

    Raises:
        ContractError: No such feature or table; names the nearest.
    """
    now = clock.resolve(as_of)
    work.check()
    store = store_of(work)
    graph = store.graph()
    node = graph.find(name)
    if node.kind not in ("feature", "feature table"):
        raise ContractError(
            f"the {node.kind} `{node.name}`", expected="a feature or its table", mend=f"`sparkml-ops features lineage {node.name}` shows it"
        )
    table, _, feature = node.name.partition(".")
    entry = next(_entry(work, item, graph, now, "stored") for item in store.search("") if item.table_name == table)
    return entry, next((item for item in entry.features if item.name == feature), None)


def lineage(work: Work, name: str, *, features: bool = False) -> Lineage:
    """What a thing was made from, and what was made from it.

    Args:
        name: As in `FeatureStore.lineage`, or MLflow's address of a model: `models:/flights/3`, `models:/flights@champion`.
        features: Through single features and columns too.

    Raises:
        ContractError: Nothing of this name is known; names the nearest.
    """
    work.check()
    return store_of(work).lineage(_model(work, name.removeprefix(_MODELS)) if name.startswith(_MODELS) else name, features=features)


def _model(work: Work, address: str) -> str:
    model, slash, version = address.partition("/")
    if slash:
        return f"{model}@{version}"
    model, _, alias = address.partition("@")
    return f"{model}@{work.tracking.resolve(model, alias).record.version}" if alias else model


def _entry(work: Work, table: fs.FeatureTable, graph: Graph, now: datetime, pictures: Pictures) -> TableEntry:
    name = table.table_name
    snapshot = work.tables.newest(name) if work.tables.exists(name) else None
    scan = None if snapshot is None else plan_scan(work.tables, snapshot)
    newest = None if snapshot is None else newest_instant(work.tables, name, table.event_time)
    shown = {} if snapshot is None or pictures == "none" else _distributions(work, table, snapshot, now, pictures)
    features = tuple(
        FeatureEntry(
            item.name, item.type, item.unit, item.meaning, item.name in table.pii, _users(graph, f"feature:{name}.{item.name}"), shown.get(item.name)
        )
        for item in table.features
    )
    return TableEntry(
        name=name,
        meaning=table.meaning,
        owner=table.owner,
        tags=table.tags,
        keys=table.keys,
        event_time=table.event_time,
        known=_known(table),
        ttl=None if table.ttl is None else duration_text(table.ttl),
        made=_made(table),
        version=None if snapshot is None else snapshot.version,
        rows=None if scan is None else scan.rows,
        newest=None if newest is None else newest.isoformat(timespec="seconds"),
        age=None if newest is None else max((now - newest).total_seconds(), 0.0),
        freshness=None if table.freshness is None else table.freshness.total_seconds(),
        features=features,
        users=_users(graph, f"feature table:{name}"),
        deprecated=None if table.deprecated is None else table.deprecated.isoformat(),
    )


def _users(graph: Graph, node: str) -> Users:
    """What was made from a thing, by kind; other features, and what only leads to predictions, are not users."""
    found: dict[str, tuple[str, ...]] = {}
    for user in graph.downstream(node):
        if user.kind not in ("feature", "column", "scoring set"):
            found[user.kind] = (*found.get(user.kind, ()), user.name)
    return found


def _known(table: fs.FeatureTable) -> str:
    if table.aggregates:
        return "then, from what was known then"
    if isinstance(table.known_time, timedelta):
        return f"{duration_text(table.known_time)} later"
    return f"at {table.known_time}" if table.known_time else "then"


def _made(table: fs.FeatureTable) -> str:
    if table.source is None:
        return "written"
    match table.transform:
        case Builder(name=name):
            by = f" by builder {name}"
        case Function(name=name):
            by = f" by function {name}"
        case Derived():
            by = " by derived columns"
        case _:
            by = ""
    slide = f", windows every {duration_text(table.slide)}" if table.slide else ""
    return f"from {table.source}{by}{slide}"


def _distributions(work: Work, table: fs.FeatureTable, snapshot: Snapshot, now: datetime, pictures: Pictures) -> Mapping[str, Distribution]:
    """Of each feature whose type has statistics and that holds no personal data."""
    key = StateKey(parse_table(table.table_name), _WINDOW, _ROLE)
    stored = read_stored(work.tables, key)
    if pictures == "newest":
        known = work.tables.columns(table.table_name)
        features = [item.name for item in table.features if item.name in known and item.name not in table.pii and kind_of(known[item.name])]
        types = {name: known[name] for name in features}
        source = f"{snapshot.table}@{snapshot.version}"
        if types and (stored is None or stored.source != source or stored.profile.edges.types != types):
            logger.info("features: profiling %s", source)
            stored = StoredProfile(key, _profile(work, snapshot, types, None if stored is None else stored.profile.edges), source)
            write_profiles(work.tables, [stored], as_of=now)
    if stored is None:
        return {}
    version, edges, states = int(stored.source.rpartition("@")[2]), stored.profile.edges, stored.profile.groups[WHOLE]
    names = [item.name for item in table.features if item.name in states and item.name not in table.pii]
    return {name: distribution_of(edges[name], states[name], edges.types[name], version) for name in names}


def _profile(work: Work, snapshot: Snapshot, types: Mapping[str, str], edges: Edges | None) -> Profile:
    """One pass on the edges of an earlier version, where it has all columns, and otherwise a few more to fix them."""
    source = source_of(work.spark, work.tables, snapshot, {})
    kept = edges is not None and all(edges.types.get(name) == kind for name, kind in types.items())
    names = list(types)
    groups = [names[start : start + _COLUMNS] for start in range(0, len(names), _COLUMNS)]
    parts = [profile(source, edges if kept else None, columns=columns, settings=_SETTINGS) for columns in groups]
    whole = {name: state for part in parts for name, state in part.groups[WHOLE].items()}
    return Profile(Edges({name: part.edges[name] for part in parts for name in part.columns}, dict(types)), {WHOLE: whole})
