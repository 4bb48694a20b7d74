"""Drift of embeddings: means, second moments, and the maximum mean discrepancy by random features, in one pass over both sides."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt
from typing import cast

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from feature_store.scan import Scan
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.inference import Verdict, effect_verdict
from sparkml_ops.drift.source import Source, as_source, run
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import VectorMaker, VectorMoments, Waves
from sparkml_ops.summaries.order import Floats
from sparkml_ops.summaries.survey import Survey

__all__ = ["EmbeddingDrift", "compare_embeddings"]

_FEATURES = 256
_VECTOR_BITS, _WAVE = 16, 2.0**-30
# Current values may be eight times the reference's greatest before they are cut off.
_HEADROOM = 3
_VECTORS = ("array<float>", "array<double>")


@dataclass(frozen=True, eq=False)
class EmbeddingDrift:
    """How a column of vectors differs between two sides.

    Args:
        column: Its name.
        dimension: Of the vectors.
        n: Vectors of the reference.
        m: Vectors of the current side.
        missing: Share of rows without a vector of this dimension and finite values, on both sides.
        odd: Rows whose vector has another length, on both sides.
        shift: Distance of the means, as a share of the reference's spread (the root of its total variance).
        covariance: Distance of the covariance matrices (Frobenius), as a share of the reference's norm.
        mmd: Maximum mean discrepancy of a Gaussian kernel, estimated by random features; in [0, sqrt(2)].
        bandwidth: Of the kernel: the reference's spread.
        p: P-value of "the discrepancy is at most the threshold", free of assumptions and cautious (Gretton et al., 2012, theorem 7).
        threshold: The minimum effect.
        verdict: `fault` where vectors have another length, else as for a column.
    """

    column: str
    dimension: int
    n: int
    m: int
    missing: tuple[float | None, float | None]
    odd: tuple[int, int]
    shift: float | None
    covariance: float | None
    mmd: float | None
    bandwidth: float | None
    p: float | None
    threshold: float
    verdict: Verdict


def compare_embeddings(
    reference: DataFrame | Scan | Source,
    current: DataFrame | Scan | Source,
    column: str,
    dimension: int,
    *,
    threshold: float = 0.1,
    features: int = _FEATURES,
    settings: DriftSection | None = None,
) -> EmbeddingDrift:
    """Compare a column of vectors: three passes over the reference, of which the last one is over both sides.

    The first finds the range, the second the kernel's bandwidth. Values are rounded to 2^-13 of the greatest one, so that all sums are
    whole numbers and do not depend on partitions or engines; one beyond eight times the greatest counts as that far.

    Args:
        reference: What is expected.
        current: What is looked at.
        column: Of arrays of floats or doubles.
        dimension: Of the vectors.
        threshold: Smallest discrepancy that counts.
        features: Random frequencies of the kernel; its error is about 1 / sqrt(2 * features).
        settings: Level, fewest rows, seed of the frequencies.

    Raises:
        ContractError: The column is missing or holds no vectors, on either side.
    """
    settings, base, source = settings or DriftSection(), as_source(reference), as_source(current)
    for side in (base, source):
        if side.types.get(column) not in _VECTORS:
            raise ContractError(
                f"`{column}` of type {side.types.get(column)}", expected=" or ".join(_VECTORS), mend="name a column of vectors, or cast it"
            )
    ranged = _moments({"reference": base}, column, VectorMaker(dimension))["reference"]
    if not ranged.tally.values:
        return _without_values(column, dimension, ranged, threshold)
    step = 2.0 ** (max(ranged.largest, -900) + _HEADROOM - _VECTOR_BITS)
    spread = _spread(_moments({"reference": base}, column, VectorMaker(dimension, step))["reference"], step)
    bandwidth = spread or step
    maker = VectorMaker(dimension, step, Waves.of(dimension, features, bandwidth, step, settings.seed))
    both = _moments({"reference": base, "current": source}, column, maker)
    return judged(column, dimension, both["reference"], both["current"], step, bandwidth, threshold, settings)


def judged(
    column: str,
    dimension: int,
    reference: VectorMoments,
    current: VectorMoments,
    step: float,
    bandwidth: float,
    threshold: float,
    settings: DriftSection,
) -> EmbeddingDrift:
    """The comparison from both sides' moments."""
    n, m = reference.tally.values, current.tally.values
    missing = tuple(side.tally.missing / side.tally.n if side.tally.n else None for side in (reference, current))
    odd = reference.odd, current.odd
    shift = covariance = mmd = p = None
    if n and m:
        means = [side.sums / side.tally.values * step for side in (reference, current)]
        shift = float(np.linalg.norm(means[1] - means[0])) / bandwidth
        matrices = [_covariance(side, step) for side in (reference, current)]
        norm = float(np.linalg.norm(matrices[0]))
        covariance = float(np.linalg.norm(matrices[1] - matrices[0])) / norm if norm else None
        waves = [side.waves * (_WAVE / side.tally.values) for side in (reference, current)]
        mmd = float(np.linalg.norm(waves[1] - waves[0])) / sqrt(len(waves[0]) / 2)
        # The biased estimate exceeds the true value by 2(sqrt(1/n) + sqrt(1/m)) + e with a probability of at most 2 exp(-e^2 nm / 2(n+m)).
        excess = max(0.0, mmd - threshold - 2 * (sqrt(1 / n) + sqrt(1 / m)))
        p = min(1.0, 2 * exp(-(excess**2) * n * m / (2 * (n + m))))
    few = min(n, m) < settings.minimum_rows
    verdict: Verdict = "undecided" if few or mmd is None else effect_verdict(mmd, mmd, threshold, p, settings.level)
    if current.odd > settings.level * max(m, 1) and current.odd:
        verdict = "fault"
    return EmbeddingDrift(column, dimension, n, m, (missing[0], missing[1]), odd, shift, covariance, mmd, bandwidth, p, threshold, verdict)


def _moments(sources: dict[str, Source], column: str, maker: VectorMaker) -> dict[str, VectorMoments]:
    found = run([(source, Survey(side, {column: maker})) for side, source in sources.items()])
    nothing = maker(_no_vectors())
    return {side: cast("VectorMoments", found[side][None, None][column]) if found[side] else nothing for side in sources}


def _spread(moments: VectorMoments, step: float) -> float:
    """Root of the total variance: of two vectors at random, half the mean squared distance."""
    return sqrt(max(0.0, float(np.trace(_covariance(moments, step)))))


def _covariance(moments: VectorMoments, step: float) -> Floats:
    means = moments.sums / moments.tally.values
    return np.asarray((moments.products / moments.tally.values - np.outer(means, means)) * step**2)


def _without_values(column: str, dimension: int, reference: VectorMoments, threshold: float) -> EmbeddingDrift:
    share = reference.tally.missing / reference.tally.n if reference.tally.n else None
    odd = (reference.odd, 0)
    return EmbeddingDrift(column, dimension, 0, 0, (share, None), odd, None, None, None, None, None, threshold, "undecided")


def _no_vectors() -> pa.Array:
    return pa.array([], pa.list_(pa.float64()))
