"""Figures of regression, counts, quantiles and several classes: those of scikit-learn, from parts in any cut."""

from __future__ import annotations

import math
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from sparkml_ops.performance.classes import ClassErrors, LabelErrors
from sparkml_ops.performance.numbers import NumberErrors, QuantileErrors

ROWS, CUTS = 3000, (0, 7, 7, 1200, 3000)
RNG = np.random.default_rng(8)


def merged(measure: Any, predicted: Any, true: Any, *more: Any) -> Any:
    """Measured in four parts, one of them empty, after a way between processes."""
    parts = [measure.of(predicted[start:stop], true[start:stop], *more) for start, stop in pairwise(CUTS)]
    return reduce(lambda left, right: left.merge(right), (measure.from_bytes(part.to_bytes()) for part in parts))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_numbers_are_those_of_scikit_learn(offset: float) -> None:
    """Also far from zero, where squares of values would swallow their deviations."""
    true = offset + RNG.normal(5, 2, ROWS)
    predicted = true + RNG.normal(0, 1, ROWS)
    found = merged(NumberErrors, predicted, true).figures()

    assert found["rmse"] == pytest.approx(root_mean_squared_error(true, predicted), rel=1e-12)
    assert found["mae"] == pytest.approx(mean_absolute_error(true, predicted), rel=1e-12)
    assert found["r2"] == pytest.approx(r2_score(true, predicted), rel=1e-10)


def test_counts_have_the_deviance_of_scikit_learn() -> None:
    """Zeros among them; a prediction that is no rate has none; a constant truth has no R²."""
    rate = RNG.gamma(2.0, size=ROWS)
    true = RNG.poisson(rate).astype(float)
    found = merged(NumberErrors, rate * 1.1, true).figures()

    assert found["poisson_deviance"] == pytest.approx(mean_poisson_deviance(true, rate * 1.1), rel=1e-12)
    assert math.isnan(merged(NumberErrors, rate - 1, true).figures()["poisson_deviance"])
    assert math.isnan(NumberErrors.of(rate[:5], np.ones(5)).figures()["r2"])


def test_quantiles_are_those_of_scikit_learn() -> None:
    """Pinball loss of each level and of all, and how many rows lie below."""
    levels, true = (0.1, 0.5, 0.95), RNG.normal(size=ROWS)
    predicted = np.sort(RNG.normal(size=(ROWS, 3)), axis=1)
    found = merged(QuantileErrors, predicted, true, levels).figures(("q10", "q50", "q95"))
    losses = [mean_pinball_loss(true, predicted[:, index], alpha=level) for index, level in enumerate(levels)]

    assert [found[f"pinball_{name}"] for name in ("q10", "q50", "q95")] == pytest.approx(losses, rel=1e-12)
    assert found["pinball"] == pytest.approx(np.mean(losses), rel=1e-12)
    assert found["coverage_q50"] == pytest.approx((true <= predicted[:, 1]).mean(), rel=1e-12)


def test_classes_are_those_of_scikit_learn() -> None:
    """Log loss, accuracy, macro F1 and the mean area of each class against the others."""
    scores = RNG.dirichlet((1.0, 2.0, 0.5, 1.0), ROWS).round(3)
    scores /= scores.sum(axis=1, keepdims=True)
    true = np.array([RNG.choice(4, p=row) for row in scores])
    found, decided = merged(ClassErrors, scores, true).figures(), scores.argmax(axis=1)

    assert found["log_loss"] == pytest.approx(log_loss(true, scores), rel=1e-9)
    assert found["accuracy"] == pytest.approx(accuracy_score(true, decided), rel=1e-12)
    assert found["macro_f1"] == pytest.approx(f1_score(true, decided, average="macro"), rel=1e-12)
    assert found["macro_auc"] == pytest.approx(roc_auc_score(true, scores, multi_class="ovr"), rel=1e-12)
    assert found["auc_error"] == 0


def test_labels_are_those_of_scikit_learn() -> None:
    """Macro figures over classes that apply or not, at 0.5 where a decision is needed."""
    scores = RNG.random((ROWS, 3)).round(3)
    true = (RNG.random((ROWS, 3)) < scores).astype(float)
    found = merged(LabelErrors, scores, true).figures()

    assert found["macro_auc"] == pytest.approx(roc_auc_score(true, scores, average="macro"), rel=1e-12)
    assert found["macro_f1"] == pytest.approx(f1_score(true, scores >= 0.5, average="macro"), rel=1e-12)
    assert found["log_loss"] == pytest.approx(log_loss(true.ravel(), scores.ravel()), rel=1e-9)
    assert found["accuracy"] == pytest.approx(accuracy_score(true.ravel(), scores.ravel() >= 0.5), rel=1e-12)


def test_many_classes_stay_within_memory() -> None:
    """Their scores are rounded, by no more than the stated error, and decisions stay exact."""
    scores = RNG.dirichlet(np.full(200, 0.05), 20_000)
    true = scores.argmax(axis=1)
    found, exact = ClassErrors.of(scores, true), float(np.mean([roc_auc_score(true == index, scores[:, index]) for index in range(200)]))

    assert max(len(counts.scores) for counts in found.scores) <= 4097
    assert 0 < found.figures()["auc_error"] < 0.01
    assert abs(found.figures()["macro_auc"] - exact) <= found.figures()["auc_error"]
    assert found.figures()["accuracy"] == 1
