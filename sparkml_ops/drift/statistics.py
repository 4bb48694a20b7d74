"""Distances between the counts of two sides in the same declared bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import distance
from scipy.stats import chi2_contingency

from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["SMOOTHING", "chi_square", "hellinger", "jensen_shannon", "psi", "total_variation"]

SMOOTHING = 0.5
"""Added to every count of both sides before PSI: Jeffreys' prior, so that an empty bin gives no infinity."""


def psi(reference: Integers, current: Integers) -> float:
    """Population stability index, the sum of (p - q) log(p / q), with 0.5 added to every count of both sides.

    Source: the symmetric divergence of Jeffreys (1946); as PSI in Yurdakul (2018).

    >>> round(psi(np.array([50, 50]), np.array([50, 50])), 12)
    0.0
    """
    p, q = _shares(reference + SMOOTHING), _shares(current + SMOOTHING)
    return float(np.sum((p - q) * np.log(p / q)))


def jensen_shannon(reference: Integers, current: Integers) -> float:
    """Jensen-Shannon distance, base e: the square root of the divergence, as scipy defines it.

    >>> round(jensen_shannon(np.array([1, 0]), np.array([0, 1])) ** 2, 6)  # log 2
    0.693147
    """
    return float(distance.jensenshannon(reference, current))


def hellinger(reference: Integers, current: Integers) -> float:
    """Hellinger distance, in [0, 1].

    >>> hellinger(np.array([3, 0]), np.array([0, 8]))
    1.0
    """
    return float(np.sqrt(np.sum((np.sqrt(_shares(reference)) - np.sqrt(_shares(current))) ** 2) / 2))


def total_variation(reference: Integers, current: Integers) -> float:
    """Total variation: half the sum of the absolute differences of the shares, in [0, 1].

    >>> total_variation(np.array([1, 1]), np.array([1, 0]))
    0.5
    """
    return float(np.sum(np.abs(_shares(reference) - _shares(current))) / 2)


def chi_square(reference: Integers, current: Integers) -> tuple[float, float]:
    """Statistic and p-value of scipy's `chi2_contingency` with its defaults (Yates' correction on 2 x 2).

    Bins that are empty on both sides are left out. The p-value is about equality, not about a minimum
    effect: with many rows it rejects differences of no importance.
    """
    table = np.vstack([reference, current])
    result = chi2_contingency(table[:, table.sum(axis=0) > 0])
    return float(result.statistic), float(result.pvalue)


def _shares(counts: npt.NDArray[Any]) -> Floats:
    return np.asarray(counts / np.sum(counts), dtype=np.float64)
