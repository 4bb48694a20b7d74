"""The numeric summary: exact counts, sums that do not depend on the order, merging."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import CellMaker, Layout, NumberEdges, NumberSummary, PrefixMaker, unpack_edges, unpack_summary
from sparkml_ops.summaries.order import LARGEST

CELLS = 1020
VALUES = st.lists(
    st.one_of(
        st.floats(min_value=-1e200, max_value=1e200),
        st.sampled_from([0.0, -0.0, 1.0, -7.5, 1e9, float("inf"), float("-inf"), float("nan")]),
        st.integers(-5, 5).map(float),
        st.none(),
    ),
    max_size=60,
)


def edges_of(values: object) -> NumberEdges:
    return Layout.of(PrefixMaker(1 << 20)(pa.array(values, pa.float64()))).edges(CELLS)


def heavy_tailed(rows: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).lognormal(0, 2, rows)
    values[::7] = 0.0
    return values


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_every_finite_value_is_in_the_cell_whose_edges_hold_it(reference: list[float | None], values: list[float | None]) -> None:
    """Cell i holds the values in (edges[i], edges[i + 1]], also values that the reference never had."""
    edges = edges_of(reference)
    state = CellMaker(edges)(pa.array(values, pa.float64()))
    finite = np.array([value for value in values if value is not None and np.isfinite(value)], dtype=np.float64)

    assert np.array_equal(state.counts, np.bincount(np.searchsorted(edges.right, finite, side="left"), minlength=edges.cells))
    assert (state.tally.n, state.tally.finite) == (len(values), len(finite))


def test_edges_cover_every_float_and_ascend() -> None:
    """The first edge is -inf, the last the largest float."""
    edges = edges_of(heavy_tailed(5000, 0))

    assert (edges.values[0], edges.values[-1]) == (-np.inf, LARGEST)
    assert np.all(np.diff(edges.values) > 0)
    assert np.isin(edges.cuts, edges.values).all()


@settings(max_examples=40, deadline=None)
@given(VALUES, st.integers(1, 7), st.integers(0, 100))
def test_merge_of_parts_is_the_whole_bit_for_bit(values: list[float | None], parts: int, seed: int) -> None:
    """However rows are split and ordered, the merged state has the same bytes."""
    edges = edges_of(heavy_tailed(2000, 1))
    make = CellMaker(edges)
    rows = np.array([*values, *heavy_tailed(300, seed)], dtype=object)
    np.random.default_rng(seed).shuffle(rows)

    whole = make(pa.array(rows.tolist(), pa.float64()))
    merged = reduce(NumberSummary.merge, (make(pa.array(part.tolist(), pa.float64())) for part in np.array_split(rows, parts)))

    assert merged.pack() == whole.pack()


def test_merging_is_associative_and_has_an_empty_element() -> None:
    """(a + b) + c = a + (b + c), and a + nothing = a, in every byte."""
    edges = edges_of(heavy_tailed(2000, 1))
    a, b, c = (CellMaker(edges)(pa.array(heavy_tailed(500, seed))) for seed in (2, 3, 4))

    assert a.merge(b).merge(c).pack() == a.merge(b.merge(c)).pack()
    assert a.merge(NumberSummary.empty(edges)).pack() == a.pack()


def test_sums_are_those_of_exact_arithmetic() -> None:
    """Sum and sum of squares agree with rational numbers."""
    values = heavy_tailed(5000, 5)
    edges = edges_of(values)
    state = CellMaker(edges)(pa.array(values))
    exact = sum(map(Fraction, values.tolist()))
    squares = sum(Fraction(value) ** 2 for value in values.tolist())

    assert state.total(edges) == pytest.approx(float(exact), rel=1e-14)
    assert state.total_squares(edges) == pytest.approx(float(squares), rel=1e-7)
    assert (state.lowest, state.highest) == (values.min(), values.max())


def test_sums_by_cell_are_distances_from_the_left_edge() -> None:
    """Each cell's sum is that of (value - left edge) over its values."""
    values = heavy_tailed(3000, 6)
    edges = edges_of(values)
    state = CellMaker(edges)(pa.array(values))
    home = np.searchsorted(edges.right, values, side="left")

    assert state.sums(edges) == pytest.approx(np.bincount(home, weights=values - edges.left[home], minlength=edges.cells), rel=1e-9, abs=1e-300)


def test_states_and_edges_survive_their_bytes() -> None:
    """Bytes lead back to the same state and the same edges, without pickle."""
    edges = edges_of(heavy_tailed(2000, 1))
    state = CellMaker(edges)(pa.array([1.0, None, float("inf"), 1e300]))
    again = unpack_edges(edges.pack())

    assert unpack_summary(state.pack()).pack() == state.pack()
    assert again.id == edges.id


def test_states_on_different_edges_do_not_merge() -> None:
    """Counts of different cells must never be added."""
    first, second = edges_of([1.0, 2.0]), edges_of([1.0, 3.0])

    with pytest.raises(ContractError, match="the same edges"):
        NumberSummary.empty(first).merge(NumberSummary.empty(second))
