"""Statistics over declared bins, against formulas by hand and scipy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency

from sparkml_ops.drift import ColumnDrift, DriftReport, Profile, compare_profiles
from sparkml_ops.drift.bins import OTHER, counts_in, declared_bins
from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.summaries import CategoryEdges, CategoryMaker, CategorySummary, Edges, Tally

Comparer = Callable[..., DriftReport]


def by_hand(reference: np.ndarray, current: np.ndarray) -> float:
    p = (reference + 0.5) / (reference + 0.5).sum()
    q = (current + 0.5) / (current + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def numbers() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    zeros = [np.where(random.random(3000) < share, 0.0, random.normal(1, 2, 3000)) for share in (0.3, 0.2)]
    return {
        "continuous": (random.normal(0, 1, 5000), random.normal(0.4, 1.3, 3000)),
        "tied": (random.integers(0, 6, 5000).astype(float), random.integers(1, 8, 3000).astype(float)),
        "an atom in the middle": (zeros[0], zeros[1]),
        "infinite": (np.r_[random.normal(0, 1, 800), [np.inf] * 150, [-np.inf] * 200], np.r_[random.normal(0, 1, 500), [np.inf] * 90]),
        "constant": (np.full(200, 2.0), np.full(100, 2.0)),
        "missing": (np.r_[random.normal(0, 1, 900), [np.nan] * 100], np.r_[random.normal(1, 1, 900), [np.nan] * 50]),
    }


@pytest.mark.parametrize("name", numbers())
def test_bins_count_every_value_exactly(compared: Comparer, name: str) -> None:
    """Counts are those of (edges[i], edges[i + 1]] on both sides, missing values left out."""
    reference, current = numbers()[name]
    column = compared(pd.DataFrame({"x": reference}), pd.DataFrame({"x": current}))["x"]

    for side, counts in zip((reference, current), column.counts, strict=True):
        values = side[~np.isnan(side)]
        home = np.searchsorted(column.bins[1:-1], values, side="left")
        assert np.array_equal(counts, np.bincount(home, minlength=len(counts)))
    assert (column.bins[0], column.bins[-1]) == (-np.inf, np.inf)


def test_bins_of_a_continuous_column_are_the_ten_deciles(compared: Comparer) -> None:
    """Edges are the reference's exact deciles by the inverted distribution function, right-closed."""
    reference, current = numbers()["continuous"]
    column = compared(pd.DataFrame({"x": reference}), pd.DataFrame({"x": current}))["x"]
    deciles = np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf")

    assert np.array_equal(column.bins[1:-1], deciles)
    assert column.counts.reference.tolist() == [500] * 10


def test_a_value_with_a_tenth_of_the_mass_is_a_bin_of_its_own(compared: Comparer) -> None:
    """Its bin holds that value alone, on both sides."""
    reference, current = numbers()["an atom in the middle"]
    column = compared(pd.DataFrame({"x": reference}), pd.DataFrame({"x": current}))["x"]
    home = int(np.searchsorted(column.bins[1:-1], 0.0, side="left"))

    assert column.counts.reference[home] == (reference == 0).sum()
    assert column.counts.current[home] == (current == 0).sum()
    assert "= 0" in column.declared.labels


@pytest.mark.parametrize("name", numbers())
def test_statistics_of_numbers_are_those_of_the_bins(compared: Comparer, name: str) -> None:
    """PSI by hand with 0.5 on every count of both sides; the others by scipy on raw counts."""
    reference, current = numbers()[name]
    column = compared(pd.DataFrame({"x": reference}), pd.DataFrame({"x": current}))["x"]
    first, second = column.counts
    p, q = first / first.sum(), second / second.sum()

    assert column.psi == pytest.approx(by_hand(first, second), rel=1e-12, abs=1e-15)
    assert column.jensen_shannon == pytest.approx(jensenshannon(p, q), rel=1e-12, abs=1e-12)
    assert column.total_variation == pytest.approx(np.abs(p - q).sum() / 2, rel=1e-12)
    assert column.hellinger == pytest.approx(np.sqrt(max(0.0, 1 - np.sqrt(p * q).sum())), rel=1e-6, abs=1e-7)
    assert column.l_infinity == pytest.approx(np.abs(p - q).max(), rel=1e-12)
    smoothed = (first + 0.5) / (first + 0.5).sum(), (second + 0.5) / (second + 0.5).sum()
    assert column.kullback_leibler == pytest.approx(stats.entropy(*smoothed), rel=1e-12, abs=1e-15)
    for statistic, power in (("chi_square", None), ("g_test", "log-likelihood")):
        expected = chi2_contingency(np.array([first, second]), lambda_=power)
        assert column.measures[statistic].value == pytest.approx(expected.statistic, rel=1e-12)
        assert column.measures[statistic].p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (column.fisher, column.new_categories, column.lost_categories) == (None, None, None)


