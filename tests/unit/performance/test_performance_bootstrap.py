from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from sparkml_ops.performance.bootstrap import Replicates, weights

Rows = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]


def rows(count: int, seed: int = 0) -> Rows:
    """Scores of a good and of a worse model, labels, gains in log loss, positions."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    good, worse = (1 / (1 + np.exp(-(logits + rng.normal(0, noise, count)))) for noise in (0.3, 0.9))
    loss = [-np.where(labels == 1, np.log(scores), np.log1p(-scores)) for scores in (good, worse)]
    return good, worse, labels, loss[1] - loss[0], rng.permutation(10 * count)[:count]


def count(part: Rows, replicates: int = 200) -> Replicates:
    state = Replicates(replicates, seed=5)
    state.update(part[:2], part[2], part[3], part[4])
    return state


def test_weights_are_poisson_and_belong_to_the_row() -> None:
    """Mean and variance 1, rows and replicates unrelated, whatever else is in the batch."""
    drawn = weights(np.arange(20_000), 200, 3).astype(float)
    related = np.corrcoef(drawn[:, :20].T) - np.eye(20)

    assert drawn.mean() == pytest.approx(1, abs=0.003)
    assert drawn.var() == pytest.approx(1, abs=0.01)
    assert np.abs(related).max() < 0.04
    np.testing.assert_array_equal(weights(np.array([7, 19_999]), 200, 3), drawn[[7, 19_999]])
    assert (weights(np.arange(50), 200, 4) != drawn[:50]).any()


def test_parts_merge_to_the_whole() -> None:
    """Counts to the last bit, in any order and through bytes."""
    whole, part = rows(3000), (slice(0, 1100), slice(1100, 3000))
    first, second = (count(tuple(column[cut] for column in whole)) for cut in part)  # type: ignore[arg-type]
    merged = Replicates.from_bytes(second.to_bytes())
    merged.merge(first)

    np.testing.assert_array_equal(merged.counts, count(whole).counts)
    np.testing.assert_allclose(merged.sums, count(whole).sums, rtol=1e-12)


def test_intervals_are_those_of_a_direct_bootstrap_with_the_same_weights() -> None:
    """scikit-learn's weighted AUC and log loss of each replicate, percentiles by pandas."""
    good, worse, labels, gain, positions = rows(4000)
    state = count((good, worse, labels, gain, positions))
    drawn = weights(positions, 200, 5)
    direct = pd.DataFrame(
        {
            "auc": [
                roc_auc_score(labels, good, sample_weight=drawn[:, r]) - roc_auc_score(labels, worse, sample_weight=drawn[:, r]) for r in range(200)
            ],
            "loss": [log_loss(labels, worse, sample_weight=drawn[:, r]) - log_loss(labels, good, sample_weight=drawn[:, r]) for r in range(200)],
        }
    ).quantile([0.025, 0.975])

    np.testing.assert_allclose([state.auc_gain(0.95).lower, state.auc_gain(0.95).upper], direct["auc"], atol=1e-4)  # cells of 0.012 in log-odds
    np.testing.assert_allclose([state.loss_gain(0.95).lower, state.loss_gain(0.95).upper], direct["loss"], atol=1e-9)


def test_intervals_agree_with_resampling_of_rows() -> None:
    """An ordinary pandas bootstrap, which draws rows with replacement, gives about the same limits."""
    good, worse, labels, gain, positions = rows(4000)
    found = count((good, worse, labels, gain, positions), 400).auc_gain(0.95)
    frame = pd.DataFrame({"good": good, "worse": worse, "label": labels})
    samples = (frame.sample(frac=1, replace=True, random_state=seed) for seed in range(200))
    direct = pd.Series([roc_auc_score(part["label"], part["good"]) - roc_auc_score(part["label"], part["worse"]) for part in samples])
    width = direct.quantile(0.975) - direct.quantile(0.025)

    assert found.lower == pytest.approx(direct.quantile(0.025), abs=0.15 * width)
    assert found.upper == pytest.approx(direct.quantile(0.975), abs=0.15 * width)


def test_equal_models_have_an_interval_of_zero() -> None:
    """Paired: the noise of the rows is common to both."""
    good, _, labels, _, positions = rows(2000)
    state = count((good, good, labels, np.zeros(2000), positions))

    assert (state.auc_gain(0.95).lower, state.auc_gain(0.95).upper, state.loss_gain(0.95).upper) == (0.0, 0.0, 0.0)
