"""Summaries of many columns kept as their bytes: a report of fifteen thousand comparisons fits in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from sparkml_ops.summaries import CategorySummary, Edges, NumberEdges, NumberSummary, Summary, unpack_summary

__all__ = ["ColumnSummary", "PackedStates", "PackedSummaries", "empty_summary", "packed"]

ColumnSummary = NumberSummary | CategorySummary


@dataclass(frozen=True, eq=False)
class PackedSummaries(Mapping[str, Summary]):
    """Any summaries by column, read from their bytes when they are asked for.

    Args:
        data: Bytes by column.
    """

    data: Mapping[str, bytes]

    def __getitem__(self, column: str) -> Summary:
        return unpack_summary(self.data[column])

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, eq=False)
class PackedStates(Mapping[str, ColumnSummary]):
    """Profile states of one group of rows, read from their bytes when they are asked for.

    Args:
        data: Bytes by column; a column that is not there has no row.
        edges: Of all columns.
        limit: Most further categories that are kept.
    """

    data: Mapping[str, bytes]
    edges: Edges
    limit: int

    def __getitem__(self, column: str) -> ColumnSummary:
        held = self.held(column)
        return cast("ColumnSummary", unpack_summary(held)) if isinstance(held, bytes) else held

    def held(self, column: str) -> ColumnSummary | bytes:
        """The column's bytes, or its summary of no rows."""
        return self.data[column] if column in self.data else empty_summary(self.edges, column, self.limit)

    def __iter__(self) -> Iterator[str]:
        return iter(self.edges.columns)

    def __len__(self) -> int:
        return len(self.edges.columns)


def packed(states: Mapping[str, Summary]) -> Mapping[str, bytes]:
    """The bytes of some columns' summaries."""
    if isinstance(states, PackedSummaries | PackedStates):
        return states.data
    return {name: state.pack() for name, state in states.items()}


def empty_summary(edges: Edges, column: str, limit: int) -> ColumnSummary:
    """The summary of a column over no rows."""
    own = edges[column]
    return NumberSummary.empty(own) if isinstance(own, NumberEdges) else CategorySummary.empty(own, limit)
