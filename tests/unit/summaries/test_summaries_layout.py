"""Bit-prefix counts and the edges made of them."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkml_ops.summaries import CellMaker, Layout, PrefixCounts, PrefixMaker

CELLS = 1020
DECILES = np.arange(1, 10) / 10


def columns() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "normal": random.normal(0, 1, 20_000),
        "narrow": random.normal(1e6, 1e-3, 20_000),
        "heavy": random.pareto(1.1, 20_000),
        "tied": random.integers(0, 40, 20_000).astype(float),
        "constant": np.full(500, 3.25),
        "negative": -random.lognormal(0, 3, 20_000),
        "two scales": np.concatenate([random.normal(1e9, 1e-3, 10_000), random.lognormal(0, 20, 10_000)]),
        "few": np.array([2.0, 1.0, 5.0]),
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False, width=32), max_size=200), st.integers(2, 40), st.integers(1, 6))
def test_prefix_counts_do_not_depend_on_the_parts(values: list[float], limit: int, parts: int) -> None:
    """The whole has the longest prefix that fits the limit, however the rows were split."""
    make = PrefixMaker(limit)
    whole = make(pa.array(values, pa.float64()))
    merged = reduce(PrefixCounts.merge, (make(pa.array(part, pa.float64())) for part in np.array_split(np.array(values), parts)))

    assert merged.pack() == whole.pack()
    assert len(whole.prefixes) <= limit
    assert whole.counts.sum() == whole.tally.finite


def resolved(values: np.ndarray, limit: int) -> Layout:
    array = pa.array(values)
    layout = Layout.of(PrefixMaker(limit)(array))
    for _ in range(8):
        targets = layout.unresolved()
        if not targets.any():
            return layout
        layout = layout.refined(targets, PrefixMaker(limit, layout.lower[targets], layout.upper[targets])(array))
    pytest.fail("the deciles are still open after eight passes")


@pytest.mark.parametrize("limit", [64, 1 << 20])
@pytest.mark.parametrize("name", columns())
def test_cuts_are_the_exact_deciles(name: str, limit: int) -> None:
    """Deciles are those of the inverted distribution function, with few prefixes after a few more passes."""
    values = columns()[name]
    edges = resolved(values, limit).edges(CELLS)
    expected = np.unique(np.quantile(values, DECILES, method="inverted_cdf"))

    assert np.isin(expected, edges.cuts).all()
    extra = np.setdiff1d(edges.cuts, expected)
    shares = np.array([np.mean(values == value) for value in np.nextafter(extra, np.inf)])
    assert np.all((shares >= 0.1) | np.array([np.mean(values == value) >= 0.1 for value in extra], dtype=bool))


def test_the_core_is_equally_deep() -> None:
    """No cell holds much more than its share of a continuous column."""
    values = columns()["heavy"]
    edges = Layout.of(PrefixMaker(1 << 20)(pa.array(values))).edges(CELLS)

    assert CellMaker(edges)(pa.array(values)).counts.max() <= np.ceil(len(values) / CELLS)


def test_a_value_with_much_mass_has_a_cell_of_its_own() -> None:
    """An atom in a continuous column is alone in its cell."""
    values = columns()["normal"].copy()
    values[:2000] = 0.125
    edges = Layout.of(PrefixMaker(1 << 20)(pa.array(values))).edges(CELLS)
    home = int(np.searchsorted(edges.right, 0.125, side="left"))

    assert edges.single[home]
    assert edges.right[home] == 0.125


def test_infinite_values_count_in_the_deciles() -> None:
    """With a fifth of the rows at +inf, that value is a bin of its own and the last deciles are infinite."""
    values = np.concatenate([np.arange(80.0), np.full(20, np.inf)])
    edges = Layout.of(PrefixMaker(1 << 20)(pa.array(values))).edges(CELLS)

    assert edges.cuts.tolist() == [9.0, 19.0, 29.0, 39.0, 49.0, 59.0, 69.0, 79.0, np.finfo(np.float64).max]


def test_cells_beyond_the_data_grow_from_its_scale_even_beside_infinite_values() -> None:
    """An infinite value says nothing of the scale: just beyond the finite ones cells are still narrow."""
    edges = Layout.of(PrefixMaker(1 << 20)(pa.array([*np.linspace(-1, 1, 80), *[np.inf] * 20, *[-np.inf] * 20]))).edges(CELLS)
    home = int(np.searchsorted(edges.right, -1.5, side="left"))

    assert edges.right[home] - edges.left[home] < 1


def test_a_column_without_values_has_edges_too() -> None:
    """Later windows of an empty column can still be counted."""
    edges = Layout.of(PrefixMaker(100)(pa.array([None, None], pa.float64()))).edges(CELLS)

    assert CellMaker(edges)(pa.array([-1e300, 0.0, 3.0])).counts.sum() == 3
    assert len(edges.cuts) == 0
