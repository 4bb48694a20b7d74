"""Figures behind release gates, against scikit-learn, fairlearn on the rows themselves, and DeLong's own definition."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference, equal_opportunity_difference, equalized_odds_difference
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from sparkml_ops.performance.calibration import brier_score, calibration, calibration_line
from sparkml_ops.performance.decisions import confusion
from sparkml_ops.performance.delong import Placements
from sparkml_ops.performance.fairness import disparities
from sparkml_ops.performance.scores import ScoreCounts


def drawn(count: int, seed: int = 3, *, digits: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of two models with many ties, and labels."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-0.5, 1.2, count)
    scores = [np.round(expit(odds + rng.normal(0, spread, count)), digits).clip(0.01, 0.99) for spread in (0.3, 0.9)]
    return scores[0], scores[1], (rng.random(count) < expit(odds)).astype(np.int64)


def kernel(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[positives, negatives] of DeLong's psi, pair by pair."""
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return (np.sign(pairs) + 1) / 2


def test_delong_is_its_definition_and_parts_merge() -> None:
    """Sums of three parts give the covariance of the full matrix of pairs, and SciPy's normal limits around the difference of AUCs."""
    first, second, labels = drawn(700)
    counts = (ScoreCounts.of(first, labels), ScoreCounts.of(second, labels))
    parts = [Placements.of((first[at::3], second[at::3]), labels[at::3], counts) for at in range(3)]
    found = reduce(Placements.merge, (Placements.flat(part.numbers) for part in parts))
    psi = [kernel(scores, labels) for scores in (first, second)]
    by_positive, by_negative = (np.cov(np.stack([matrix.mean(axis=axis) for matrix in psi])) for axis in (1, 0))
    contrast = np.array([1.0, -1.0])
    variance = contrast @ (by_positive / (labels == 1).sum() + by_negative / (labels == 0).sum()) @ contrast
    difference = roc_auc_score(labels, first) - roc_auc_score(labels, second)
    limits = norm.interval(0.9, difference, np.sqrt(variance))

    assert found.variance == pytest.approx(variance, rel=1e-9)
    assert (found.gain(0.9).lower, found.gain(0.9).upper) == pytest.approx(limits, abs=1e-12)


def test_delong_of_one_label_or_of_equal_models() -> None:
    """One label has no interval; a model against itself has one of no width."""
    scores, _, labels = drawn(200)
    counts = ScoreCounts.of(scores, labels)
    same = Placements.of((scores, scores), labels, (counts, counts)).gain(0.95)
    ones = ScoreCounts.of(scores, np.ones_like(labels))

    assert (same.lower, same.upper) == pytest.approx((0.0, 0.0), abs=1e-9)
    with np.errstate(invalid="ignore", divide="ignore"):
        assert np.isnan(Placements.of((scores, scores), np.ones_like(labels), (ones, ones)).variance)


def test_rounded_counts_change_delong_by_less_than_their_grid() -> None:
    """Scores on a grid of a power of two, as they are where too many differ."""
    first, second, labels = drawn(900, digits=6)
    exact = tuple(ScoreCounts.of(scores, labels) for scores in (first, second))
    coarse = tuple(ScoreCounts.of(scores, labels, limit=256) for scores in (first, second))
    fine, rough = (Placements.of((first, second), labels, counts).gain(0.95) for counts in (exact, coarse))

    assert not coarse[0].exact
    assert (rough.lower, rough.upper) == pytest.approx((fine.lower, fine.upper), abs=2 / 256)


def test_calibration_is_that_of_scikit_learn() -> None:
    """Brier score, and the line of an unpenalised logistic regression on log-odds; scores that lie too far out have a slope below 1."""
    scores, _, labels = drawn(4000)
    counts = ScoreCounts.of(scores, labels)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(scores)[:, None], labels)
    stretched = ScoreCounts.of(expit(2 * logit(scores)), labels)

    assert brier_score(counts) == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)
    assert calibration_line(counts) == pytest.approx((reference.intercept_[0], reference.coef_[0, 0]), abs=1e-5)
    assert calibration_line(stretched)[1] == pytest.approx(calibration_line(counts)[1] / 2, abs=1e-8)
    assert set(calibration(counts, 20)) == {"calibration_error", "brier", "calibration_intercept", "calibration_slope"}


@pytest.mark.parametrize(
    "counts",
    [
        ScoreCounts.of(np.array([0.2, 0.4]), np.array([1, 1])),
        ScoreCounts.of(np.array([0.4, 0.4]), np.array([0, 1])),
        ScoreCounts.of(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1])),
        ScoreCounts.empty(),
    ],
)
def test_where_no_line_fits_there_is_none(counts: ScoreCounts) -> None:
    """One label, one score, parted labels, no rows: NaN, which is no evidence."""
    assert np.isnan(calibration_line(counts)).all()


def test_fairness_by_counts_is_that_of_fairlearn_on_the_rows() -> None:
    """Four weighted rows a group stand for all of them."""
    scores, _, labels = drawn(3000)
    groups = np.random.default_rng(8).choice(["a", "b", "c"], 3000, p=[0.5, 0.3, 0.2])
    decided = (scores + 0.1 * (groups == "b") >= 0.5).astype(int)
    found = disparities({name: confusion(ScoreCounts.of(decided[groups == name].astype(float), labels[groups == name])) for name in ("a", "b", "c")})

    assert found == pytest.approx(
        {
            "demographic_parity": demographic_parity_difference(labels, decided, sensitive_features=groups),
            "equal_opportunity": equal_opportunity_difference(labels, decided, sensitive_features=groups),
            "equalised_odds": equalized_odds_difference(labels, decided, sensitive_features=groups),
        },
        abs=1e-12,
    )
    assert found["demographic_parity"] > 0.02
