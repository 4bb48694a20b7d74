"""Whether probabilities mean what they say: figures from counts by score, which merge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from sparkml_ops.performance.decisions import calibration_error
from sparkml_ops.performance.scores import ScoreCounts

__all__ = ["brier_score", "calibration", "calibration_line"]

# Beyond it a probability of 0 or 1 would outweigh all other rows in a line through log-odds; the bootstrap holds them there too.
_SPAN = 12.0
_STEPS, _SETTLED, _FARTHEST = 50, 1e-10, 1e3


def calibration(counts: ScoreCounts, bins: int) -> dict[str, float]:
    """All figures by name: `calibration_error`, `brier`, `calibration_intercept`, `calibration_slope`; NaN where one does not exist.

    Args:
        counts: Rows by score and label.
        bins: Of the calibration error, at most.
    """
    intercept, slope = calibration_line(counts)
    found = {"calibration_error": calibration_error(counts, bins), "brier": brier_score(counts)}
    return found | {"calibration_intercept": intercept, "calibration_slope": slope}


def brier_score(counts: ScoreCounts) -> float:
    """Mean squared distance of score and label (Brier 1950); NaN without rows.

    >>> round(brier_score(ScoreCounts.of(np.array([0.1, 0.9, 0.8]), np.array([0, 1, 0]))), 6)
    0.22
    """
    scores = counts.centers
    total = counts.negatives.sum() + counts.positives.sum()
    return float((counts.negatives * scores**2 + counts.positives * (1 - scores) ** 2).sum() / total) if total else float("nan")


def calibration_line(counts: ScoreCounts) -> tuple[float, float]:
    """Intercept and slope of the logistic regression of the label on the score's log-odds: 0 and 1 where probabilities are right.

    A slope below 1 says that scores lie too far out, as after overfitting (Cox 1958, "Two further applications of a model for binary
    regression"; Van Calster et al. 2019, "Calibration: the Achilles heel of predictive analytics"). NaN where no line fits: one label only,
    one score only, or labels that the scores part completely.
    """
    odds = np.clip(logit(counts.centers), -_SPAN, _SPAN) if len(counts.scores) else np.zeros(0)
    rows, positives = (counts.negatives + counts.positives).astype(np.float64), counts.positives.astype(np.float64)
    line: npt.NDArray[np.float64] = np.array([0.0, 1.0])
    design = np.stack([np.ones(len(odds)), odds])
    for _ in range(_STEPS):
        rates = expit(line @ design)
        curvature = (design * (rows * rates * (1 - rates))) @ design.T
        if not np.isfinite(curvature).all() or np.linalg.cond(curvature) > 1 / _SETTLED:
            break
        step = np.linalg.solve(curvature, design @ (positives - rows * rates))
        line = line + step
        if np.abs(line).max() > _FARTHEST:
            break
        if np.abs(step).max() < _SETTLED:
            return float(line[0]), float(line[1])
    return float("nan"), float("nan")
