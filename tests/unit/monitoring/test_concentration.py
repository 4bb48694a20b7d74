"""Concentration of predictions: true to scipy and to the definitions, the same for scores, classes and items."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sparkml_ops.monitoring import CONCENTRATION, concentration
from sparkml_ops.monitoring.concentration import of_classes, of_scores
from sparkml_ops.performance.classes import ClassErrors
from sparkml_ops.performance.scores import ScoreCounts


@pytest.mark.parametrize("counts", [[5, 5, 5], [8, 1, 1, 0], [1], [0, 0, 7], [3, 900, 12, 1, 1, 0, 44]])
def test_measures_are_their_definitions(counts: list[int]) -> None:
    """Entropy is scipy's, Herfindahl the chance of a pair alike, Gini the mean difference of all pairs over twice the mean."""
    found, shares = concentration(counts), np.array(counts) / sum(counts)

    expected = stats.entropy(shares) / np.log(len(counts)) if len(counts) > 1 else 0.0
    assert found["entropy"] == pytest.approx(expected, abs=1e-12)
    assert found["herfindahl"] == pytest.approx((shares**2).sum(), abs=1e-12)
    assert found["gini"] == pytest.approx(np.abs(np.subtract.outer(counts, counts)).mean() / (2 * np.mean(counts)), abs=1e-12)
    assert found["top_share"] == pytest.approx(shares.max(), abs=1e-12)


def test_scores_are_counted_in_ten_bins() -> None:
    """Scores at both ends have a bin; a window without rows has no figure, not a nil."""
    scores = np.r_[np.zeros(30), np.linspace(0.05, 0.95, 10), 1.0]
    counted = ScoreCounts.of(scores, np.zeros(len(scores), np.int64))

    found = {item.metric: item for item in of_scores(counted, "origin=JFK")}
    empty = of_scores(ScoreCounts.empty(), None)

    expected = concentration(np.histogram(scores, bins=10, range=(0, 1))[0])
    assert {metric: item.value for metric, item in found.items()} == expected
    assert {(item.kind, item.segment, item.rows) for item in found.values()} == {("predicted", "origin=JFK", 41)}
    assert [(item.metric, item.value) for item in empty] == [(metric, None) for metric in CONCENTRATION]


def test_classes_are_counted_by_the_likeliest_one() -> None:
    """Whatever the truth is expected to be; parts merge."""
    rng = np.random.default_rng(5)
    predicted = rng.dirichlet([4, 2, 1, 0.01], 501)
    halves = [ClassErrors.expected(part, rng.dirichlet(np.ones(4), len(part))) for part in (predicted[:200], predicted[200:])]

    found = {item.metric: item for item in of_classes(halves[0].merge(halves[1]), None)}

    expected = concentration(np.bincount(predicted.argmax(axis=1), minlength=4))
    assert {metric: item.value for metric, item in found.items()} == pytest.approx(expected, abs=1e-12)
    assert {(item.kind, item.rows) for item in found.values()} == {("predicted", 501)}
    assert {item.value for item in of_classes(ClassErrors.empty(4), None)} == {None}
