"""What decisions are worth, what rows brought, and whether decisions fall on groups alike."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fairlearn.metrics import demographic_parity_difference, equal_opportunity_difference, equalized_odds_difference
from pydantic import ValidationError

from sparkml_ops.config.monitoring import MonitoringSection
from sparkml_ops.monitoring.calibration import Calibration
from sparkml_ops.monitoring.fairness import Decided, disparities_over
from sparkml_ops.monitoring.figuring import BinaryFiguring
from sparkml_ops.monitoring.money import Money
from sparkml_ops.monitoring.tally import Tally
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import Performance

WORTH = {"true_positive": 10.0, "false_positive": -3.0, "false_negative": -8.0, "true_negative": 0.5}
ROWS = 700


def rows(seed: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    score = random.random(ROWS)
    label = (random.random(ROWS) < score).astype(float)
    label[random.random(ROWS) < 0.1] = np.nan
    amount = np.exp(random.normal(size=ROWS))
    amount[3] = np.nan
    reward = np.where(random.random(ROWS) < 0.3, random.normal(5, 2, ROWS), np.nan)
    return {"score": score, "label": label, "lag": np.where(np.isnan(label), np.nan, 1.0), "amount": amount, "reward": reward}


def outcomes(found: dict[str, np.ndarray], threshold: float) -> np.ndarray:
    decided = found["score"] >= threshold
    by_label = np.where(found["label"] == 1, np.where(decided, 10.0, -8.0), np.where(decided, -3.0, 0.5))
    return np.where(np.isnan(found["label"]), np.nan, by_label)


def figures(settings: MonitoringSection, found: dict[str, np.ndarray]) -> dict[tuple[str, str], Performance]:
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in found.items()})
    calibration = Calibration("", 5000, (0.0, 1.0), (0.0, 1.0))
    figuring = BinaryFiguring(settings, {"w": calibration})
    parts = [Tally.of_table("w", table.slice(start, 100), settings.lag_hours, figuring.kind) for start in range(0, ROWS, 100)]
    return {(item.metric, item.kind): item for item in figuring.figures("w", None, reduce(Tally.merge, parts[::-1]))}


def test_worth_a_row_is_the_mean_over_known_rows() -> None:
    """At the configured threshold, with the normal interval; a loss is below zero."""
    found = rows()
    record = figures(MonitoringSection(value=WORTH, threshold=0.4), found)["value", "realised"]
    worth = outcomes(found, 0.4)
    worth = worth[~np.isnan(worth)]

    assert record.value == pytest.approx(worth.mean(), abs=1e-12)
    assert record.rows == len(worth)
    assert record.lower == pytest.approx(worth.mean() - 1.959964 * worth.std(ddof=1) / np.sqrt(len(worth)), abs=1e-6)
    loss = figures(MonitoringSection(value={"false_positive": -3.0}), found)["value", "realised"]
    assert loss.upper is not None
    assert loss.upper < 0


def test_expected_worth_needs_no_truth() -> None:
    """Calibrated scores say how often each outcome comes."""
    found = rows()
    record = figures(MonitoringSection(value=WORTH), found)["value", "estimated"]
    score = found["score"]
    expected = np.where(score >= 0.5, 10 * score - 3 * (1 - score), -8 * score + 0.5 * (1 - score))

    assert record.value == pytest.approx(expected.mean(), abs=1e-12)
    assert record.rows == ROWS


def test_amounts_multiply_worth_and_rewards_are_what_rows_brought() -> None:
    """An amount that nobody knows counts as 0; a row without a reward has none."""
    found = rows()
    record = figures(MonitoringSection(value={**WORTH, "amount": "price", "reward": "revenue"}), found)
    worth = outcomes(found, 0.5) * np.nan_to_num(found["amount"])
    worth, brought = worth[~np.isnan(worth)], found["reward"][~np.isnan(found["label"]) & ~np.isnan(found["reward"])]

    assert record["value", "realised"].value == pytest.approx(worth.mean(), abs=1e-5)
    upper, mean = record["value", "realised"].upper, worth.mean()
    assert upper is not None
    assert upper - mean == pytest.approx(1.959964 * worth.std(ddof=1) / np.sqrt(len(worth)), rel=1e-4)
    assert record["reward", "realised"].value == pytest.approx(brought.mean(), abs=1e-5)
    assert record["reward", "realised"].rows == len(brought)
    assert ("value", "estimated") not in record  # what rows will be about, scores do not say


def test_sums_of_money_do_not_depend_on_the_order_of_parts() -> None:
    """They are whole numbers on their way."""
    found = rows()
    known = {name: values[~np.isnan(found["label"])] for name, values in found.items()}

    def part(places: np.ndarray) -> Money:
        return Money.of(known["label"][places], known["score"][places] > 0.5, known["amount"][places], known["reward"][places])

    parts = [part(places) for places in np.array_split(np.arange(len(known["label"])), 9)]
    forth, back = reduce(Money.merge, parts), reduce(Money.merge, parts[::-1])
    assert forth == back == Money.from_text(forth.to_text())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "every outcome is worth 0"),
        ({"amount": "price"}, "every outcome is worth 0"),
        ({"amount": "price", "classes": {"a": {"a": 1}}}, r"value.amount with value.classes"),
        ({"true_postive": 1}, "Extra inputs"),
    ],
)
def test_worth_that_would_measure_nothing_is_refused(value: dict[str, Any], message: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValidationError, match=message):
        MonitoringSection(value=value)


def test_what_is_not_measured_does_not_change_the_hash() -> None:
    """Windows that were measured before there was worth or fairness stay measured."""
    found = MonitoringSection().model_dump(mode="json")

    assert not {"value", "sensitive", "threshold", "sensitive_rows"} & found.keys()
    assert {"sensitive", "threshold", "sensitive_rows"} < MonitoringSection(sensitive=("shop",)).model_dump(mode="json").keys()


def test_disparities_are_fairlearn_s() -> None:
    """Over a window's rows, by group; the interval holds the value, and a group of few rows takes no part."""
    random = np.random.default_rng(3)
    group, score = random.choice(["a", "b", "c"], 3000, p=[0.6, 0.39, 0.01]), random.random(3000)
    label = (random.random(3000) < np.where(group == "b", score**2, score)).astype(int)
    large = group != "c"
    groups = {}
    for name in "abc":
        mine = group == name
        counts = ScoreCounts.of(score[mine], label[mine])
        groups[name] = Decided.of(ScoreCounts.of(score[mine], np.zeros(mine.sum(), int)), counts, 0.5)
    found = disparities_over(groups, minimum=100, confidence=0.95)

    truth, decided, of = label[large], (score[large] >= 0.5).astype(int), group[large]
    oracles = (demographic_parity_difference, equal_opportunity_difference, equalized_odds_difference)
    for figure, oracle in zip(found.values(), oracles, strict=True):
        assert figure.value == pytest.approx(oracle(truth, decided, sensitive_features=of), abs=1e-12)
        assert figure.lower is not None
        assert figure.upper is not None
        assert figure.lower < figure.value < figure.upper
    assert all(figure.value is None for figure in disparities_over({"a": groups["a"]}, minimum=1, confidence=0.95).values())
    assert disparities_over(groups, minimum=1, confidence=0.95)["demographic_parity"].value != found["demographic_parity"].value
