"""Kolmogorov-Smirnov and Wasserstein-1 from cells: bounds that hold, and exact values from fetched cells."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparkml_ops.drift.bounds import Pair
from sparkml_ops.summaries import CellMaker, Layout, NumberEdges, PrefixCounts, PrefixMaker

CELLS = 1020
# scipy divides by zero on its way to a p-value that is not used here.
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
# A slack for the rounding of scipy's own floats.
ROUNDING = 1e-12


def pair_of(reference: np.ndarray, current: np.ndarray, keep: int = 1) -> Pair:
    """Both sides on the reference's edges, or on every keep-th of those within the data."""
    edges = Layout.of(PrefixMaker(1 << 14)(pa.array(reference))).edges(CELLS)
    if keep > 1:
        low, high = np.searchsorted(edges.values, [np.min(finite(reference), initial=0), np.max(finite(reference), initial=0)])
        edges = NumberEdges(np.concatenate([edges.values[:low], edges.values[low:high:keep], edges.values[high:]]), np.empty(0))
    return Pair(edges, CellMaker(edges)(pa.array(reference)), CellMaker(edges)(pa.array(current)))


def all_values(*sides: np.ndarray) -> tuple[PrefixCounts, PrefixCounts]:
    first, second = (PrefixMaker((1 << 62) + 1)(pa.array(side)) for side in sides)
    return first, second


def finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def check(reference: np.ndarray, current: np.ndarray, keep: int = 1) -> Pair:
    """Bounds hold for both distances, and with all values both are scipy's."""
    pair = pair_of(reference, current, keep)
    fetched = all_values(reference, current)
    expected = stats.ks_2samp(reference, current, method="asymp").statistic
    ks, exact = pair.ks(), pair.ks(fetched)
    assert ks is not None
    assert exact is not None
    assert ks.lower - ROUNDING <= expected <= ks.upper + ROUNDING
    assert exact.value == pytest.approx(expected, rel=1e-12, abs=1e-15)
    check_criterion(pair, reference, current)
    area, exact_area = pair.wasserstein(), pair.wasserstein(fetched)
    if len(finite(reference)) and len(finite(current)):
        distance = stats.wasserstein_distance(finite(reference), finite(current))
        assert area is not None
        assert exact_area is not None
        # Sums of distances below 1e-270 are lost: nobody measures that.
        slack = 1e-270 + ROUNDING * float(np.abs(finite(np.concatenate([reference, current]))).max())
        assert area.lower - slack <= distance <= area.upper + slack
        assert exact_area.value == pytest.approx(distance, rel=1e-12, abs=slack if keep > 1 else slack * 1e-3)
    return pair


def check_criterion(pair: Pair, reference: np.ndarray, current: np.ndarray) -> None:
    """Bounds hold for scipy's statistic, which is met where each value has a cell of its own."""
    if min(len(reference), len(current)) < 2:
        return
    expected = stats.cramervonmises_2samp(reference, current, method="asymptotic").statistic
    found = pair.cramer_von_mises()
    assert found is not None
    # scipy's own subtraction leaves rounding of this size.
    slack = 1e-13 * (1 + len(reference) * len(current) / (len(reference) + len(current)))
    assert found.lower - slack <= expected <= found.upper + slack
    assert found.lower <= found.value <= found.upper
    if found.exact:
        assert found.value == pytest.approx(expected, rel=1e-12, abs=slack)
    exact = pair.cramer_von_mises(all_values(reference, current))
    assert exact is not None
    assert exact.lower == exact.value == exact.upper == pytest.approx(expected, rel=1e-12, abs=slack)


