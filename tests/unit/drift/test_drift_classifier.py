"""The area under the ROC curve and its variance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sparkml_ops.drift.classifier import auc_of


def test_the_area_is_that_of_scikit_learn() -> None:
    """Ties count half."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, 20, 300) / 20, random.integers(3, 22, 200) / 20
    expected = roc_auc_score(np.repeat([0, 1], [300, 200]), np.concatenate([first, second]))

    assert auc_of(first, second)[0] == pytest.approx(expected, rel=1e-12)


def test_the_variance_is_that_of_repeated_samples() -> None:
    """The mean of DeLong's variances is the variance of the areas."""
    random = np.random.default_rng(1)
    found = np.array([auc_of(random.normal(0, 1, 150), random.normal(0.5, 1, 200)) for _ in range(600)])

    assert found[:, 1].mean() == pytest.approx(found[:, 0].var(), rel=0.15)
