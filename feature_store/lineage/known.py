"""The graph of what one warehouse knows: its declarations, its training sets, and who said that they use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from feature_store.consumers import Consumer
from feature_store.lineage.columns import columns_read
from feature_store.lineage.graph import Edge, Graph, Node
from feature_store.records import TrainingSet
from feature_store.table import FeatureTable
from feature_store.transform import Builder, Function

__all__ = ["known_graph"]

# Consumers of these kinds are tables: all their versions lie in the one of that name.
_TABLES = frozenset({"predictions", "scoring set"})


def known_graph(
    tables: Sequence[FeatureTable], training_sets: Sequence[tuple[TrainingSet, Mapping[str, Any]]] = (), consumers: Sequence[Consumer] = ()
) -> Graph:
    """Everything and what it was made from.

    A frame that was handed to a training set instead of a table's name leaves no trace here: nothing names it.

    Args:
        tables: Registered feature tables, all versions.
        training_sets: Each with its definition, oldest first.
        consumers: Recorded consumers.

    >>> from feature_store.table import Feature
    >>> graph = known_graph([FeatureTable("weather", "origin", "at", Feature("wind", "double"), source="raw")])
    >>> [node.name for node in graph.lineage("raw").downstream]
    ['weather']
    >>> [node.name for node in graph.lineage("weather.wind").upstream]
    ['weather', 'raw.wind', 'raw']
    """
    drawing = _Drawing(tables, training_sets, consumers)
    for table in tables:
        drawing.add_table(table)
    for made, definition in training_sets:
        drawing.add_training_set(made, definition)
    for consumer in consumers:
        drawing.add_consumer(consumer)
    return drawing.graph()


class _Drawing:
    """Nodes and edges as they become known."""

    def __init__(
        self, tables: Iterable[FeatureTable], training_sets: Iterable[tuple[TrainingSet, Mapping[str, Any]]], consumers: Iterable[Consumer]
    ) -> None:
        self._tables = {table.table_name: table for table in tables}
        self._newest: dict[str, FeatureTable] = {}
        for table in sorted(self._tables.values(), key=lambda table: table.version):
            self._newest[table.name] = table
        # Tables in which something else than features lies: they may be the source of features in their turn.
        self._held = {made.snapshot.table: Node("training set", made.id) for made, _ in training_sets}
        self._held |= {item.name: Node(item.kind, item.name) for item in consumers if item.kind in _TABLES}
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str], str] = {}
        self._columns: dict[str, str] = {}
        self._inputs = {Node("training set", made.id).id: {self._table(name).id for name in made.inputs} for made, _ in training_sets}
        for consumer in consumers:
            inputs = {self._input(*item).id for item in consumer.inputs.items()}
            self._inputs.setdefault(self._consumer(consumer).id, set()).update(inputs)
        self._latest: dict[str, str] = {}  # consumers come by version: the last one of a name is the newest

    def add_table(self, table: FeatureTable) -> None:
        """A feature table, its features, and their source's columns."""
        node = self._node(Node("feature table", table.table_name))
        features = {item.name: Node("feature", f"{table.table_name}.{item.name}") for item in table.features}
        for feature in features.values():
            self._edge(node, feature)
        if table.source is None:
            return
        source = self._newest[table.source].table_name if table.source in self._newest else table.source
        self._edge(self._table(source), node, _made_by(table))
        for name, columns in columns_read(table).items():
            for column, how in columns.items():
                self._edge(self._column(source, column), features[name], how)

    def add_training_set(self, made: TrainingSet, definition: Mapping[str, Any]) -> None:
        """A training set, the tables that it read, and each feature that it took."""
        node = self._node(Node("training set", made.id))
        for name, version in made.inputs.items():
            self._edge(self._table(name), node, f"version {version}")
        if spine := definition["spine"]:
            for column in definition["spine_columns"]:
                self._edge(self._column(spine, column), node)
        for lookup in definition["lookups"]:
            if lookup["table"] in made.inputs:
                for name in lookup["features"] or ():
                    taken = f"{lookup['prefix']}{name}"
                    self._edge(self._column(lookup["table"], name), node, "" if taken == name else f"as {taken}")

    def add_consumer(self, consumer: Consumer) -> None:
        """A consumer; of what comes to it through another of its inputs too, only that step is drawn."""
        node = self._node(self._consumer(consumer))
        for name, version in consumer.inputs.items():
            read = self._input(name, version)
            others = self._inputs[node.id] - {read.id, node.id}
            if not any(read.id in self._inputs.get(other, ()) for other in others):
                self._edge(read, node, "" if version is None or ":" in name else f"version {version}")
        if node.name != consumer.name:
            self._latest[consumer.name] = node.id

    def graph(self) -> Graph:
        """What was drawn, with the bare names that stand for the newest version."""
        aliases: dict[str, str] = {}
        for table in self._tables.values():
            names = (f"{table.name}@v{table.version}", *((table.name,) if table is self._newest[table.name] else ()))
            for name in names:
                aliases[name] = f"feature table:{table.table_name}"
                aliases |= {f"{name}.{item.name}": f"feature:{table.table_name}.{item.name}" for item in table.features}
        aliases |= {table: node.id for table, node in self._held.items() if node.kind == "training set"}
        named = {node.name for node in self._nodes.values()}
        aliases |= {name: key for name, key in self._latest.items() if name not in named and name not in aliases}
        return Graph(self._nodes, tuple(Edge(*ends, how) for ends, how in self._edges.items()), aliases)

    def _node(self, node: Node) -> Node:
        return self._nodes.setdefault(node.id, node)

    def _edge(self, source: Node, target: Node, how: str = "") -> None:
        ends = self._node(source).id, self._node(target).id
        if source != target and not self._edges.get(ends):
            self._edges[ends] = how

    def _table(self, name: str) -> Node:
        """What a table is; one that nothing of ours makes is a source."""
        return Node("feature table", name) if name in self._tables else self._held.get(name) or Node("source", name)

    def _column(self, table: str, column: str) -> Node:
        """The node of a column, under the spelling that was met first: Spark tells no `A` from `a`."""
        if table in self._tables:
            spelled = {item.name.lower(): item.name for item in self._tables[table].features}
            if column.lower() in spelled:
                return Node("feature", f"{table}.{spelled[column.lower()]}")
        name = f"{table}.{column}"
        node = Node("column", self._columns.setdefault(name.lower(), name))
        self._edge(self._table(table), node)
        return node

    def _consumer(self, consumer: Consumer) -> Node:
        return _version(consumer.kind, consumer.name, consumer.version)

    def _input(self, name: str, version: int | None) -> Node:
        """A table, or another consumer as `kind:name`."""
        kind, colon, other = name.partition(":")
        return _version(kind, other, "" if version is None else str(version)) if colon else self._table(name)


def _version(kind: str, name: str, version: str) -> Node:
    return Node(kind, name if not version or kind in _TABLES else f"{name}@{version}")


def _made_by(table: FeatureTable) -> str:
    if isinstance(table.transform, Builder):
        return f"by builder {table.transform.name}"
    return f"by function {table.transform.name}" if isinstance(table.transform, Function) else ""