def random(kind: str, rows: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return {
        "normal": lambda: generator.normal(0, 1, rows),
        "shifted": lambda: generator.normal(0.3, 1.2, rows),
        "narrow": lambda: generator.normal(1000, 1e-3, rows),
        "lognormal": lambda: generator.lognormal(0, 2, rows),
        "pareto": lambda: generator.pareto(1.5, rows),
        "tied": lambda: generator.integers(0, 50, rows).astype(float),
        "constant": lambda: np.full(rows, 3.0),
        "far": lambda: generator.normal(1e9, 1, rows),
        "infinite": lambda: np.where(
            generator.random(rows) < 0.1, np.inf, np.where(generator.random(rows) < 0.05, -np.inf, generator.normal(0, 1, rows))
        ),
        "zero inflated": lambda: np.where(generator.random(rows) < 0.4, 0.0, generator.exponential(1, rows)),
    }[kind]()


PAIRS = [
    ("normal", "normal"),
    ("normal", "shifted"),
    ("normal", "far"),
    ("narrow", "narrow"),
    ("lognormal", "lognormal"),
    ("pareto", "pareto"),
    ("tied", "tied"),
    ("tied", "normal"),
    ("constant", "constant"),
    ("constant", "normal"),
    ("normal", "constant"),
    ("infinite", "infinite"),
    ("normal", "infinite"),
    ("zero inflated", "zero inflated"),
    ("zero inflated", "lognormal"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_bounds_hold_and_exact_values_are_those_of_scipy(first: str, second: str) -> None:
    """Tied, heavy-tailed, constant, infinite and disjoint data; unequal sizes."""
    check(random(first, 6000, 1), random(second, 2500, 2))


@pytest.mark.parametrize(("first", "second"), PAIRS[:6])
def test_bounds_hold_on_poor_edges(first: str, second: str) -> None:
    """Bounds do not rely on good edges: with every 200th edge they are wide, and still hold."""
    check(random(first, 4000, 3), random(second, 4000, 4), keep=200)


SAMPLES = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.integers(-3, 3).map(float), st.sampled_from([np.inf, -np.inf])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=120, deadline=None)
@given(SAMPLES, SAMPLES, st.integers(1, 30))
def test_bounds_hold_on_any_data(reference: list[float], current: list[float], keep: int) -> None:
    """The rule for arbitrary small samples on good and poor edges."""
    check(np.array(reference), np.array(current), keep)


def test_the_gap_is_at_most_the_heaviest_cell() -> None:
    """With equally deep cells the bounds of the distance differ by about one cell's mass."""
    pair = pair_of(random("normal", 50_000, 1), random("normal", 50_000, 2))
    bounds = pair.ks()

    assert bounds is not None
    assert bounds.upper - bounds.lower <= 2.5 / CELLS


def test_values_of_ambiguous_cells_are_enough() -> None:
    """The exact distance needs the values of the ambiguous cells only."""
    reference, current = random("normal", 20_000, 1), random("normal", 20_000, 2)
    pair = pair_of(reference, current)
    ks, area = pair.ks(), pair.wasserstein()
    assert ks is not None
    assert area is not None
    wanted = ks.ambiguous | area.ambiguous
    sides = [side[wanted[np.searchsorted(pair.edges.right, side, side="left")]] for side in (reference, current)]
    fetched = all_values(*sides)
    exact, exact_area = pair.ks(fetched), pair.wasserstein(fetched)

    assert 0 < sum(map(len, sides)) < 0.6 * 40_000
    assert exact is not None
    assert exact_area is not None
    assert exact.value == pytest.approx(stats.ks_2samp(reference, current).statistic, rel=1e-12)
    assert exact_area.value == pytest.approx(stats.wasserstein_distance(reference, current), rel=1e-12)


def test_extreme_tails_agree_with_rational_arithmetic() -> None:
    """Over 30 orders of magnitude, where float sums lose digits, the area is that of exact fractions."""
    generator = np.random.default_rng(0)
    reference, current = 10.0 ** generator.uniform(-15, 15, 200), 10.0 ** generator.uniform(-15, 15, 150)
    points = sorted({*reference.tolist(), *current.tolist()})
    area = Fraction(0)
    for left, right in pairwise(points):
        below = Fraction(int((reference <= left).sum()), 200) - Fraction(int((current <= left).sum()), 150)
        area += abs(below) * (Fraction(right) - Fraction(left))
    exact = pair_of(reference, current).wasserstein(all_values(reference, current))

    assert exact is not None
    assert exact.value == pytest.approx(float(area), rel=1e-13)


def test_an_area_beyond_float64_is_none() -> None:
    """Never an error: values near the greatest float lie farther apart than one can say."""
    reference, current = np.full(200, -1.7e308), np.linspace(1e308, 1.7e308, 200)

    assert pair_of(reference, current).wasserstein(all_values(reference, current)) is None


def test_a_side_without_values_has_no_distance() -> None:
    """Never a number for a side without values; without finite ones no area."""
    nothing, infinite, values = np.array([np.nan]), np.array([np.inf]), np.array([1.0, 2.0])

    assert pair_of(values, nothing).ks() is None
    assert pair_of(nothing, values).ks() is None
    assert pair_of(values, infinite).wasserstein() is None
    ks = pair_of(values, infinite).ks()
    assert ks is not None
    assert ks.value == 1.0


def test_billions_of_rows_do_not_overflow() -> None:
    """Counts beyond 2^31 a side keep exact differences: merging doubles a state 40 times."""
    pair = pair_of(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0]))
    first, second = pair.reference, pair.current
    for _ in range(40):
        first, second = first.merge(first), second.merge(second)
    bounds, area = Pair(pair.edges, first, second).ks(), Pair(pair.edges, first, second).wasserstein()

    assert bounds is not None
    assert area is not None
    assert bounds.value == pytest.approx(1 / 3, rel=1e-15)
    assert area.value == pytest.approx(0.5, rel=1e-12)