def test_categories_are_their_own_bins(compared: Comparer) -> None:
    """Lost and new categories have bins too; distances of values do not apply."""
    reference = pd.DataFrame({"c": ["a"] * 500 + ["b"] * 300 + ["lost"] * 200})
    current = pd.DataFrame({"c": ["a"] * 200 + ["b"] * 100 + ["new"] * 100})
    column = compared(reference, current)["c"]

    assert dict(zip(column.bins, zip(*column.counts, strict=True), strict=True)) == {
        "a": (500, 200),
        "b": (300, 100),
        "lost": (200, 0),
        "new": (0, 100),
    }
    assert column.psi == pytest.approx(by_hand(np.array([500, 300, 200, 0]), np.array([200, 100, 0, 100])), rel=1e-12)
    assert (column.ks, column.ks_bounds, column.wasserstein, column.wasserstein_bounds) == (None, None, None, None)
    assert (column.new_categories, column.lost_categories, column.cramer_von_mises) == (("new",), ("lost",), None)
    assert [column.measures[name].value for name in ("new_categories", "lost_categories")] == [0.25, 0.2]


def test_two_by_two_tables_have_yates_correction(compared: Comparer) -> None:
    """A boolean, and an integer of 0 and 1, have two bins and scipy's default correction."""
    reference, current = np.arange(400) % 4 == 0, np.arange(300) % 2 == 0
    expected = chi2_contingency([[300, 100], [150, 150]]).statistic
    flags = compared(pd.DataFrame({"x": reference}), pd.DataFrame({"x": current}))["x"]
    integers = compared(pd.DataFrame({"x": reference.astype(int)}), pd.DataFrame({"x": current.astype(int)}))["x"]

    assert flags.chi_square == pytest.approx(expected, rel=1e-12)
    assert integers.chi_square == pytest.approx(expected, rel=1e-12)
    assert integers.bins.tolist() == [-np.inf, 0.0, np.inf]
    for column in (flags, integers):
        assert column.g_test == pytest.approx(chi2_contingency([[300, 100], [150, 150]], lambda_="log-likelihood").statistic, rel=1e-12)
        odds, p = stats.fisher_exact([[300, 100], [150, 150]])
        assert (column.fisher, column.measures["fisher"].p) == (pytest.approx(odds, rel=1e-12), pytest.approx(p, rel=1e-9))


def test_a_bin_that_only_the_current_rows_fill_stays(compared: Comparer) -> None:
    """Values below a minimum that holds much mass are a bin without reference rows, not hidden in its bin."""
    column = compared(pd.DataFrame({"x": [0.0] * 60 + [1.0] * 40}), pd.DataFrame({"x": [-1.0] * 30 + [0.0] * 70}))["x"]

    assert column.counts.reference.tolist() == [0, 60, 40]
    assert column.counts.current.tolist() == [30, 70, 0]


def test_categories_beyond_the_declared_ones_share_a_bin() -> None:
    """Where a column has too many categories the rest is one bin, on both sides."""
    edges = CategoryEdges(("a",), complete=False)
    states = [CategorySummary(edges.id, tally, np.array([count]), {}, 0) for tally, count in _many()]
    bins = declared_bins(ColumnProfile(edges, states[0]), ColumnProfile(edges, states[1]))

    report = judged(edges, states)
    assert (report.new_categories, report.measures["lost_categories"].value) == (None, None)
    assert bins.edges == ("a", OTHER)
    assert [side.tolist() for side in bins.counts] == [[6, 4], [1, 9]]


def test_a_category_has_a_bin_where_both_sides_count_it() -> None:
    """Beyond a limit each side keeps other categories: one that is kept on one side only would seem to be new or gone."""
    edges, values = CategoryEdges(("a",), complete=False), [[f"k{number % most}" for number in range(2 * most)] + ["a"] for most in (300, 400)]
    states = [CategoryMaker(edges, 50)(pa.array(side)) for side in values]
    bins = declared_bins(ColumnProfile(edges, states[0]), ColumnProfile(edges, states[1]))
    named = set(bins.edges[:-1])

    assert len(named) > 20
    for side, counts in zip(values, bins.counts, strict=True):
        assert Counter(dict(zip(bins.edges, counts.tolist(), strict=True))) == Counter(name if name in named else OTHER for name in side)
    assert np.array_equal(counts_in(bins, ColumnProfile(edges, states[0])), bins.counts.reference)


def test_a_category_may_be_called_as_the_others_are() -> None:
    """The word alone is a category like any: what is new beside it is named."""
    edges = CategoryEdges((OTHER, "a"))
    found = judged(edges, [CategoryMaker(edges, 50)(pa.array([OTHER, "a", *more] * 99)) for more in ([], ["new"])])

    assert (found.new_categories, found.lost_categories, found.bins) == (("new",), (), (OTHER, "a", "new"))


def judged(edges: CategoryEdges, states: list[CategorySummary]) -> ColumnDrift:
    whole = Edges({"c": edges}, {"c": "string"})
    return compare_profiles(*(Profile(whole, {(None, None): {"c": state}}) for state in states))["c"]


def _many() -> tuple[tuple[Tally, int], ...]:
    return (Tally(n=10), 6), (Tally(n=12, nulls=2), 1)
