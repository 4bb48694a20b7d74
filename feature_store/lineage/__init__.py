"""What was made from what: sources, feature tables and single features, training sets, and those who use them."""

from __future__ import annotations

from feature_store.lineage.graph import Edge, Graph, Lineage, Node
from feature_store.lineage.known import known_graph

__all__ = ["Edge", "Graph", "Lineage", "Node", "known_graph"]
