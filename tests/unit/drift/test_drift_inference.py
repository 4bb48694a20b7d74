"""P-values for "the effect is at most its threshold": calibrated, powerful, honest about blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sparkml_ops.config.drift import Correction, DriftSection
from sparkml_ops.drift import DriftReport, Profile, inference
from sparkml_ops.drift.measures import judge
from sparkml_ops.summaries import Edges

Comparer = Callable[..., DriftReport]


TRIALS = 400


def test_a_distance_at_the_threshold_is_rarely_called_above_it() -> None:
    """Two uniform samples whose true distance is exactly 0.1: at most 5 % of the p-values are below 0.05."""
    random = np.random.default_rng(0)
    values = [
        inference.ks_p(stats.ks_2samp(random.random(400), random.random(400) + 0.1, method="asymp").statistic, 0.1, 400, 400) for _ in range(TRIALS)
    ]

    assert np.mean(np.array(values) < 0.05) <= 0.05


def test_variation_at_the_threshold_is_rarely_called_above_it() -> None:
    """Multinomial counts whose true total variation is exactly 0.1; and twice that is found."""
    random = np.random.default_rng(1)
    p = np.full(8, 1 / 8)
    at, above = p.copy(), p.copy()
    at[0], at[1] = p[0] + 0.1, p[1] - 0.1
    above[:2], above[2:4] = p[0] + 0.1, p[0] - 0.1

    def share(q: np.ndarray) -> float:
        tests = [inference.total_variation_p(random.multinomial(1000, p), random.multinomial(1000, q), 0.1) for _ in range(TRIALS)]
        return float(np.mean(np.array(tests) < 0.05))

    assert share(at) <= 0.08
    assert share(above) >= 0.95


def test_a_stability_index_at_the_threshold_is_rarely_called_above_it() -> None:
    """Ten bins whose true index is 0.2 reject about as often as they should; no difference never does."""
    random = np.random.default_rng(2)
    p = np.full(10, 0.1)
    shift = 0.0
    while True:
        shift += 0.0005
        q = p + shift * np.array([1, -1] * 5)
        if ((p - q) * np.log(p / q)).sum() >= 0.2:
            break

    def share(other: np.ndarray) -> float:
        rejected = 0
        for _ in range(TRIALS):
            first, second = random.multinomial(3000, p) + 0.5, random.multinomial(3000, other) + 0.5
            a, b = first / first.sum(), second / second.sum()
            rejected += inference.psi_p(float(((a - b) * np.log(a / b)).sum()), 0.2, 10, 3000, 3000) < 0.05
        return rejected / TRIALS

    assert share(q) <= 0.1
    assert share(p) == 0.0


def test_the_band_covers_the_true_distance() -> None:
    """The 95 % interval around the observed distance holds the true one at least that often."""
    random = np.random.default_rng(3)
    margin = inference.band(0.05, 300, 500)
    observed = [stats.ks_2samp(random.random(300), random.random(500) + 0.2, method="asymp").statistic for _ in range(TRIALS)]

    assert np.mean(np.abs(np.array(observed) - 0.2) <= margin) >= 0.95


def test_discovery_rates_are_those_of_benjamini_and_hochberg() -> None:
    """Rates are scipy's over the known p-values; unknown ones stay unknown."""
    values = [0.001, None, 0.04, 0.03, 0.8]
    expected = stats.false_discovery_control([0.001, 0.04, 0.03, 0.8])

    assert inference.discovery_rates(values) == [expected[0], None, *expected[1:]]
    assert inference.discovery_rates([None]) == [None]
    dependent = stats.false_discovery_control([0.001, 0.04, 0.03, 0.8], method="by")
    assert inference.discovery_rates(values, "benjamini-yekutieli") == [dependent[0], None, *dependent[1:]]


def null_indices(random: np.random.Generator, trials: int, n: int, m: int) -> np.ndarray:
    """Stability indices of equal multinomial samples over ten bins, with 0.5 on every count."""
    first, second = random.multinomial(n, np.full(10, 0.1), trials) + 0.5, random.multinomial(m, np.full(10, 0.1), trials) + 0.5
    p, q = first / (n + 5), second / (m + 5)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=1))


@pytest.mark.parametrize(("n", "m"), [(10_000, 300), (1000, 1000), (50_000, 20_000)])
def test_chance_exceeds_its_quantile_as_often_as_it_says(n: int, m: int) -> None:
    """Under no drift the share above the calibrated threshold is the level, within Monte Carlo error."""
    trials, error = 4000, 4 * np.sqrt(0.05 * 0.95 / 4000)
    random = np.random.default_rng(8)
    above = np.mean(null_indices(random, trials, n, m) > inference.chance("psi", 0.05, 10, n, m))
    tested = np.mean(inference.psi_p(null_indices(random, trials, n, m), 0.0, 10, n, m) < 0.05)
    distances = [stats.ks_2samp(random.random(300), random.random(400), method="asymp").statistic for _ in range(TRIALS)]

    assert above == pytest.approx(0.05, abs=error)
    assert tested == pytest.approx(0.05, abs=error)
    assert np.mean(np.array(distances) > inference.chance("ks", 0.05, 0, 300, 400)) <= 0.05


def test_a_family_without_drift_rarely_has_an_alarm() -> None:
    """Sixty columns, none drifting: the share of reports with any discovery is at most the level, where single tests would nearly always alarm."""
    random, reports = np.random.default_rng(9), 600
    values = inference.psi_p(null_indices(random, reports * 60, 5000, 2000), 0.0, 10, 5000, 2000).reshape(reports, 60)
    error = 4 * np.sqrt(0.05 * 0.95 / reports)

    def alarms(correction: Correction) -> float:
        return float(np.mean([min(inference.discovery_rates(row.tolist(), correction)) <= 0.05 for row in values]))

    assert np.mean(values.min(axis=1) < 0.05) > 0.9
    assert alarms("benjamini-hochberg") == pytest.approx(0.05, abs=error)
    assert alarms("benjamini-yekutieli") <= 0.05


