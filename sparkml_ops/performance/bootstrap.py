"""The paired bootstrap of two models' AUC and log loss on the same rows, as counts that merge.

Each row has a Poisson(1) weight in each replicate (Chamandy et al. 2012, "Estimating uncertainty for massive data streams"),
drawn from a hash of its position: the same for both models, and the same however the rows are cut into parts. Scores are
counted in cells of their log-odds, so that memory depends on cells and replicates only.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logit, pdtr  # scipy.stats would take a second to import, in every command and worker

from sparkml_ops.performance.scores import auc

__all__ = ["CELLS", "Interval", "Replicates", "cells", "weights"]

CELLS = 2048
_SPAN = 12.0
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_CHUNK = 4096


@dataclass(frozen=True)
class Interval:
    """Percentile limits of a difference."""

    lower: float
    upper: float


def cells(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The cell of each score: equal widths of log-odds from -12 to 12."""
    with np.errstate(divide="ignore"):
        odds = np.clip(logit(scores), -_SPAN, _SPAN)
    return np.asarray(np.minimum((odds + _SPAN) * (CELLS / (2 * _SPAN)), CELLS - 1), np.int64)


def weights(positions: npt.NDArray[np.int64], replicates: int, seed: int) -> npt.NDArray[np.uint8]:
    """Poisson(1) weights of rows.

    Args:
        positions: [rows] what identifies a row.
        replicates: Number of replicates, a multiple of 4.
        seed: Of the hash.

    Returns:
        [rows, replicates]; a weight depends on its row, replicate and the seed alone.

    >>> round(float(weights(np.arange(1000), 400, 1).mean()), 2)
    1.0
    """
    blocks = np.arange(replicates // 4, dtype=np.uint64)
    first = _hash(positions.astype(np.uint64) + _hash(np.array([seed], np.uint64)))
    # One 64-bit hash serves four replicates, 16 bits each.
    draws = _hash(first[:, None] + blocks * _MIX[0]).view("<u2")
    return np.asarray(_TABLE[draws], np.uint8)


class Replicates:
    """Weighted counts of two models' scores by cell and label, and the sum of their loss differences, for each replicate.

    Args:
        replicates: Number of replicates, a multiple of 4.
        seed: Of the weights.
    """

    def __init__(self, replicates: int, seed: int) -> None:
        self.replicates, self.seed = replicates, seed
        self.counts = np.zeros((2, 2, CELLS, replicates), np.int64)
        self.sums = np.zeros((2, replicates), np.float64)

    def update(
        self,
        scores: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
        labels: npt.NDArray[np.int64],
        gain: npt.NDArray[np.float64],
        positions: npt.NDArray[np.int64],
    ) -> None:
        """Add rows.

        Args:
            scores: [rows] probabilities of the model and of the baseline.
            labels: [rows] 0 or 1.
            gain: [rows] loss of the baseline minus loss of the model.
            positions: [rows] what identifies a row.
        """
        for start in range(0, len(labels), _CHUNK):
            part = slice(start, start + _CHUNK)
            drawn = weights(positions[part], self.replicates, self.seed)
            self.sums[0] += gain[part] @ drawn
            self.sums[1] += drawn.sum(axis=0, dtype=np.float64)
            for model, values in enumerate(scores):
                self._add(model, labels[part] * CELLS + cells(values[part]), drawn)

    def _add(self, model: int, place: npt.NDArray[np.int64], drawn: npt.NDArray[np.uint8]) -> None:
        order = np.argsort(place, kind="stable")
        filled, starts = np.unique(place[order], return_index=True)
        counts = self.counts[model].reshape(2 * CELLS, self.replicates)
        counts[filled] += np.add.reduceat(drawn[order], starts, axis=0, dtype=np.int64)

    def merge(self, other: Replicates) -> None:
        """Add another part of the rows."""
        self.counts += other.counts
        self.sums += other.sums

    def auc_gain(self, confidence: float) -> Interval:
        """Interval of the model's AUC minus the baseline's."""
        model, baseline = (auc(counts[0], counts[1]) for counts in self.counts)
        return _interval(model - baseline, confidence)

    def loss_gain(self, confidence: float) -> Interval:
        """Interval of the baseline's mean loss minus the model's."""
        return _interval(self.sums[0] / self.sums[1], confidence)

    def to_bytes(self) -> bytes:
        """For the way between processes: filled cells only."""
        rows = self.counts.reshape(-1, self.replicates)
        filled = np.flatnonzero(rows.any(axis=1))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, filled=filled, counts=rows[filled], sums=self.sums, seed=np.array(self.seed))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Replicates:
        """Read what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            read = cls(arrays["sums"].shape[1], int(arrays["seed"]))
            read.counts.reshape(-1, read.replicates)[arrays["filled"]] = arrays["counts"]
            read.sums = arrays["sums"]
        return read


def _hash(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele et al. 2014): each bit of the result depends on every bit of the value."""
    mixed = values + _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
    return mixed ^ (mixed >> np.uint64(31))


def _interval(differences: npt.NDArray[np.float64], confidence: float) -> Interval:
    lower, upper = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(lower), float(upper))


# Poisson(1) from 16 random bits: the probabilities are right to 1/65,536. The smallest number whose distribution function reaches each.
_TABLE = np.searchsorted(pdtr(np.arange(20), 1.0), (np.arange(65_536) + 0.5) / 65_536).astype(np.uint8)
