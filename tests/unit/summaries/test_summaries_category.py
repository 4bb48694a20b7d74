"""Categorical summaries: exact where declared, bounded beyond."""

from __future__ import annotations

from collections import Counter
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest

from sparkml_ops.summaries import CategoryEdges, CategoryMaker, CategorySummary, FrequentMaker, FrequentValues, unpack_edges, unpack_summary


def rows(seed: int, distinct: int = 300, size: int = 5000) -> list[str]:
    return [f"v{value}" for value in np.random.default_rng(seed).zipf(1.4, size) % distinct]


def test_declared_categories_are_counted_exactly() -> None:
    """Anchors keep their order, new categories stand beside them, null is missing."""
    edges = CategoryEdges(("b", "a"))
    state = CategoryMaker(edges, 10)(pa.array(["a", "c", None, "a", "d", "c"]))

    assert state.counts(edges) == {"a": 2, "c": 2, "d": 1}
    assert (state.tally.n, state.tally.nulls, state.other, state.distinct) == (6, 1, 0, 3.0)


@pytest.mark.parametrize("limit", [5, 1000])
def test_merge_of_parts_is_the_whole(limit: int) -> None:
    """Counts, the further categories that are kept, and the rest do not depend on the parts."""
    edges = CategoryEdges(("v1", "v2", "never"))
    make, values = CategoryMaker(edges, limit), rows(0)
    merged = reduce(CategorySummary.merge, (make(pa.array(part)) for part in np.array_split(np.array(values), 7)))

    assert merged.pack() == make(pa.array(values)).pack()
    assert merged.merge(CategorySummary.empty(edges, limit)).pack() == merged.pack()
    counts = Counter(values)
    assert all(counts[name] == count for name, count in merged.counts(edges).items())
    assert merged.other == len(values) - sum(merged.counts(edges).values())


def test_the_number_of_categories_is_estimated_beyond_the_limit() -> None:
    """With k = 1000 of 50,000 categories the estimate is within a few times 1 / sqrt(k)."""
    state = CategoryMaker(CategoryEdges(()), 1000)(pa.array([f"id-{number}" for number in range(50_000)]))

    assert state.distinct == pytest.approx(50_000, rel=0.12)


def test_frequent_values_are_exact_within_their_capacity() -> None:
    """With room for every category the counts are those of the rows."""
    values = rows(1)
    state = FrequentMaker(1000)(pa.array(values))

    assert state.error == 0
    assert state.counts == dict(Counter(values))


def test_frequent_values_beyond_their_capacity_miss_no_heavy_one() -> None:
    """A count is too small by at most the error, and every value with more than n / capacity rows is there."""
    values, capacity = rows(2, distinct=2000, size=20_000), 100
    state = reduce(FrequentValues.merge, (FrequentMaker(capacity)(pa.array(part)) for part in np.array_split(np.array(values), 5)))
    counts = Counter(values)

    assert 0 < state.error <= len(values) / capacity
    assert all(0 <= counts[name] - count <= state.error for name, count in state.counts.items())
    assert {name for name, count in counts.items() if count > len(values) / capacity} <= set(state.counts)


def test_states_and_anchors_survive_their_bytes() -> None:
    """Bytes lead back to the same state and the same anchors."""
    edges = CategoryEdges(("é", ""), complete=False)
    state = CategoryMaker(edges, 10)(pa.array(["é", "x", None]))

    assert unpack_summary(state.pack()).pack() == state.pack()
    assert unpack_edges(edges.pack()) == edges
    assert unpack_summary(FrequentMaker(3)(pa.array(["a"])).pack()).tally.n == 1
