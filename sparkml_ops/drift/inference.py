"""Whether an effect is above its minimum: p-values, blocks, false discoveries, verdicts.

The null hypothesis is "the effect is at most the threshold", not "there is no difference": with
enough rows every difference is significant and few matter. Each p-value here is for that null.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, pi, sqrt
from typing import Literal

import numpy as np
from scipy.special import chdtri, ndtr

from sparkml_ops.config.drift import Correction
from sparkml_ops.summaries.order import Floats, Integers

__all__ = ["Verdict", "band", "chance", "discovery_rates", "effect_verdict", "ks_p", "missing_p", "psi_p", "spent", "total_variation_p"]

Verdict = Literal["drift", "no drift", "fault", "undecided"]


def ks_p(distance: float, threshold: float, n: int, m: int) -> float:
    """P-value of "the distance is at most the threshold" by the band of Dvoretzky, Kiefer and Wolfowitz.

    The observed distance exceeds the true one by more than t with a probability of at most
    2 exp(-2 t^2 n m / (n + m)) (two-sample form with Massart's constant: Wei and Dudley, 2012).

    >>> ks_p(0.3, 0.1, 1000, 1000) < 1e-8, ks_p(0.05, 0.1, 1000, 1000)
    (True, 1.0)
    """
    excess = max(distance - threshold, 0.0)
    return min(1.0, 2 * exp(-2 * excess * excess * n * m / (n + m)))


def band(level: float, n: int, m: int) -> float:
    """Half the width of the confidence band of the distance at confidence 1 - level."""
    return sqrt(log(2 / level) * (n + m) / (2 * n * m))


def psi_p(value: Floats | float, threshold: float, bins: Integers | int, n: Integers | int, m: Integers | int) -> Floats:
    """P-value of "the index is at most the threshold"; one for each index where arrays are given.

    n m / (n + m) times the index is about chi-square with bins - 1 degrees of freedom where both
    sides are equal (Yurdakul, 2018), and noncentral by the true index where they are not.

    >>> bool(psi_p(0.5, 0.2, 10, 2000, 2000) < 0.01), bool(psi_p(0.1, 0.2, 10, 2000, 2000) > 0.5)
    (True, True)
    """
    from scipy.stats import ncx2  # a second of a core, that a process which judges nothing need not spend

    size = np.asarray(n, dtype=np.float64) * m / (np.asarray(n) + m)
    freedom = np.asarray(bins) - 1
    return np.where(freedom < 1, 1.0, ncx2.sf(value * size, np.maximum(freedom, 1), threshold * size))


def chance(statistic: str, level: float, bins: int, n: int, m: int) -> float:
    """What a statistic exceeds with a probability of at most `level` where both sides are equal; 0 where it has no formula.

    For `ks` the band of Dvoretzky, Kiefer and Wolfowitz, for `psi` (1/n + 1/m) times a quantile of chi-square with bins - 1
    degrees of freedom (Yurdakul, 2018): at a hundred rows and ten bins an index of 0.2 is nothing.

    >>> round(chance("psi", 0.05, 10, 100, 10_000), 3), round(chance("psi", 0.05, 10, 100_000, 10_000), 4)
    (0.171, 0.0019)
    """
    if statistic == "ks":
        return band(level, n, m)
    return float(chdtri(bins - 1, level)) * (1 / n + 1 / m) if statistic == "psi" and bins > 1 else 0.0


def spent(look: int) -> float:
    """By how much p-values grow at the k-th look at a series of windows, so that all looks together keep the level.

    The level is spent as 6 / (pi^2 k^2), whose sum over all k is 1. That holds however the windows depend on each other, and they do:
    all are compared with the same reference, which a product of bets on each window would not survive.

    >>> round(spent(1), 3), round(sum(1 / spent(look) for look in range(1, 1000)), 2)
    (1.645, 1.0)
    """
    return pi**2 * look**2 / 6


def total_variation_p(reference: Integers, current: Integers, threshold: float) -> float:
    """P-value of "the total variation is at most the threshold", by the normal approximation.

    It is a difference of two proportions, that of the bins where the reference has more. Chance alone
    gives bins without a difference one of about 0.8 standard deviations: that much is taken off for each bin
    whose difference is within two of them (mean of the folded normal distribution).
    """
    n, m = int(reference.sum()), int(current.sum())
    p, q = reference / n, current / m
    deviation = np.sqrt(p * (1 - p) / n + q * (1 - q) / m)
    bias = sqrt(2 / np.pi) * float(deviation[np.abs(p - q) < 2 * deviation].sum()) / 2
    more = p > q
    return _proportions_p(float(p[more].sum()), float(q[more].sum()), n, m, threshold + bias)


def missing_p(first: int, n: int, second: int, m: int, threshold: float) -> float:
    """P-value of "the missing share rose by at most the threshold", by the normal approximation.

    One missing and one present row are added on each side (Agresti and Caffo, 2000).

    >>> missing_p(0, 50, 50, 50, 0.1) < 1e-6, missing_p(5, 1000, 6, 1000, 0.1) > 0.99
    (True, True)
    """
    return _proportions_p((second + 1) / (m + 2), (first + 1) / (n + 2), m + 2, n + 2, threshold)


def _proportions_p(high: float, low: float, n: int, m: int, threshold: float) -> float:
    # Half a row keeps the deviation above zero where both shares are 0 or 1.
    spread = max(high * (1 - high) / n + low * (1 - low) / m, 0.25 * (1 / n**2 + 1 / m**2))
    return float(ndtr((threshold - high + low) / sqrt(spread)))


def discovery_rates(values: Sequence[float | None], correction: Correction = "benjamini-hochberg") -> list[float | None]:
    """False discovery rates of a family of p-values; None stays None.

    Args:
        values: P-values.
        correction: Benjamini and Hochberg (1995) for tests that are independent or lean the same way; Benjamini and
            Yekutieli (2001) whatever they have to do with each other, larger by the sum of 1/k over the family.

    >>> discovery_rates([0.01, None, 0.04])
    [0.02, None, 0.04]
    >>> discovery_rates([0.01, None, 0.04], "benjamini-yekutieli")
    [0.03, None, 0.06]
    """
    from scipy.stats import false_discovery_control

    known = [index for index, value in enumerate(values) if value is not None]
    rates: list[float | None] = [None] * len(values)
    if known:
        method = "by" if correction == "benjamini-yekutieli" else "bh"
        for index, rate in zip(known, false_discovery_control([values[index] for index in known], method=method), strict=True):
            rates[index] = float(rate)
    return rates


def effect_verdict(lower: float, upper: float, threshold: float, rate: float | None, level: float, chance: float = 0.0) -> Verdict:
    """What an effect says: `drift` where it is surely above the threshold, `undecided` where it may be.

    Args:
        lower: Guaranteed lower bound of the observed effect.
        upper: Guaranteed upper bound.
        threshold: The minimum effect.
        rate: False discovery rate of "at most the threshold"; None where the statistic has no test.
        level: Highest rate that counts as evidence.
        chance: What equal samples of these sizes may reach; no effect below it is drift.
    """
    if lower >= max(threshold, chance) and (rate is None or rate <= level):
        return "drift"
    return "no drift" if upper < threshold else "undecided"
