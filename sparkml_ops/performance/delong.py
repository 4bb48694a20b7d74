"""DeLong's interval of the difference of two AUCs on the same rows, from sums that merge.

DeLong, DeLong & Clarke-Pearson 1988, "Comparing the areas under two or more correlated receiver operating characteristic curves". A row's
placement is the share of the rows of the other label that its score beats, a tie counting half. The counts of scores by label give it for any
row, so a second pass over the rows needs six sums for each label, and no row meets another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri  # as in the bootstrap: scipy.stats takes a second to import

from sparkml_ops.performance.bootstrap import Interval
from sparkml_ops.performance.scores import ScoreCounts

__all__ = ["Placements", "placements"]

Values: TypeAlias = "npt.NDArray[np.float64]"
# rows, a, b, a², b², ab
_SUMS = 6


def placements(scores: Values, labels: npt.NDArray[np.int64], counts: ScoreCounts) -> Values:
    """Share of the rows of the other label that each row is on the right side of.

    Args:
        scores: [rows] probabilities of label 1.
        labels: [rows] 0 or 1.
        counts: Of all rows, these among them.

    >>> counts = ScoreCounts.of(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1]))
    >>> placements(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1]), counts).tolist()
    [1.0, 0.75, 0.75, 1.0]
    """
    keys = scores if counts.exact else np.floor(scores * counts.limit) / counts.limit
    at = np.searchsorted(counts.scores, keys)
    below = np.cumsum(counts.negatives) - counts.negatives / 2
    above = counts.positives.sum() - np.cumsum(counts.positives) + counts.positives / 2
    return np.asarray(np.where(labels == 1, below[at] / counts.negatives.sum(), above[at] / counts.positives.sum()), np.float64)


@dataclass(frozen=True)
class Placements:
    """Sums of two models' placements, by label.

    Args:
        sums: [2, 6] rows, sum of the first model's placements and of the second's, of their squares, and of their products.
    """

    sums: Values

    @classmethod
    def of(cls, scores: tuple[Values, Values], labels: npt.NDArray[np.int64], counts: tuple[ScoreCounts, ScoreCounts]) -> Placements:
        """Sum up rows.

        Args:
            scores: [rows] probabilities of either model.
            labels: [rows] 0 or 1.
            counts: Of all rows, for either model.
        """
        first, second = (placements(values, labels, of) for values, of in zip(scores, counts, strict=True))
        terms = np.stack([np.ones(len(labels)), first, second, first**2, second**2, first * second])
        return cls(np.stack([terms[:, labels == label].sum(axis=1) for label in (0, 1)]))

    @classmethod
    def flat(cls, values: npt.ArrayLike) -> Placements:
        """From the 12 numbers of `numbers`."""
        return cls(np.asarray(values, np.float64).reshape(2, _SUMS))

    @property
    def numbers(self) -> list[float]:
        """Twelve numbers; those of parts add up to those of the whole."""
        return [float(value) for value in self.sums.ravel()]

    def merge(self, other: Placements) -> Placements:
        """Both parts of the rows together."""
        return Placements(self.sums + other.sums)

    @property
    def variance(self) -> float:
        """Of the first model's AUC minus the second's; NaN where a label has fewer than two rows."""
        rows, first, second, *products = self.sums.T
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = products[0] + products[1] - 2 * products[2] - (first - second) ** 2 / rows
            return float((squares / (rows - 1) / rows).sum()) if rows.min() > 1 else float("nan")

    def gain(self, confidence: float) -> Interval:
        """Interval of the first model's AUC minus the second's, by the normal distribution."""
        rows, first, second = self.sums.T[:3]
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = float(((first - second) / rows)[1])
        half = float(ndtri((1 + confidence) / 2)) * max(self.variance, 0.0) ** 0.5
        return Interval(difference - half, difference + half)
