"""Things and what each was made from, and the walk in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean

__all__ = ["FINE", "Edge", "Graph", "Lineage", "Node"]

# Kinds of a column's size: a walk between tables leaves them out.
FINE = frozenset({"column", "feature"})
_EXAMPLES = 5


@dataclass(frozen=True)
class Node:
    """One thing.

    Args:
        kind: `source`, `column` (of a source), `feature table`, `feature`, `training set`, or what a consumer calls itself: `model`, `predictions`.
        name: A table's logical name, `<table>.<column>`, a training set's id, or `<name>@<version>` of a consumer.

    >>> Node("feature", "weather.wind_speed").id
    'feature:weather.wind_speed'
    """

    kind: str
    name: str

    @property
    def id(self) -> str:
        """What tells it from all others."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Edge:
    """One thing was made from another.

    Args:
        source: Id of what was read.
        target: Id of what was made.
        how: In which version or by which expression; empty where there is no more to say.
    """

    source: str
    target: str
    how: str = ""


@dataclass(frozen=True)
class Lineage:
    """What a thing was made from, and what was made from it, all the way.

    Args:
        node: The thing.
        upstream: What it was made from, the nearest first.
        downstream: What was made from it, the nearest first.
        edges: Between these, in a fixed order.
    """

    node: Node
    upstream: tuple[Node, ...]
    downstream: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of one kind among what was made from it, as its models."""
        return tuple(node.name for node in self.downstream if node.kind == kind)

    def mermaid(self) -> str:
        """As a Mermaid flowchart, which Markdown viewers draw."""
        return _mermaid((*self.upstream, self.node, *self.downstream), self.edges)


@dataclass(frozen=True)
class Graph:
    """All that is known.

    Args:
        nodes: By id, in the order in which they became known.
        edges: Between them.
        aliases: Further names of a node, to its id: the bare name of a table stands for its newest version.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> Node:
        """The node of a name, an alias or an id.

        Raises:
            ContractError: No such thing, or several of this name; names what there is.
        """
        if found := self.nodes.get(self.aliases.get(name, name)):
            return found
        named = self._by_name.get(name, ())
        if len(named) == 1:
            return named[0]
        if named:
            listed = " and ".join(f"`{node.id}`" for node in named)
            raise ContractError(f"{len(named)} things named `{name}`", expected=f"one of {listed}", mend="name it with its kind")
        known = [*self._by_name, *self.aliases]
        shown = [node.name for node in self.nodes.values() if node.kind not in FINE]
        raise ContractError(
            f"nothing known as `{name}`{did_you_mean(name, known)}",
            expected=f"a source, table, `table.feature`, training set, model or predictions, as {', '.join(shown[:_EXAMPLES]) or 'none is known yet'}",
            mend="correct the name; `sparkml-ops features graph` shows all",
        )

    def lineage(self, name: str, *, features: bool = False) -> Lineage:
        """What is up- and downstream of a thing.

        Args:
            name: As in `find`.
            features: Walk through single features and columns too; of a feature or column it always does.

        Raises:
            ContractError: No such thing.
        """
        node = self.find(name)
        fine = features or node.kind in FINE
        up, down = self._reached(node.id, self._before, fine=fine), self._reached(node.id, self._after, fine=fine)
        inside = [{node.id, *up}, {node.id, *down}]
        edges = tuple(edge for edge in self.edges if any(edge.source in side and edge.target in side for side in inside))
        return Lineage(node, tuple(self.nodes[key] for key in up), tuple(self.nodes[key] for key in down), edges)

    def downstream(self, name: str) -> tuple[Node, ...]:
        """What was made from a thing, single features and columns included, the nearest first.

        Raises:
            ContractError: No such thing.
        """
        return tuple(self.nodes[key] for key in self._reached(self.find(name).id, self._after, fine=True))

    def tables(self) -> Graph:
        """The same without single features and columns."""
        nodes = {key: node for key, node in self.nodes.items() if node.kind not in FINE}
        return Graph(nodes, tuple(edge for edge in self.edges if edge.source in nodes and edge.target in nodes))

    def mermaid(self) -> str:
        """As a Mermaid flowchart, which Markdown viewers draw."""
        return _mermaid(self.nodes.values(), self.edges)

    @cached_property
    def _by_name(self) -> dict[str, list[Node]]:
        named: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            named.setdefault(node.name, []).append(node)
        return named

    @cached_property
    def _before(self) -> dict[str, list[str]]:
        return _neighbours((edge.target, edge.source) for edge in self.edges)

    @cached_property
    def _after(self) -> dict[str, list[str]]:
        return _neighbours((edge.source, edge.target) for edge in self.edges)

    def _reached(self, start: str, neighbours: Mapping[str, Sequence[str]], *, fine: bool) -> list[str]:
        """Ids in the order of their distance."""
        reached: dict[str, None] = {start: None}
        front = [start]
        while front:
            found = [key for near in front for key in neighbours.get(near, ()) if key not in reached and (fine or self.nodes[key].kind not in FINE)]
            front = list(dict.fromkeys(found))
            reached.update(dict.fromkeys(front))
        return list(reached)[1:]


def _neighbours(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one, other in pairs:
        found.setdefault(one, []).append(other)
    return found


def _mermaid(nodes: Iterable[Node], edges: Iterable[Edge]) -> str:
    numbers: dict[str, str] = {}
    lines = ["flowchart LR"]
    for node in nodes:
        numbers[node.id] = f"n{len(numbers)}"
        lines.append(f'  {numbers[node.id]}["{_label(node.name)}<br><i>{_label(node.kind)}</i>"]')
    lines += [f"  {numbers[edge.source]} --> {numbers[edge.target]}" for edge in edges]
    return "\n".join(lines)


def _label(text: str) -> str:
    """Text inside quotation marks, where Mermaid reads `#` as the start of a character's code and HTML as such."""
    for sign, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("\n", " ")):
        text = text.replace(sign, code)
    return text
