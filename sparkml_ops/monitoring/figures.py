"""Figures of scores against labels, with intervals: pure functions of counts along rising scores.

The counts may be of labels that are known, or the expected ones of calibrated scores: one formula serves both.
Counts are whole and sorted, so the figures do not depend on how the rows were cut into parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from sparkml_ops.monitoring.calibration import Calibration
from sparkml_ops.performance.decisions import calibration_error
from sparkml_ops.performance.measured import log_losses
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import Performance

__all__ = ["ESTIMATED", "REALISED", "STANDARD_ERRORS", "Figure", "Worth", "auc_figure", "estimated", "figures", "interval", "mean_of", "realised"]

Floats = npt.NDArray[np.float64]

ESTIMATED = ("auc", "log_loss", "brier", "rate")
REALISED = (*ESTIMATED, "calibration_error")
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Figure:
    """A value with the ends of its interval; None where it, or its variance, does not exist."""

    value: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Worth:
    """What a decision is worth.

    Args:
        outcomes: [label][decision] worth of a row.
        threshold: Score from which a row is decided for 1.

    >>> Worth(((0.0, -3.0), (-8.0, 10.0))).of(np.array([0.2, 0.5]))
    (array([ 0., -3.]), array([-8., 10.]))
    """

    outcomes: tuple[tuple[float, float], tuple[float, float]]
    threshold: float = 0.5

    def of(self, scores: Floats) -> tuple[Floats, Floats]:
        """[cells] worth of a row of label 0, and of one of label 1, at each score."""
        decided = scores >= self.threshold
        return np.where(decided, self.outcomes[0][1], self.outcomes[0][0]), np.where(decided, self.outcomes[1][1], self.outcomes[1][0])


def realised(labelled: ScoreCounts, segment: str | None, *, bins: int, confidence: float, worth: Worth | None = None) -> list[Performance]:
    """Figures of the rows whose truth is known.

    Args:
        labelled: These rows by score and label.
        segment: `name=value`, or None.
        bins: Of the calibration error.
        confidence: Level of the intervals.
        worth: What decisions are worth; None: not measured.
    """
    scores, deviations = labelled.centers, float(ndtri((1 + confidence) / 2))
    counts = labelled.negatives.astype(np.float64), labelled.positives.astype(np.float64)
    found = figures(scores, *counts, deviations)
    error = calibration_error(labelled, bins)  # it has no interval
    found["calibration_error"] = Figure() if math.isnan(error) else Figure(error)
    if worth is not None and found:
        found["value"] = _mean(*counts, *worth.of(labelled.scores), deviations, math.inf, -math.inf)
    return _records(found, (*REALISED, *(["value"] if worth else [])), segment, "realised", _rows(labelled))


def estimated(scored: ScoreCounts, calibration: Calibration | None, segment: str | None, worth: Worth | None = None) -> list[Performance]:
    """Figures that calibrated scores let expect, whatever the truth will be: CBPE.

    A row of calibrated probability c counts as c rows of label 1 and 1 - c of label 0. Source: J. Białek et al.,
    "Estimating model performance under covariate shift without labels" (2024), arXiv:2401.08348. Intervals are
    three standard errors, as NannyML's, but of both samples: the window's rows and labels, and those that the
    calibration was fitted on, which alone would be too sure of a model that was evaluated on few rows.

    Args:
        scored: All rows by score; their labels do not matter.
        calibration: Of the model; None: nothing can be said.
        segment: `name=value`, or None.
        worth: What decisions are worth; None: not measured.
    """
    scores, rows = scored.centers, (scored.negatives + scored.positives).astype(np.float64)
    found: dict[str, Figure] = {}
    if calibration is not None:
        chance = calibration.probability(scores)
        # A row's variance v gives v / n in the window and v / m in the calibration: together v / n times 1 + n / m.
        both = math.sqrt(1 + float(rows.sum()) / calibration.rows)
        found = figures(scores, rows * (1 - chance), rows * chance, STANDARD_ERRORS * both)
        if worth is not None and found:
            expected = worth.of(scored.scores)
            found["value"] = _mean(rows * (1 - chance), rows * chance, *expected, STANDARD_ERRORS * both, math.inf, -math.inf)
    return _records(found, (*ESTIMATED, *(["value"] if worth else [])), segment, "estimated", _rows(scored))


def mean_of(rows: int, total: float, squares: float, deviations: float) -> Figure:
    """A mean with its normal interval, from sums.

    >>> mean_of(4, 8.0, 20.0, 1.96).value
    2.0
    """
    if not rows:
        return Figure()
    mean = total / rows
    variance = max(squares - rows * mean * mean, 0.0) / (rows - 1) / rows if rows > 1 else 0.0
    return interval(mean, variance, deviations, math.inf, -math.inf)


def figures(scores: Floats, negatives: Floats, positives: Floats, deviations: float) -> dict[str, Figure]:
    """AUC, log loss (nats a row), Brier score and rate, each with its interval.

    Intervals are normal: a mean's from the variance of its rows, the AUC's from DeLong et al. (1988).

    Args:
        scores: [cells] probabilities of label 1, rising.
        negatives: [cells] rows of label 0, possibly fractions.
        positives: [cells] rows of label 1.
        deviations: Standard errors on either side.

    >>> found = figures(np.array([0.2, 0.6]), np.array([3.0, 1.0]), np.array([1.0, 3.0]), 1.96)
    >>> found["auc"].value, found["rate"].value, round(found["brier"].value, 2)
    (0.75, 0.5, 0.2)
    """
    if not float(negatives.sum() + positives.sum()):
        return {}
    ones = np.ones(len(scores), np.int64)
    losses = {
        "log_loss": (log_losses(scores, 0 * ones), log_losses(scores, ones), math.inf),
        "brier": (scores**2, (scores - 1) ** 2, 1.0),
        "rate": (np.zeros(len(scores)), np.ones(len(scores)), 1.0),
    }
    means = {name: _mean(negatives, positives, *values[:2], deviations, values[2]) for name, values in losses.items()}
    return {"auc": auc_figure(negatives, positives, deviations), **means}


def auc_figure(negatives: Floats, positives: Floats, deviations: float) -> Figure:
    """The area under the ROC curve from counts along rising scores, with its interval after DeLong et al. (1988)."""
    below, above = np.cumsum(negatives) - negatives, positives.sum() - np.cumsum(positives)
    n, m = float(negatives.sum()), float(positives.sum())
    if not n or not m:
        return Figure()
    # For each row the share of the other label's rows that it is ranked rightly against.
    right_positive, right_negative = (below + negatives / 2) / n, (above + positives / 2) / m
    area = float((positives * right_positive).sum() / m)
    if n <= 1 or m <= 1:
        return Figure(area)
    variance = (positives * (right_positive - area) ** 2).sum() / (m - 1) / m + (negatives * (right_negative - area) ** 2).sum() / (n - 1) / n
    return interval(area, float(variance), deviations, 1.0)


def _mean(
    negatives: Floats, positives: Floats, if_negative: Floats, if_positive: Floats, deviations: float, highest: float, lowest: float = 0.0
) -> Figure:
    rows = float(negatives.sum() + positives.sum())
    mean = float((negatives * if_negative).sum() + (positives * if_positive).sum()) / rows
    if rows <= 1:
        return Figure(mean)
    spread = float((negatives * (if_negative - mean) ** 2).sum() + (positives * (if_positive - mean) ** 2).sum()) / (rows - 1)
    return interval(mean, spread / rows, deviations, highest, lowest)


def interval(value: float, variance: float, deviations: float, highest: float, lowest: float = 0.0) -> Figure:
    """A value with so many standard errors on either side, within its limits."""
    if not variance:
        return Figure(value)  # rows that are all alike say nothing of those to come
    half = deviations * math.sqrt(variance)
    return Figure(value, max(value - half, lowest), min(value + half, highest))


def _records(
    found: dict[str, Figure], metrics: tuple[str, ...], segment: str | None, kind: Literal["realised", "estimated"], rows: int
) -> list[Performance]:
    made = {metric: found.get(metric, Figure()) for metric in metrics}
    return [Performance(segment, metric, kind, figure.value, figure.lower, figure.upper, rows) for metric, figure in made.items()]


def _rows(counts: ScoreCounts) -> int:
    return int(counts.negatives.sum() + counts.positives.sum())
