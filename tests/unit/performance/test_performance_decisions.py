from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix, f1_score

from sparkml_ops.performance.decisions import average_precision, calibration_error, confusion, reliability
from sparkml_ops.performance.scores import ScoreCounts


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.sampled_from([2, 7, 10_000]), st.integers(0, 99))
def test_decisions_are_those_of_scikit_learn(count: int, distinct: int, seed: int) -> None:
    """Ties, one label alone, scores at the threshold; in parts as in one."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, distinct, count) / distinct
    labels = (rng.random(count) < scores).astype(np.int64)
    counts = ScoreCounts.of(scores[: count // 2], labels[: count // 2]).merge(ScoreCounts.of(scores[count // 2 :], labels[count // 2 :]))
    decided, found = scores >= 0.5, confusion(counts)

    assert confusion_matrix(labels, decided, labels=[0, 1]).ravel().tolist() == list(vars(found).values())
    assert found.accuracy == pytest.approx(accuracy_score(labels, decided), abs=1e-12)
    assert found.f1 == pytest.approx(f1_score(labels, decided, zero_division=0.0), abs=1e-12)
    if labels.any():
        assert average_precision(counts) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    else:
        assert math.isnan(average_precision(counts))


def test_bins_hold_equally_many_rows() -> None:
    """Distinct scores are cut evenly; many rows of one score stay in one bin; without rows there is none."""
    scores, labels = np.arange(1000) / 1000, (np.arange(1000) % 4 == 0).astype(np.int64)
    bins = reliability(ScoreCounts.of(scores, labels), 10)

    assert [part.rows for part in bins] == [100] * 10
    assert [part.rate for part in bins] == [0.25] * 10
    assert bins[3].score == pytest.approx(scores[300:400].mean())
    assert calibration_error(ScoreCounts.of(scores, labels), 10) == pytest.approx(np.abs(scores.reshape(10, 100).mean(1) - 0.25).mean())
    assert len(reliability(ScoreCounts.of(np.full(1000, 0.5), labels), 10)) == 1
    assert math.isnan(calibration_error(ScoreCounts.empty(), 10))
