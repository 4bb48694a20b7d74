"""Counts of labels by score, which merge, and the area under the ROC curve from them.

AUC is the chance that a positive row scores above a negative one, a tie counting half (Hanley & McNeil 1982):
counts by distinct score hold all of it, so parts of the rows can be counted apart.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LIMIT", "ScoreCounts", "auc"]

LIMIT = 1 << 20
Counts = npt.NDArray[np.int64]


def auc(negatives: npt.NDArray[np.number], positives: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Area under the ROC curve from counts along rising scores; NaN where a class is absent.

    Args:
        negatives: [cells, ...] rows of label 0 in each cell of the score.
        positives: [cells, ...] rows of label 1.

    >>> float(auc(np.array([2, 1, 0]), np.array([0, 1, 2])))
    0.9444444444444444
    """
    below = np.cumsum(negatives, axis=0) - negatives
    wins = (positives * (below + negatives / 2)).sum(axis=0)
    pairs = negatives.sum(axis=0, dtype=np.float64) * positives.sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins / pairs, np.float64)


@dataclass(frozen=True)
class ScoreCounts:
    """Rows of either label by distinct score.

    Exact up to `limit` distinct scores; above, scores are rounded down to multiples of 1/`limit`, and `auc_error` bounds what that can change.

    Args:
        scores: Distinct scores in [0, 1], rising.
        negatives: Rows of label 0 with each score.
        positives: Rows of label 1 with each score.
        exact: Whether the scores are as they were.
        limit: Most distinct scores, a power of two, so that 1/2 lies on the grid; where many classes are counted, each has fewer.

    >>> part = ScoreCounts.of(np.array([0.1, 0.4, 0.4]), np.array([0, 0, 1]))
    >>> whole = part.merge(ScoreCounts.of(np.array([0.8]), np.array([1])))
    >>> whole.scores.tolist(), whole.negatives.tolist(), whole.positives.tolist(), whole.auc
    ([0.1, 0.4, 0.8], [1, 1, 0], [0, 1, 1], 0.875)
    """

    scores: npt.NDArray[np.float64]
    negatives: Counts
    positives: Counts
    exact: bool = True
    limit: int = LIMIT

    @classmethod
    def empty(cls, limit: int = LIMIT) -> ScoreCounts:
        """No rows: what a merge starts from; one with fewer distinct scores makes others as coarse."""
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros(0, np.float64), nothing, nothing, limit=limit)

    @classmethod
    def of(cls, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.integer], *, limit: int = LIMIT) -> ScoreCounts:
        """Count rows.

        Args:
            scores: [rows] in [0, 1].
            labels: [rows] 0 or 1.
            limit: Most distinct scores.
        """
        return _count(scores, (labels == 0).astype(np.int64), (labels == 1).astype(np.int64), exact=True, limit=limit)

    @classmethod
    def weighted(cls, scores: npt.NDArray[np.float64], negatives: Counts, positives: Counts, *, limit: int = LIMIT) -> ScoreCounts:
        """Count rows that are of either label in part.

        Args:
            scores: [rows] in [0, 1].
            negatives: [rows] whole parts of a row that count as label 0.
            positives: [rows] likewise as label 1.
            limit: Most distinct scores.
        """
        return _count(scores, negatives, positives, exact=True, limit=limit)

    def merge(self, other: ScoreCounts) -> ScoreCounts:
        """The counts of both parts together, in any order the same."""
        pairs = ((self.scores, other.scores), (self.negatives, other.negatives), (self.positives, other.positives))
        scores, negatives, positives = (np.concatenate(pair) for pair in pairs)
        exact, limit = self.exact and other.exact, min(self.limit, other.limit)
        return _count(np.asarray(scores, np.float64), negatives.astype(np.int64), positives.astype(np.int64), exact=exact, limit=limit)

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """The score of each cell: itself, or the middle of the grid's step, off by at most half a step in either direction alike."""
        return self.scores if self.exact else self.scores + 0.5 / self.limit

    @property
    def auc(self) -> float:
        """Area under the ROC curve; NaN where a class is absent."""
        return float(auc(self.negatives, self.positives))

    @property
    def auc_error(self) -> float:
        """Most that rounding can have changed the area: half the share of pairs that share a cell; 0 while exact."""
        if self.exact:
            return 0.0
        pairs = float(self.negatives.sum()) * float(self.positives.sum())
        return float((self.negatives.astype(np.float64) * self.positives).sum() / pairs / 2)

    def to_bytes(self) -> bytes:
        """For the way between processes."""
        buffer = io.BytesIO()
        np.savez(
            buffer, scores=self.scores, negatives=self.negatives, positives=self.positives, exact=np.array(self.exact), limit=np.array(self.limit)
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ScoreCounts:
        """Read what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            limit = int(arrays["limit"]) if "limit" in arrays else LIMIT
            return cls(arrays["scores"], arrays["negatives"], arrays["positives"], bool(arrays["exact"]), limit)


def _count(scores: npt.NDArray[np.float64], negatives: Counts, positives: Counts, *, exact: bool, limit: int) -> ScoreCounts:
    distinct, inverse = np.unique(scores if exact else np.floor(scores * limit) / limit, return_inverse=True)
    if exact and len(distinct) > limit:
        return _count(scores, negatives, positives, exact=False, limit=limit)
    counts = [np.zeros(len(distinct), np.int64), np.zeros(len(distinct), np.int64)]
    for total, part in zip(counts, (negatives, positives), strict=True):
        np.add.at(total, inverse, part)
    return ScoreCounts(distinct, counts[0], counts[1], exact, limit)
