"""What scores of a binary model come to when they are acted on, and what they mean: from counts by score, which merge exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkml_ops.performance.scores import ScoreCounts

__all__ = ["Bin", "Confusion", "average_precision", "calibration_error", "confusion", "reliability"]


@dataclass(frozen=True)
class Confusion:
    """Rows by label and decision.

    Args:
        true_negatives: Rows of label 0 below the threshold.
        false_positives: Rows of label 0 at it or above.
        false_negatives: Rows of label 1 below it.
        true_positives: Rows of label 1 at it or above.

    >>> Confusion(5, 1, 2, 2).accuracy, Confusion(5, 1, 2, 2).f1
    (0.7, 0.5714285714285714)
    """

    true_negatives: int
    false_positives: int
    false_negatives: int
    true_positives: int

    @property
    def accuracy(self) -> float:
        """Share of the rows that were decided rightly."""
        return (self.true_negatives + self.true_positives) / self.rows

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where no row was decided rightly for 1."""
        wrong = self.false_positives + self.false_negatives
        return 2 * self.true_positives / (2 * self.true_positives + wrong) if self.true_positives else 0.0

    @property
    def rows(self) -> int:
        """All of them."""
        return self.true_negatives + self.false_positives + self.false_negatives + self.true_positives


@dataclass(frozen=True)
class Bin:
    """Rows of neighbouring scores.

    Args:
        score: Their mean score.
        rate: Share of label 1 among them.
        rows: Their number.
    """

    score: float
    rate: float
    rows: int


def confusion(counts: ScoreCounts, threshold: float = 0.5) -> Confusion:
    """Decisions at a threshold, the threshold itself counting as 1.

    >>> confusion(ScoreCounts.of(np.array([0.2, 0.5, 0.7]), np.array([0, 1, 0])))
    Confusion(true_negatives=1, false_positives=1, false_negatives=0, true_positives=1)
    """
    above = counts.scores >= threshold
    cells = (counts.negatives[~above], counts.negatives[above], counts.positives[~above], counts.positives[above])
    return Confusion(*(int(cell.sum()) for cell in cells))


def average_precision(counts: ScoreCounts) -> float:
    """Mean precision over the rows of label 1, as scikit-learn has it: the sum of each gain in recall times the precision there; NaN without any.

    >>> round(average_precision(ScoreCounts.of(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))), 6)
    0.833333
    """
    positives, rows = counts.positives[::-1], (counts.negatives + counts.positives)[::-1]
    total = int(positives.sum())
    return float((positives * np.cumsum(positives) / np.cumsum(rows)).sum() / total) if total else float("nan")


def reliability(counts: ScoreCounts, bins: int) -> tuple[Bin, ...]:
    """Mean score and rate of bins that hold about equally many rows; rows of one score stay together, in the bin of their middle rank.

    Equal widths would leave most bins of a rare label empty.

    Args:
        counts: Rows by score and label.
        bins: How many, at most.
    """
    rows = counts.negatives + counts.positives
    total = int(rows.sum())
    if not total:
        return ()
    bin_of = ((np.cumsum(rows) - rows / 2) * (bins / total)).astype(np.int64)
    sums = [np.bincount(bin_of, values) for values in (rows, rows * counts.centers, counts.positives)]
    return tuple(Bin(float(score / count), float(label / count), int(count)) for count, score, label in zip(*sums, strict=True) if count)


def calibration_error(counts: ScoreCounts, bins: int) -> float:
    """Expected calibration error: mean distance between score and rate over the bins of `reliability`; NaN without rows.

    Source: Nixon et al., "Measuring calibration in deep learning" (2019).
    """
    found = reliability(counts, bins)
    total = sum(part.rows for part in found)
    return sum(part.rows * abs(part.score - part.rate) for part in found) / total if total else float("nan")
