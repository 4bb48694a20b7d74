from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sparkml_ops.performance.scores import ScoreCounts


def rows(count: int, distinct: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, distinct, count) / distinct
    return values, (rng.random(count) < values).astype(np.int64)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 400), st.sampled_from([2, 7, 10_000]), st.integers(0, 99))
def test_auc_is_that_of_scikit_learn(count: int, distinct: int, seed: int) -> None:
    """Ties included; without both labels there is none."""
    values, labels = rows(count, distinct, seed)
    found = ScoreCounts.of(values, labels).auc

    if len(set(labels)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(labels, values), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 99))
def test_parts_merge_to_the_whole(first: int, cut: int, seed: int) -> None:
    """In any cut, bit for bit, through bytes too; the empty part changes nothing."""
    values, labels = rows(first + cut, 50, seed)
    parts = [ScoreCounts.of(values[:cut], labels[:cut]), ScoreCounts.empty(), ScoreCounts.of(values[cut:], labels[cut:])]
    merged = parts[0].merge(parts[1]).merge(ScoreCounts.from_bytes(parts[2].to_bytes()))

    assert merged.to_bytes() == ScoreCounts.of(values, labels).to_bytes()


def test_beyond_the_limit_the_error_is_bounded() -> None:
    """Scores go to a grid, and the true area lies within the stated error."""
    rng = np.random.default_rng(4)
    values = rng.random(20_000)
    labels = (rng.random(20_000) < values).astype(np.int64)
    parts = [ScoreCounts.of(values[start : start + 500], labels[start : start + 500], limit=512) for start in range(0, 20_000, 500)]
    whole = ScoreCounts.empty()
    for part in parts:
        whole = whole.merge(ScoreCounts.from_bytes(part.to_bytes()))

    assert (parts[0].exact, whole.exact, len(whole.scores) <= 513) == (True, False, True)
    assert parts[0].auc_error == 0
    assert 0 < whole.auc_error < 2e-3
    assert abs(whole.auc - roc_auc_score(labels, values)) <= whole.auc_error
