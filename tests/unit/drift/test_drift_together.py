"""Correlations, main directions and embeddings from mergeable whole-number sums, against pandas, numpy and kernels by hand."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import embedding, joint
from sparkml_ops.drift.embedding import EmbeddingDrift
from sparkml_ops.drift.joint import JointDrift
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import CoMoments, CoMomentsMaker, VectorMaker, VectorMoments, Waves, unpack_summary

NAMES = ("a", "b", "c", "d")


def table(rows: int, seed: int, mixed: float = 0.8) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    a = random.normal(50, 3, rows)
    b = mixed * (a - 50) + random.normal(0, 1, rows)
    c = np.where(random.random(rows) < 0.2, np.nan, random.lognormal(0, 1, rows))
    return pd.DataFrame({"a": a, "b": b, "c": c, "d": 0.5 * b + np.nan_to_num(c)})


def maker() -> CoMomentsMaker:
    return CoMomentsMaker(NAMES, np.array([50.0, 0, 1, 0]), np.exp2([-10.0, -10, -10, -10]))


def moments(frame: pd.DataFrame) -> CoMoments:
    return maker().of_table(pa.Table.from_pandas(frame, preserve_index=False))


def compared(first: pd.DataFrame, second: pd.DataFrame, settings: DriftSection | None = None) -> JointDrift:
    return joint.judged(NAMES, moments(first), moments(second), 0.1, 0.9, settings or DriftSection())


def test_correlations_are_those_of_pandas() -> None:
    """Over the rows that have both columns, to what rounding to steps leaves."""
    frame = table(5000, 1)

    assert joint.correlations(moments(frame)) == pytest.approx(frame.corr().to_numpy(), abs=1e-5)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    """Bit for bit, however rows are cut and ordered, and through their bytes."""
    frame = table(3000, 2)
    shuffled = frame.sample(frac=1, random_state=0)
    parts = [moments(shuffled.iloc[rows]) for rows in np.array_split(np.arange(3000), 7)]
    merged = reduce(CoMoments.merge, parts)

    assert merged.pack() == moments(frame).pack() == unpack_summary(merged.pack()).pack()
    with pytest.raises(ContractError, match="the same columns"):
        merged.merge(CoMomentsMaker(NAMES, np.zeros(4), np.ones(4)).of_table(pa.Table.from_pandas(frame)))


def test_a_lost_correlation_is_drift_and_a_kept_one_is_not() -> None:
    """Both columns alone stay as they were."""
    changed = table(4000, 3)
    changed["b"] = changed["b"].sample(frac=1, random_state=0).to_numpy()
    report = compared(table(5000, 4), changed)
    verdicts = {(pair.first, pair.second): pair.verdict for pair in report.pairs}

    assert (report.verdict, report.pairs[0].first, report.pairs[0].second) == ("drift", "a", "b")
    assert report.pairs[0].reference == pytest.approx(table(5000, 4)["a"].corr(table(5000, 4)["b"]), abs=1e-5)
    assert verdicts["a", "c"] == "no drift"
    assert compared(table(5000, 5), table(4000, 6)).verdict == "no drift"
    assert compared(table(5000, 5), table(20, 6)).verdict == "undecided"


def test_constant_and_absent_columns_have_no_correlation() -> None:
    """They are unknown, not zero, and nothing fails."""
    frame = table(500, 7).assign(a=50.0, c=np.nan)
    report = compared(frame, frame)

    assert np.isnan(report.reference[0]).all()
    assert report.reconstruction is None
    assert {pair.reference for pair in report.pairs if "a" in (pair.first, pair.second)} == {None}


def test_the_error_of_main_directions_is_that_of_scikit_learn() -> None:
    """Rows in the reference's standard deviations, projected on the directions that hold nine tenths of its variance."""
    first, second = table(4000, 8).fillna(1.0), table(3000, 9, mixed=-0.8).fillna(1.0)
    report = compared(first, second)
    scaled = [(side - first.mean()) / first.std(ddof=0) for side in (first, second)]
    model = PCA(report.components).fit(scaled[0])
    expected = [((side - model.inverse_transform(model.transform(side))) ** 2).to_numpy().sum(axis=1).mean() / 4 for side in scaled]

    assert PCA(0.9).fit(scaled[0]).n_components_ == report.components
    assert report.reconstruction == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert report.reconstruction[1] > 3 * report.reconstruction[0]


