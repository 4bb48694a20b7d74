"""What a profile knows of one column."""

from __future__ import annotations

from dataclasses import dataclass

from sparkml_ops.summaries import CategoryEdges, CategorySummary, ColumnEdges, NumberEdges, NumberSummary
from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["ColumnProfile"]


@dataclass(frozen=True, eq=False)
class ColumnProfile:
    """What is known of one column in one group of rows.

    Args:
        edges: Its cells or categories.
        state: The summary on them.
    """

    edges: ColumnEdges
    state: NumberSummary | CategorySummary

    @property
    def n(self) -> int:
        """All rows, the missing ones included."""
        return self.state.tally.n

    @property
    def nulls(self) -> int:
        """Rows with null."""
        return self.state.tally.nulls

    @property
    def nan(self) -> int:
        """Rows with NaN."""
        return self.state.tally.nan

    @property
    def infinite(self) -> tuple[int, int]:
        """Rows with -infinity and with +infinity."""
        return self.state.tally.negative, self.state.tally.positive

    @property
    def missing(self) -> float | None:
        """Share of null and NaN; None without rows."""
        return self.state.tally.missing / self.n if self.n else None

    @property
    def min(self) -> float | None:
        """Smallest finite value; None without one, or for a category."""
        return self.state.lowest if isinstance(self.state, NumberSummary) and self.state.tally.finite else None

    @property
    def max(self) -> float | None:
        """Largest finite value; None without one, or for a category."""
        return self.state.highest if isinstance(self.state, NumberSummary) and self.state.tally.finite else None

    @property
    def counts(self) -> Integers | dict[str, int]:
        """Values in each cell, or rows of each category that occurs."""
        return self.state.counts if isinstance(self.state, NumberSummary) else self.state.counts(_anchors(self.edges))

    @property
    def sums(self) -> Floats | None:
        """Sum of (value - left edge) in each cell; None for a category."""
        return self.state.sums(self.edges) if isinstance(self.state, NumberSummary) and isinstance(self.edges, NumberEdges) else None

    @property
    def sum(self) -> float | None:
        """Sum of the finite values; None for a category."""
        return self.state.total(self.edges) if isinstance(self.state, NumberSummary) and isinstance(self.edges, NumberEdges) else None

    @property
    def sum_of_squares(self) -> float | None:
        """Sum of the squares of the finite values; None for a category."""
        return self.state.total_squares(self.edges) if isinstance(self.state, NumberSummary) and isinstance(self.edges, NumberEdges) else None

    @property
    def mean(self) -> float | None:
        """Mean of the finite values; None without one, or for a category."""
        total = self.sum
        return None if total is None or not self.state.tally.finite else total / self.state.tally.finite

    @property
    def distinct(self) -> float | None:
        """Number of categories, estimated where there are too many; None for a number."""
        return self.state.distinct if isinstance(self.state, CategorySummary) else None


def _anchors(edges: ColumnEdges) -> CategoryEdges:
    assert isinstance(edges, CategoryEdges)
    return edges
