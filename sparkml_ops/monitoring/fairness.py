"""Whether decisions fall on groups of rows alike in a window: from counts that the pass has made anyway."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import ndtri

from sparkml_ops.monitoring.figures import Figure
from sparkml_ops.performance.decisions import Confusion, confusion
from sparkml_ops.performance.scores import ScoreCounts

__all__ = ["DISPARITIES", "Decided", "disparities_over"]

DISPARITIES = ("demographic_parity", "equal_opportunity", "equalised_odds")


@dataclass(frozen=True)
class Decided:
    """The decisions in one group.

    Args:
        rows: Scored rows.
        ones: Rows of them that are decided for 1.
        known: Those whose truth is known.
    """

    rows: int
    ones: int
    known: Confusion

    @classmethod
    def of(cls, scored: ScoreCounts, labelled: ScoreCounts, threshold: float) -> Decided:
        """From counts by score, those of all rows standing as label 0."""
        found = confusion(scored, threshold)
        return cls(found.rows, found.false_positives, confusion(labelled, threshold))


def disparities_over(groups: Mapping[str, Decided], *, minimum: int, confidence: float) -> dict[str, Figure]:
    """Largest differences between groups, from 0 (alike) to 1: fairlearn's figures, with an interval.

    `demographic_parity` is about the share that is decided for 1, of all scored rows, so that it needs no truth; `equal_opportunity` about
    that share among rows of label 1 (Hardt et al. 2016, "Equality of opportunity in supervised learning"); `equalised_odds` is the larger one
    of both labels' differences. The interval is the normal one of the difference between the two extreme groups; among many small groups the
    extreme ones lie apart by chance, which `minimum` keeps in bounds.

    Args:
        groups: Value of the sensitive column to the decisions there.
        minimum: Fewest rows of a group, or of a group and label, that take part.
        confidence: Level of the intervals.

    Returns:
        By name; without a value where fewer than two groups take part.

    >>> groups = {"a": Decided(100, 30, Confusion(60, 20, 10, 10)), "b": Decided(100, 55, Confusion(40, 40, 5, 15))}
    >>> disparities_over(groups, minimum=10, confidence=0.95)["equal_opportunity"].value
    0.25
    """
    deviations = float(ndtri((1 + confidence) / 2))
    known = [group.known for group in groups.values()]
    parity = _spread([(group.ones, group.rows) for group in groups.values()], minimum, deviations)
    right = _spread([(found.true_positives, found.true_positives + found.false_negatives) for found in known], minimum, deviations)
    wrong = _spread([(found.false_positives, found.false_positives + found.true_negatives) for found in known], minimum, deviations)
    both = [figure for figure in (right, wrong) if figure.value is not None]
    odds = max(both, key=lambda figure: figure.value or 0.0) if len(both) == 2 else Figure()
    return dict(zip(DISPARITIES, (parity, right, odds), strict=True))


def _spread(shares: Sequence[tuple[int, int]], minimum: int, deviations: float) -> Figure:
    """The distance between the largest and the smallest share."""
    found = sorted((ones / rows, rows) for ones, rows in shares if rows >= minimum)
    if len(found) < 2:
        return Figure()
    (least, fewer), (most, more) = found[0], found[-1]
    half = deviations * math.sqrt(least * (1 - least) / fewer + most * (1 - most) / more)
    return Figure(most - least, max(most - least - half, 0.0), min(most - least + half, 1.0)) if half else Figure(most - least)
