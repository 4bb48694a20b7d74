"""Distances between the counts of two sides in the same declared bins."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, rel_entr

from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["SMOOTHING", "divergences", "tests_of_equality"]

SMOOTHING = 0.5
"""Added to every count of both sides before PSI and Kullback-Leibler: Jeffreys' prior, so that an empty bin gives no infinity."""
_FISHER = 100_000


def divergences(reference: Integers, current: Integers) -> dict[str, float]:
    """How far apart the shares p of the reference and q of the current rows are.

    - `psi`: population stability index, the sum of (p - q) log(p / q), with 0.5 added to every count of both sides
      (the symmetric divergence of Jeffreys, 1946; as PSI in Yurdakul, 2018).
    - `kullback_leibler`: divergence of the reference from the current rows, the sum of p log(p / q), on the same counts, base e.
    - `jensen_shannon`: distance, the square root of the divergence, base e, as scipy defines it.
    - `hellinger`: distance, in [0, 1].
    - `total_variation`: half the sum of the absolute differences, in [0, 1].
    - `l_infinity`: the greatest difference, in [0, 1].

    >>> found = divergences(np.array([1, 0]), np.array([0, 1]))
    >>> found["hellinger"], found["total_variation"], found["l_infinity"], round(found["jensen_shannon"] ** 2, 6)  # log 2
    (1.0, 1.0, 1.0, 0.693147)
    """
    p, q = _shares(reference), _shares(current)
    r, s = _shares(reference + SMOOTHING), _shares(current + SMOOTHING)
    middle, apart = (p + q) / 2, np.abs(p - q)
    return {
        "psi": float(((r - s) * np.log(r / s)).sum()),
        "kullback_leibler": float(rel_entr(r, s).sum()),
        "jensen_shannon": sqrt(max(0.0, float((rel_entr(p, middle) + rel_entr(q, middle)).sum())) / 2),
        "hellinger": sqrt(float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum()) / 2),
        "total_variation": float(apart.sum()) / 2,
        "l_infinity": float(apart.max()),
    }


def tests_of_equality(reference: Integers, current: Integers) -> dict[str, tuple[float | None, float | None]]:
    """Statistic and p-value of chi-square and G, as scipy's `chi2_contingency` has them by default, and of Fisher's test.

    Yates' correction on 2 x 2; bins that are empty on both sides are left out. Fisher's exact test, with its odds ratio, is for 2 x 2 of
    at most 100,000 rows: beyond, the others say the same. These p-values are about equality, not about a minimum effect: with
    many rows they reject differences of no importance.

    >>> {name: round(p, 4) for name, (value, p) in tests_of_equality(np.array([8, 2]), np.array([1, 5])).items()}
    {'chi_square': 0.051, 'g_test': 0.0473, 'fisher': 0.035}
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
        from scipy.stats import fisher_exact  # takes long to import: see inference.py

        odds, p = fisher_exact(table.astype(np.int64))
        result["fisher"] = (float(odds) if np.isfinite(odds) else None, float(p))
    return result


def _shares(counts: npt.NDArray[Any]) -> Floats:
    return np.asarray(counts / counts.sum(), dtype=np.float64)
