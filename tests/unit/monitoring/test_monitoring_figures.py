"""Figures from counts against scikit-learn, their intervals against simulation, and estimates without truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from sparkml_ops.monitoring.calibration import Calibration
from sparkml_ops.monitoring.figures import estimated, figures, realised
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import Performance

Floats = npt.NDArray[np.float64]


def drawn(rows: int, seed: int, digits: int | None = None) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Scores, tied where they have few digits, and labels whose chance is not the score."""
    random = np.random.default_rng(seed)
    scores = random.beta(2, 4, rows)
    if digits is not None:
        scores = scores.round(digits)
    return scores, (random.random(rows) < np.clip(0.1 + scores**1.5, 0, 1)).astype(np.int64)


def by_metric(found: list[Performance]) -> dict[str, Performance]:
    return {item.metric: item for item in found}


def measured(scores: Floats, labels: npt.NDArray[np.int64], **options: float) -> dict[str, Performance]:
    return by_metric(realised(ScoreCounts.of(scores, labels), "origin=JFK", **({"bins": 10, "confidence": 0.95} | options)))


@pytest.mark.parametrize("digits", [None, 1, 2])
def test_realised_figures_are_scikit_learn_s(digits: int | None) -> None:
    """With ties and without."""
    scores, labels = drawn(3000, 1, digits)
    scores = np.concatenate([scores, [0.0, 1.0]])
    labels = np.concatenate([labels, [1, 0]])
    found = measured(scores, labels)

    assert found["auc"].value == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    assert found["log_loss"].value == pytest.approx(log_loss(labels, scores), rel=1e-12)
    assert found["brier"].value == pytest.approx(brier_score_loss(labels, scores), rel=1e-12)
    assert found["rate"].value == pytest.approx(labels.mean(), rel=1e-12)
    assert {(item.kind, item.segment, item.rows) for item in found.values()} == {("realised", "origin=JFK", 3002)}


def test_the_calibration_error_is_that_of_equally_deep_bins() -> None:
    """Computed row by row; a calibrated model has a small one."""
    scores, labels = drawn(5000, 2)
    order = np.argsort(scores)
    gaps = [abs(labels[part].mean() - scores[part].mean()) * len(part) for part in np.split(order, 10)]
    calibrated = (np.random.default_rng(3).random(5000) < scores).astype(np.int64)

    assert measured(scores, labels)["calibration_error"].value == pytest.approx(sum(gaps) / 5000, rel=1e-9)
    assert (measured(scores, calibrated)["calibration_error"].value or 1) < 0.03
    assert measured(scores, labels)["calibration_error"].lower is None


def test_intervals_are_those_of_means_and_of_delong() -> None:
    """The AUC's against DeLong's formula pair by pair, the others against the standard error of the rows."""
    scores, labels = drawn(400, 4, 2)
    found, z = measured(scores, labels), norm.ppf(0.975)
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    variance = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    squares = (scores - labels) ** 2

    assert found["auc"].upper - found["auc"].lower == pytest.approx(2 * z * np.sqrt(variance), rel=1e-9)
    assert found["brier"].upper - found["brier"].lower == pytest.approx(2 * z * squares.std(ddof=1) / 20, rel=1e-9)
    assert found["rate"].lower < labels.mean() < found["rate"].upper


def test_what_does_not_exist_is_none() -> None:
    """No rows, one row, one label only; never a number in its place, and no interval of no width."""
    nothing = by_metric(realised(ScoreCounts.empty(), None, bins=10, confidence=0.95))
    single = measured(np.array([0.3]), np.array([1]))
    one_label = measured(np.array([0.3, 0.5, 0.7]), np.array([0, 0, 0]))

    assert {item.value for item in nothing.values()} == {None}
    assert len(nothing) == 5
    assert (single["auc"].value, single["brier"].value, single["brier"].lower) == (None, pytest.approx(0.49), None)
    assert (one_label["auc"].value, one_label["rate"].value, one_label["rate"].upper) == (None, 0.0, None)
    assert one_label["log_loss"].value is not None


