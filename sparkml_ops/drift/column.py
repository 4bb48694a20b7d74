"""What a profile knows of one column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

from sparkml_ops.drift.packed import ColumnSummary
from sparkml_ops.summaries import CategoryEdges, CategorySummary, ColumnEdges, NumberEdges, NumberSummary, Tally, unpack_summary
from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["ColumnProfile"]


@dataclass(frozen=True, eq=False)
class ColumnProfile:
    """What is known of one column in one group of rows.

    Args:
        edges: Its cells or categories.
        held: The summary on them, or its bytes.
    """

    edges: ColumnEdges
    held: ColumnSummary | bytes

    @property
    def state(self) -> ColumnSummary:
        """The summary; read from its bytes each time where only they are held (see `opened`)."""
        return cast("ColumnSummary", unpack_summary(self.held)) if isinstance(self.held, bytes) else self.held

    def pack(self) -> bytes:
        """The summary's bytes."""
        return self.held if isinstance(self.held, bytes) else self.held.pack()

    def opened(self) -> ColumnProfile:
        """The same with its bytes read: for looking at it more than once."""
        return ColumnProfile(self.edges, self.state) if isinstance(self.held, bytes) else self

    @cached_property
    def tally(self) -> Tally:
        """Rows by what they hold."""
        return self.state.tally

    @property
    def n(self) -> int:
        """All rows, the missing ones included."""
        return self.tally.n

    @property
    def nulls(self) -> int:
        """Rows with null."""
        return self.tally.nulls

    @property
    def nan(self) -> int:
        """Rows with NaN."""
        return self.tally.nan

    @property
    def infinite(self) -> tuple[int, int]:
        """Rows with -infinity and with +infinity."""
        return self.tally.negative, self.tally.positive

    @property
    def missing(self) -> float | None:
        """Share of null and NaN; None without rows."""
        return self.tally.missing / self.n if self.n else None

    @property
    def min(self) -> float | None:
        """Smallest finite value; None without one, or for a category."""
        return state.lowest if isinstance(state := self.state, NumberSummary) and state.tally.finite else None

    @property
    def max(self) -> float | None:
        """Largest finite value; None without one, or for a category."""
        return state.highest if isinstance(state := self.state, NumberSummary) and state.tally.finite else None

    @property
    def counts(self) -> Integers | dict[str, int]:
        """Values in each cell, or rows of each category that occurs."""
        return state.counts if isinstance(state := self.state, NumberSummary) else state.counts(_anchors(self.edges))

    @property
    def sums(self) -> Floats | None:
        """Sum of (value - left edge) in each cell; None for a category."""
        return state.sums(self.edges) if isinstance(state := self.state, NumberSummary) and isinstance(self.edges, NumberEdges) else None

    @property
    def sum(self) -> float | None:
        """Sum of the finite values; None for a category."""
        return state.total(self.edges) if isinstance(state := self.state, NumberSummary) and isinstance(self.edges, NumberEdges) else None

    @property
    def sum_of_squares(self) -> float | None:
        """Sum of the squares of the finite values; None for a category."""
        return state.total_squares(self.edges) if isinstance(state := self.state, NumberSummary) and isinstance(self.edges, NumberEdges) else None

    @property
    def mean(self) -> float | None:
        """Mean of the finite values; None without one, or for a category."""
        total = self.sum
        return None if total is None or not self.tally.finite else total / self.tally.finite

    @property
    def distinct(self) -> float | None:
        """Number of categories, estimated where there are too many; None for a number."""
        return state.distinct if isinstance(state := self.state, CategorySummary) else None


def _anchors(edges: ColumnEdges) -> CategoryEdges:
    assert isinstance(edges, CategoryEdges)
    return edges
