"""Figures of models of several classes, with the truth and without: those of scikit-learn, from counts that merge."""

from __future__ import annotations

import json
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from sparkml_ops.config.monitoring import MonitoringSection
from sparkml_ops.monitoring.classes import ClassCalibration, Classes, class_records
from sparkml_ops.monitoring.figuring import ClassFiguring
from sparkml_ops.monitoring.tally import Tally
from sparkml_ops.performance.classes import ClassErrors
from sparkml_ops.records import Performance

ROWS, NAMES = 4000, ("a", "b", "c")


def made(seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that are too sure of themselves, the probabilities that they stand for, and classes drawn from these."""
    random = np.random.default_rng(seed)
    odds = random.normal(size=(rows, 3)) + np.array([0.5, 0.0, -0.8])
    true = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    said = np.exp(1.7 * odds) / np.exp(1.7 * odds).sum(axis=1, keepdims=True)
    label = (random.random((rows, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return said, true, label


def table(scores: np.ndarray, labels: np.ndarray | None = None) -> pa.Table:
    values = pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), 3).cast(pa.list_(pa.float64()))
    known = np.full(len(scores), np.nan) if labels is None else labels.astype(float)
    empty = pa.nulls(len(scores), pa.float64())
    return pa.table({"score": values, "label": pa.array(known, from_pandas=True), "lag": empty, "amount": empty, "reward": empty})


def figures(found: list[Performance]) -> dict[str, float | None]:
    return {item.metric: item.value for item in found}


@pytest.fixture(scope="module")
def calibration() -> ClassCalibration:
    said, _, label = made(1)
    return ClassCalibration.fit(ClassErrors.of(said, label), NAMES, "digest")


def test_realised_figures_are_scikit_learn_s() -> None:
    """Of rows whose truth is known."""
    said, _, label = made(2)
    found = figures(class_records(Classes(3, {}).labelled(table(said, label)), None, "realised"))

    assert found["accuracy"] == accuracy_score(label, said.argmax(axis=1))
    assert found["macro_f1"] == pytest.approx(f1_score(label, said.argmax(axis=1), average="macro"), abs=1e-12)
    assert found["macro_auc"] == pytest.approx(roc_auc_score(label, said, multi_class="ovr"), abs=1e-12)
    assert found["log_loss"] == pytest.approx(log_loss(label, said), abs=1e-12)


def test_estimates_are_cbpe_with_isotonic_maps_that_sum_to_one(calibration: ClassCalibration) -> None:
    """Against scikit-learn's maps, and its metrics over rows that stand for each class by its share."""
    said, _, label = made(1)
    now, _, _ = made(3)
    maps = [IsotonicRegression(out_of_bounds="clip").fit(said[:, k], label == k) for k in range(3)]
    chance = np.column_stack([found.predict(now[:, k]) for k, found in enumerate(maps)])
    chance /= chance.sum(axis=1, keepdims=True)
    found = figures(class_records(Classes(3, {"w": calibration}).scored("w", table(now)), None, "estimated", calibration=calibration))

    truth, rows = np.repeat(np.arange(3), len(now)), np.tile(now, (3, 1))
    weight, chosen = chance.T.ravel(), np.tile(now.argmax(axis=1), 3)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, chosen, sample_weight=weight), abs=1e-6)
    assert found["macro_f1"] == pytest.approx(f1_score(truth, chosen, sample_weight=weight, average="macro"), abs=1e-6)
    assert found["log_loss"] == pytest.approx(log_loss(truth, rows, sample_weight=weight), abs=1e-6)
    areas = [roc_auc_score(truth == k, rows[:, k], sample_weight=weight) for k in range(3)]
    assert found["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-6)


def test_parts_give_what_the_whole_gives(calibration: ClassCalibration) -> None:
    """To the last bit but for the loss; rows stay whole though each is of all classes."""
    said, _, label = made(4, 900)
    kind = Classes(3, {"w": calibration})
    parts = [Tally.of_table("w", table(said[rows], label[rows]), (1.0,), kind) for rows in np.array_split(np.arange(900), 7)]
    whole, merged = Tally.of_table("w", table(said, label), (1.0,), kind), reduce(Tally.merge, parts[::-1])

    assert (merged.scored.matrix == whole.scored.matrix).all()
    for mine, other in zip(merged.scored.scores, whole.scored.scores, strict=True):
        assert mine.to_bytes() == other.to_bytes()
    estimated = class_records(merged.scored, None, "estimated", calibration=calibration)
    assert {item.rows for item in estimated} == {900}
    back = kind.read(merged.scored.to_bytes(), merged.labelled.to_bytes())
    assert figures(class_records(back[1], None, "realised")) == figures(class_records(merged.labelled, None, "realised"))


def test_the_realised_figure_lies_in_the_estimated_interval() -> None:
    """Three standard errors of both samples: of sixty pairs of windows hardly one falls outside, and the intervals are not idle."""
    outside = dict.fromkeys(("accuracy", "macro_f1", "macro_auc", "log_loss"), 0)
    widths = []
    for seed in range(60):
        said, _, label = made(1000 + seed, 6000)
        fitted = ClassCalibration.fit(ClassErrors.of(said, label), NAMES, "")
        now, _, truth = made(5000 + seed, 600)
        realised = figures(class_records(ClassErrors.of(now, truth), None, "realised"))
        for item in class_records(Classes(3, {"w": fitted}).scored("w", table(now)), None, "estimated", calibration=fitted):
            assert item.lower is not None
            assert item.upper is not None
            outside[item.metric] += not item.lower <= (realised[item.metric] or 0.0) <= item.upper
            widths.append(item.upper - item.lower)

    assert max(outside.values()) <= 2, outside
    assert max(widths) < 0.45


def test_the_interval_of_macro_f1_is_the_bootstrap_s() -> None:
    """The delta method against resampled rows."""
    said, _, label = made(7, 800)
    (found,) = [item for item in class_records(ClassErrors.of(said, label), None, "realised") if item.metric == "macro_f1"]
    random, drawn = np.random.default_rng(0), []
    for _ in range(400):
        rows = random.integers(0, 800, 800)
        drawn.append(f1_score(label[rows], said[rows].argmax(axis=1), average="macro"))

    assert found.upper is not None
    assert found.value is not None
    assert (found.upper - found.value) / 1.96 == pytest.approx(np.std(drawn), rel=0.1)


def test_worth_comes_from_a_matrix_of_classes() -> None:
    """Mean over rows, realised; what is not named is worth nothing."""
    said, _, label = made(8, 500)
    settings = MonitoringSection(value={"classes": {"a": {"a": 2.0, "b": -5.0}, "c": {"a": -1.0}}})
    figuring = ClassFiguring(settings, {"w": None}, NAMES)
    found = figuring.figures("w", None, Tally.of_table("w", table(said, label), (1.0,), figuring.kind))

    worth = np.array([[2.0, -5.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])[label, said.argmax(axis=1)]
    (realised,) = [item for item in found if (item.metric, item.kind) == ("value", "realised")]
    assert realised.value == pytest.approx(worth.mean(), abs=1e-12)
    assert realised.upper is not None
    assert realised.upper - worth.mean() == pytest.approx(1.96 * worth.std() / np.sqrt(500), rel=1e-4)
    assert [item.value for item in found if item.kind == "estimated"] == [None] * 5  # no calibration
    assert [item.rows for item in found if item.kind == "estimated"] == [500] * 5


def test_a_calibration_is_stored_without_pickle(calibration: ClassCalibration) -> None:
    """It comes back as it was."""
    again = ClassCalibration.from_json(calibration.to_json())

    assert again == calibration
    assert sorted(json.loads(calibration.to_json())) == ["classes", "maps"]
