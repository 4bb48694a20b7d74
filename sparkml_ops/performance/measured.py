"""Scores of one model against the truth, as counts and sums that merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_ops.performance.scores import ScoreCounts

__all__ = ["Measured", "log_losses"]


@dataclass(frozen=True)
class Measured:
    """One model's scores on some rows, mergeable.

    Args:
        counts: Rows by score and label.
        loss: Sum of the log losses, in nats.
        squared: Sum of the squared errors.
    """

    counts: ScoreCounts
    loss: float = 0.0
    squared: float = 0.0

    @classmethod
    def of(cls, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], losses: npt.NDArray[np.float64] | None = None) -> Measured:
        """Measure rows.

        Args:
            scores: [rows] probabilities of label 1.
            labels: [rows] 0 or 1.
            losses: [rows] what `log_losses` said of them, where it was asked already.
        """
        lost = log_losses(scores, labels) if losses is None else losses
        return cls(ScoreCounts.of(scores, labels), float(lost.sum()), float(((scores - labels) ** 2).sum()))

    def merge(self, other: Measured) -> Measured:
        """Both parts of the rows together."""
        return Measured(self.counts.merge(other.counts), self.loss + other.loss, self.squared + other.squared)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.counts.negatives.sum() + self.counts.positives.sum())

    @property
    def rate(self) -> float:
        """Share of label 1."""
        return int(self.counts.positives.sum()) / self.rows


def log_losses(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Log loss of each row, in nats; a probability is held off 0 and 1 by one unit in the last place, as scikit-learn does."""
    tiny = np.finfo(np.float64).eps
    held = np.clip(scores, tiny, 1 - tiny)
    return -np.where(labels == 1, np.log(held), np.log1p(-held))