def vectors(rows: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (rows, 8)) * 0.1


def column(values: np.ndarray, extra: list[object] | None = None) -> pa.Array:
    return pa.array([*values.tolist(), *(extra or [])], pa.list_(pa.float64()))


STEP, BANDWIDTH = 2.0**-13, 0.28
WAVES = Waves.of(8, 256, BANDWIDTH, STEP, 0)


def embedded(first: np.ndarray, second: np.ndarray, extra: list[object] | None = None) -> EmbeddingDrift:
    make = VectorMaker(8, STEP, WAVES)
    return embedding.judged("v", 8, make(column(first)), make(column(second, extra)), STEP, BANDWIDTH, 0.1, DriftSection())


def test_vectors_merge_exactly_and_count_what_does_not_fit() -> None:
    """Parts give the whole bit for bit; nulls, other lengths and NaN are counted and left out."""
    make = VectorMaker(8, STEP, WAVES)
    array = column(vectors(500, 1), [None, [1.0, 2.0], [float("nan")] * 8, [None] * 8])
    merged = reduce(VectorMoments.merge, (make(array.slice(start, 101)) for start in range(0, len(array), 101)))

    assert merged.pack() == make(array).pack() == unpack_summary(merged.pack()).pack()
    assert (merged.tally.n, merged.tally.nulls, merged.odd) == (504, 4, 1)
    assert make(array).sums * STEP / 500 == pytest.approx(vectors(500, 1).mean(axis=0), abs=STEP)
    assert make(pa.array([], pa.list_(pa.float64()))).tally.n == 0


def test_the_discrepancy_is_that_of_the_kernel() -> None:
    """Random features come near the biased estimate with the full kernel matrix."""
    first, second = vectors(600, 2), vectors(500, 3, shift=0.7)
    kernel = [rbf_kernel(*pair, gamma=1 / (2 * BANDWIDTH**2)).mean() for pair in ((first, first), (second, second), (first, second))]

    assert embedded(first, second).mmd == pytest.approx(np.sqrt(kernel[0] + kernel[1] - 2 * kernel[2]), abs=0.03)


def test_moved_vectors_drift_and_others_do_not() -> None:
    """Shift and covariance are numpy's; a new length is a fault."""
    first, second = vectors(4000, 4), vectors(3000, 5, shift=1.0)
    report = embedded(first, second)

    assert report.verdict == "drift"
    assert report.shift == pytest.approx(np.linalg.norm(second.mean(axis=0) - first.mean(axis=0)) / BANDWIDTH, rel=1e-3)
    covariances = [np.cov(side.T, ddof=0) for side in (first, second)]
    assert report.covariance == pytest.approx(np.linalg.norm(covariances[1] - covariances[0]) / np.linalg.norm(covariances[0]), rel=0.01)
    assert embedded(first, vectors(3000, 6)).verdict == "no drift"
    assert embedded(first, vectors(5, 6)).verdict == "undecided"
    assert embedded(first, vectors(3000, 6), [[0.0] * 9] * 400).verdict == "fault"


def test_chance_rarely_makes_vectors_drift() -> None:
    """With a minimum effect of zero, equal samples are called drift at most as often as the level says."""
    make, settings = VectorMaker(8, STEP, WAVES), DriftSection()
    values = []
    for seed in range(60):
        sides = make(column(vectors(150, 100 + seed))), make(column(vectors(150, 300 + seed)))
        values.append(embedding.judged("v", 8, *sides, STEP, BANDWIDTH, 0.0, settings).p)

    assert np.mean(np.array(values) < 0.05) <= 0.05