def test_a_calibration_is_isotonic_regression_on_the_rows() -> None:
    """Fitted on counts it is the map that scikit-learn fits on rows; stored and read it is the same."""
    scores, labels = drawn(2000, 5, 2)
    fitted = Calibration.fit(ScoreCounts.of(scores, labels), "digest")
    oracle = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    grid = np.linspace(0, 1, 501)

    assert np.allclose(fitted.probability(grid), oracle.predict(grid), atol=1e-12)
    assert (fitted.rows, fitted.digest) == (2000, "digest")
    assert Calibration.from_json(fitted.to_json()) == fitted


def test_estimates_are_expectations_under_calibrated_scores() -> None:
    """CBPE row by row: each row counts as c positives and 1 - c negatives."""
    scores, labels = drawn(4000, 6)
    calibration = Calibration.fit(ScoreCounts.of(scores, labels), "")
    current, _ = drawn(1500, 7)
    found = by_metric(estimated(ScoreCounts.of(current, np.zeros(1500, np.int64)), calibration, None))

    chance = IsotonicRegression(out_of_bounds="clip").fit(scores, labels).predict(current)
    both, twice = np.concatenate([np.ones(1500), np.zeros(1500)]), np.concatenate([current, current])
    weight = np.concatenate([chance, 1 - chance])
    assert found["auc"].value == pytest.approx(roc_auc_score(both, twice, sample_weight=weight), abs=1e-9)
    assert found["log_loss"].value == pytest.approx(log_loss(both, twice, sample_weight=weight), abs=1e-9)
    assert found["brier"].value == pytest.approx((weight * (both - twice) ** 2).sum() / 1500, abs=1e-9)
    assert found["rate"].value == pytest.approx(chance.mean(), abs=1e-9)
    assert {item.rows for item in found.values()} == {1500}


def test_the_estimate_s_interval_holds_what_the_truth_then_says() -> None:
    """Calibrations on few rows and windows drawn many times: the realised figures stay inside."""
    misses = dict.fromkeys(("auc", "log_loss", "brier", "rate"), 0)
    for repeat in range(200):
        scores, labels = drawn(2000, 1000 + repeat)
        calibration = Calibration.fit(ScoreCounts.of(scores, labels), "")
        current, truth = drawn(1500, 5000 + repeat)
        guess = by_metric(estimated(ScoreCounts.of(current, np.zeros(1500, np.int64)), calibration, None))
        real = measured(current, truth)
        for name in misses:
            misses[name] += not guess[name].lower <= real[name].value <= guess[name].upper

    assert max(misses.values()) <= 3, misses


def test_without_a_calibration_nothing_is_estimated() -> None:
    """The figures are there and say None."""
    found = estimated(ScoreCounts.of(np.array([0.1, 0.2]), np.array([0, 0])), None, None)

    assert [(item.metric, item.value, item.rows) for item in found] == [(name, None, 2) for name in ("auc", "log_loss", "brier", "rate")]


def test_more_scores_than_are_kept_apart_change_no_figure_by_much() -> None:
    """Above a million distinct scores cells stand for them, each by its middle: AUC, log loss and Brier score stay."""
    scores, labels = drawn(50_000, 10)
    exact = ScoreCounts.of(scores, labels)
    rounded = ScoreCounts.of(np.floor(scores * (1 << 20)) / (1 << 20), labels)
    coarse = ScoreCounts(rounded.scores, rounded.negatives, rounded.positives, exact=False)
    fine, gross = (by_metric(realised(counts, None, bins=10, confidence=0.95)) for counts in (exact, coarse))

    for name, item in fine.items():
        assert gross[name].value == pytest.approx(item.value, abs=1e-6), name


def test_figures_do_not_depend_on_the_unit_of_counts() -> None:
    """Ten rows of each score and label say the same, ten times as surely."""
    scores, labels = drawn(500, 11, 2)
    counts = ScoreCounts.of(scores, labels)
    once = figures(counts.scores, counts.negatives.astype(float), counts.positives.astype(float), 1.0)
    often = figures(counts.scores, 10.0 * counts.negatives, 10.0 * counts.positives, 1.0)

    for name in once:
        assert often[name].value == pytest.approx(once[name].value)
        assert often[name].upper - often[name].lower == pytest.approx((once[name].upper - once[name].lower) / np.sqrt(10), rel=0.02)
