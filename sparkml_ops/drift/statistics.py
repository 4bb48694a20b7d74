"""Distances between the counts of two sides in the same declared bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, rel_entr
from scipy.stats import fisher_exact

from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["SMOOTHING", "hellinger", "jensen_shannon", "kullback_leibler", "l_infinity", "psi", "tests_of_equality", "total_variation"]

SMOOTHING = 0.5
"""Added to every count of both sides before PSI and Kullback-Leibler: Jeffreys' prior, so that an empty bin gives no infinity."""
_FISHER = 100_000


def psi(reference: Integers, current: Integers) -> float:
    """Population stability index, the sum of (p - q) log(p / q), with 0.5 added to every count of both sides.

    Source: the symmetric divergence of Jeffreys (1946); as PSI in Yurdakul (2018).

    >>> round(psi(np.array([50, 50]), np.array([50, 50])), 12)
    0.0
    """
    p, q = _shares(reference + SMOOTHING), _shares(current + SMOOTHING)
    return float(np.sum((p - q) * np.log(p / q)))


def kullback_leibler(reference: Integers, current: Integers) -> float:
    """Kullback-Leibler divergence of the reference from the current rows, the sum of p log(p / q), base e.

    0.5 is added to every count of both sides, as for `psi`, which is the sum of both directions.

    >>> round(kullback_leibler(np.array([50, 50]), np.array([50, 50])), 12)
    0.0
    """
    return float(np.sum(rel_entr(_shares(reference + SMOOTHING), _shares(current + SMOOTHING))))


def l_infinity(reference: Integers, current: Integers) -> float:
    """The greatest difference of a bin's shares, in [0, 1].

    >>> l_infinity(np.array([1, 1]), np.array([1, 0]))
    0.5
    """
    return float(np.max(np.abs(_shares(reference) - _shares(current))))


def jensen_shannon(reference: Integers, current: Integers) -> float:
    """Jensen-Shannon distance, base e: the square root of the divergence, as scipy defines it.

    >>> round(jensen_shannon(np.array([1, 0]), np.array([0, 1])) ** 2, 6)  # log 2
    0.693147
    """
    p, q = _shares(reference), _shares(current)
    middle = (p + q) / 2
    return float(np.sqrt(max(0.0, np.sum(rel_entr(p, middle)) + np.sum(rel_entr(q, middle))) / 2))


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


def tests_of_equality(reference: Integers, current: Integers) -> dict[str, tuple[float | None, float | None]]:
    """Statistic and p-value of chi-square and G, as scipy's `chi2_contingency` has them by default, and of Fisher's test.

    Yates' correction on 2 x 2; bins that are empty on both sides are left out. Fisher's exact test, with its odds ratio, is for 2 x 2 of
    at most 100,000 rows: beyond, the others say the same. These p-values are about equality, not about a minimum effect: with
    many rows they reject differences of no importance.

    >>> {name: round(p, 4) for name, (value, p) in tests_of_equality(np.array([8, 2]), np.array([1, 5])).items()}
    {'chi_square': 0.0549, 'g_test': 0.0463, 'fisher': 0.035}
    """
    table = np.vstack([reference, current]).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return {"chi_square": (0.0, 1.0), "g_test": (0.0, 1.0)}
    whole = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / whole
    observed, freedom = table, table.shape[1] - 1
    if freedom == 1:
        apart = expected - observed
        observed = observed + np.minimum(0.5, np.abs(apart)) * np.sign(apart)
    square, likelihood = float(np.sum((observed - expected) ** 2 / expected)), float(2 * np.sum(rel_entr(observed, expected)))
    result: dict[str, tuple[float | None, float | None]] = {
        "chi_square": (square, float(chdtrc(freedom, square))),
        "g_test": (likelihood, float(chdtrc(freedom, max(likelihood, 0.0)))),
    }
    if freedom == 1 and whole <= _FISHER:
        odds, p = fisher_exact(table.astype(np.int64))
        result["fisher"] = (float(odds) if np.isfinite(odds) else None, float(p))
    return result


def _shares(counts: npt.NDArray[Any]) -> Floats:
    return np.asarray(counts / counts.sum(), dtype=np.float64)
