"""The figures of one feature's cells: equal to scikit-learn's AUC and scipy's rank correlation, nulls included."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import Row
from scipy import stats
from sklearn.metrics import roc_auc_score

from feature_store.strength import judge, pack, ranked


def cells(values: pd.Series, target: np.ndarray) -> Row:
    """The sums of a feature that came in two batches, beside another one."""
    rows = pa.table({"target": target, "other": target, "value": pa.array(values, from_pandas=True)})
    packed = pa.Table.from_batches(pack(iter(rows.to_batches(max_chunksize=1 + len(values) // 2))))
    return Row(**ranked(packed.filter(pc.equal(packed["feature"], 1))).to_pylist()[0])


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