def test_looking_at_every_window_keeps_the_level_where_it_is_spent() -> None:
    """A year of weekly windows against one reference, no drift: some week alarms in most years, and in few where the looks are counted."""
    random, years, weeks = np.random.default_rng(10), 600, 52
    reference = random.multinomial(20_000, np.full(10, 0.1), years)[:, None, :] + 0.5
    current = random.multinomial(2000, np.full(10, 0.1), (years, weeks)) + 0.5
    p, q = reference / 20_005, current / 2005
    values = inference.psi_p(((p - q) * np.log(p / q)).sum(axis=2), 0.0, 10, 20_000, 2000)
    spent = np.array([inference.spent(look) for look in range(1, weeks + 1)])

    assert np.mean(values.min(axis=1) < 0.05) > 0.8
    assert np.mean((values * spent).min(axis=1) < 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / years)


def test_a_later_look_needs_more_evidence(compared: Comparer) -> None:
    """The same windows drift at the first look and not at the thousandth, whose interval is wider too."""
    random = np.random.default_rng(11)
    both = pd.DataFrame({"x": random.normal(0, 1, 400)}), pd.DataFrame({"x": random.normal(0.75, 1, 400)})
    settings = DriftSection(sequential=True, thresholds={"psi": None})
    base = compared(*both, settings=settings)["x"]
    profiles = (
        Profile(Edges({"x": base.reference.edges}, {"x": "double"}), {(None, None): {"x": side.state}}) for side in (base.reference, base.current)
    )
    (late,) = judge(*profiles, settings, {}, 1000)

    assert (base.verdict, late.verdict) == ("drift", "undecided")
    assert late.ks_interval[0] < base.ks_interval[0]
    assert compared(*both, settings=DriftSection(thresholds={"psi": None}))["x"].verdict == "drift"


def test_small_samples_have_a_higher_threshold(compared: Comparer) -> None:
    """What chance makes of equal samples of these sizes is the threshold where it is more than the minimum effect."""
    random = np.random.default_rng(12)
    both = pd.DataFrame({"x": random.normal(0, 1, 3000)}), pd.DataFrame({"x": random.normal(0, 1, 110)})
    column = compared(*both, settings=DriftSection(thresholds={"ks": 0.1, "psi": 0.1}))["x"]

    assert column.measures["psi"].threshold == pytest.approx(stats.chi2.ppf(0.95, 9) * (1 / 3000 + 1 / 110))
    assert column.measures["ks"].threshold == pytest.approx(inference.band(0.05, 3000, 110))
    assert column.verdict in ("no drift", "undecided")


@pytest.mark.parametrize(
    ("lower", "upper", "rate", "expected"),
    [
        (0.12, 0.12, 0.01, "drift"),
        (0.12, 0.12, 0.2, "undecided"),
        (0.08, 0.08, 1.0, "no drift"),
        (0.09, 0.11, 1.0, "undecided"),
        (0.12, 0.13, None, "drift"),
    ],
)
def test_verdicts_need_effect_and_evidence(lower: float, upper: float, rate: float | None, expected: str) -> None:
    """Above the minimum with evidence is drift, without it undecided; below it no drift."""
    assert inference.effect_verdict(lower, upper, 0.1, rate, 0.05) == expected


def clustered(random: np.random.Generator, blocks: int, start: int) -> pd.DataFrame:
    """30 rows a block, most of the spread between blocks: 900 rows that are worth about 30."""
    centres = np.repeat(random.normal(0, 1, blocks), 30)
    days = pd.Timestamp("2013-01-01", tz="UTC") + pd.to_timedelta(start + np.repeat(np.arange(blocks), 30), unit="D")
    return pd.DataFrame({"x": centres + random.normal(0, 0.3, len(centres)), "day": days})


def test_exchanging_blocks_rejects_rarely_where_rows_are_clustered(compared: Comparer) -> None:
    """No drift, clustered rows, minimum effect 0: the textbook rejects mostly, the exchange of blocks about 5 %."""
    random = np.random.default_rng(5)
    settings = DriftSection(thresholds={"ks": 0.0, "psi": None}, permutations=199)
    by_rows, by_blocks = [], []
    for _ in range(30):
        both = clustered(random, 20, 0), clustered(random, 20, 100)
        column = compared(*both, settings=settings, blocks="day")["x"]
        by_blocks.append(column.measures["ks"].p)
        by_rows.append(stats.ks_2samp(both[0]["x"], both[1]["x"]).pvalue)

    assert np.mean(np.array(by_rows) < 0.05) > 0.4
    assert np.mean(np.array(by_blocks) < 0.05) <= 0.15
    assert "exchange of 40 blocks" in column.measures["ks"].method


def test_exchanging_blocks_finds_a_shift_of_all_blocks(compared: Comparer) -> None:
    """A shift that no exchange explains is drift."""
    random = np.random.default_rng(6)
    current = clustered(random, 30, 100)
    column = compared(clustered(random, 30, 0), current.assign(x=current["x"] + 3), blocks="day")["x"]

    assert column.verdict == "drift"
    assert column.measures["ks"].p == pytest.approx(1 / 1000)


def test_too_few_blocks_decide_nothing(compared: Comparer) -> None:
    """Under twenty blocks of both sides together a column is undecided, whatever the number of rows."""
    random = np.random.default_rng(7)
    current = clustered(random, 5, 100)
    column = compared(clustered(random, 5, 0), current.assign(x=current["x"] + 3), blocks="day")["x"]

    assert column.verdict == "undecided"
