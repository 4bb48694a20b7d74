"""The figures of one feature's cells: equal to scikit-learn's AUC and scipy's rank correlation, nulls included."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import Row
from scipy import stats
from sklearn.metrics import roc_auc_score

from feature_store.strength import judge


def cells(values: pd.Series, target: np.ndarray) -> Row:
    """What Spark's pass gives: sums over cells ranked with nulls below all values."""
    ranks = stats.rankdata(values.fillna(-np.inf))
    null = values.isna().to_numpy()
    return Row(
        n=len(values),
        s=float(target.sum()),
        s2=float((target**2).sum()),
        rs=float((ranks * target).sum()),
        nrr=float((ranks**2).sum()),
        nulls=int(null.sum()),
        null_sum=float(target[null].sum()),
    )


def drawn(seed: int) -> tuple[pd.Series, np.ndarray]:
    """Values with ties and nulls, and labels that depend on both."""
    draw = np.random.default_rng(seed)
    values = pd.Series(draw.integers(0, 1 + draw.integers(1, 60), 300).astype(float))
    label = values.to_numpy() * draw.normal(0, 0.1) + draw.normal(0, 1, 300)
    values[draw.random(300) < draw.choice([0, 0.1, 0.6])] = np.nan
    return values, label + values.isna().to_numpy() * draw.normal(0, 1)


@pytest.mark.parametrize("seed", range(8))
def test_an_auc_is_the_stronger_of_both_readings_of_nulls(seed: int) -> None:
    """Nulls below or above all values, and whichever way the feature ranks."""
    values, score = drawn(seed)
    label = (score > np.median(score)).astype(float)
    areas = [roc_auc_score(label, values.fillna(place)) for place in (-1.0, 1e9)]

    assert judge(cells(values, label), "auc") == pytest.approx(max(max(area, 1 - area) for area in areas), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_a_rank_correlation_is_scipys(seed: int) -> None:
    """Without its sign, nulls on either side."""
    values, score = drawn(seed)
    expected = max(abs(stats.spearmanr(values.fillna(place), score).statistic) for place in (-1.0, 1e9))

    assert judge(cells(values, stats.rankdata(score)), "rank correlation") == pytest.approx(expected, abs=1e-9)


def test_too_few_rows_say_nothing() -> None:
    """With nineteen rows of a class chance alone comes near a threshold; a constant has no correlation."""
    label = np.r_[np.ones(19), np.zeros(500)]

    assert judge(cells(pd.Series(label), label), "auc") is None
    assert judge(cells(pd.Series(np.r_[label, 1.0]), np.r_[label, 1.0]), "auc") == 1.0
    assert judge(cells(pd.Series(np.arange(39.0)), np.arange(39.0)), "rank correlation") is None
    assert judge(cells(pd.Series(np.ones(50)), np.arange(50.0)), "rank correlation") is None
