"""Logistic regression by Newton's method against scikit-learn, without a JVM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from sparkml_ops.model.encoder import Encoded
from sparkml_ops.model.target import Target
from sparkml_ops.training.newton import Slopes, minimise

SIZES, RIDGE = (4, 3), 1e-5
WIDTH = 3 + sum(SIZES) + 1
Vector = npt.NDArray[np.float64]
Known = tuple[Encoded, Vector, Vector]


@pytest.fixture(scope="module")
def rows() -> Known:
    """Rows, labels and weights (1 on the mean): numbers, one constant and one correlated with the label; a category that is never positive, and
    one position that no row has."""
    draw = np.random.default_rng(5)
    x = draw.normal(size=3000)
    categories = np.column_stack([draw.choice(3, 3000, p=[0.55, 0.44, 0.01]), draw.choice(3, 3000)]).astype(np.int32)
    odds = 1.7 * x - 1.2 + 0.8 * (categories[:, 1] == 1)
    labels = ((draw.random(3000) < 1 / (1 + np.exp(-odds))) & (categories[:, 0] != 2)).astype(np.float64)
    weights = draw.gamma(2.0, size=3000)
    return Encoded(np.column_stack([x, np.full(3000, 0.3), 40 * draw.normal(size=3000) + x]), categories), labels, weights / weights.mean()


def design(rows: Encoded) -> Vector:
    hot = [np.eye(size)[rows.categories[:, index]] for index, size in enumerate(SIZES)]
    return np.hstack([rows.numeric, *hot, np.ones((len(rows.numeric), 1))])


def part(rows: Encoded, labels: Vector, weights: Vector, where: slice) -> Known:
    return Encoded(rows.numeric[where], rows.categories[where]), labels[where], weights[where]


def test_slopes_are_those_of_the_spread_out_rows(rows: Known) -> None:
    """Loss, gradient and second derivatives by their formulas on one column for each position."""
    encoded, labels, weights = rows
    point = np.random.default_rng(1).normal(size=WIDTH) / 10
    found, columns = Slopes.of(encoded, labels, weights, point, SIZES), design(encoded)
    probability = 1 / (1 + np.exp(-columns @ point))

    assert found.rows == pytest.approx(3000)
    assert found.loss == pytest.approx(-(weights * (labels * np.log(probability) + (1 - labels) * np.log(1 - probability))).sum(), rel=1e-12)
    np.testing.assert_allclose(found.gradient, columns.T @ (weights * (probability - labels)), atol=1e-8)
    np.testing.assert_allclose(found.hessian, columns.T @ (columns * (weights * probability * (1 - probability))[:, None]), atol=1e-8)


def test_slopes_of_parts_add_up_and_travel(rows: Known) -> None:
    """A sum of parts is the whole, before and after its way between processes; a part may be empty."""
    point = np.full(WIDTH, 0.1)
    cuts = (slice(0, 1000), slice(1000, 1000), slice(1000, 3000))
    parts = [Slopes.of(*part(*rows, cut), point, SIZES) for cut in cuts]
    whole = sum((Slopes.from_bytes(found.to_bytes(), WIDTH) for found in parts), Slopes.empty(WIDTH))
    expected = Slopes.of(*rows, point, SIZES)

    assert whole.rows == pytest.approx(expected.rows)
    assert whole.loss == pytest.approx(expected.loss, rel=1e-12)
    np.testing.assert_allclose(whole.gradient, expected.gradient, atol=1e-9)
    np.testing.assert_allclose(whole.hessian, expected.hessian, atol=1e-9)


@pytest.fixture
def counted(rows: Known) -> tuple[Callable[[Vector], Slopes], list[Vector]]:
    """The measure, and the points at which it was asked."""
    asked: list[Vector] = []

    def measure(point: Vector) -> Slopes:
        asked.append(point)
        return Slopes.of(*rows, point, SIZES)

    return measure, asked


def test_the_least_loss_is_that_of_scikit_learn(rows: Known, counted: tuple[Callable[[Vector], Slopes], list[Vector]]) -> None:
    """Same penalty on scaled columns, same probabilities, in a dozen passes at most; what does not vary has no weight."""
    measure, asked = counted
    weights = minimise(measure, WIDTH, RIDGE)
    columns, counts = design(rows[0]), rows[2][:, None]
    deviation = np.sqrt(np.maximum((counts * columns**2).sum(0) - (counts * columns).sum(0) ** 2 / 3000, 0) / 2999)
    scaled = columns[:, :-1] / np.where(deviation > 1e-9, deviation, 1.0)[:-1]
    oracle = LogisticRegression(C=1 / (RIDGE * 3000), solver="newton-cholesky", max_iter=200, tol=1e-12).fit(scaled, rows[1], rows[2])

    np.testing.assert_allclose(1 / (1 + np.exp(-columns @ weights)), oracle.predict_proba(scaled)[:, 1], atol=1e-6)
    assert len(asked) <= 12
    assert weights[1] == 0
    assert weights[6] == 0


def test_least_squares_are_those_of_numpy(rows: Known) -> None:
    """One pass to the solution and none to look at it: a parabola's least value is where the first step ends."""
    encoded, _, weights = rows
    labels, asked = encoded.numeric @ np.array([1.0, 0.0, -0.02]) + (encoded.categories[:, 0] == 1) + np.random.default_rng(4).normal(size=3000), []

    def measure(point: Vector) -> Slopes:
        asked.append(point)
        return Slopes.of(encoded, labels, weights, point, SIZES, Target("regression"))

    found = minimise(measure, WIDTH, 1e-9, 1.0)
    root = np.sqrt(weights)[:, None]
    expected, *_ = np.linalg.lstsq(design(encoded) * root, labels * root[:, 0], rcond=None)

    np.testing.assert_allclose(design(encoded) @ found, design(encoded) @ expected, atol=1e-5)
    assert len(asked) <= 2


def test_counts_are_those_of_scikit_learn(rows: Known) -> None:
    """A Poisson regression on the same scaled columns gives the same rates."""
    encoded, _, weights = rows
    labels = np.random.default_rng(4).poisson(np.exp(0.6 * encoded.numeric[:, 0] + 0.4 * (encoded.categories[:, 1] == 1))).astype(np.float64)
    target = Target("count", mean=float(labels.mean()))
    found = minimise(lambda point: Slopes.of(encoded, labels, weights, point, SIZES, target), WIDTH, 1e-7, target.mean)
    columns = design(encoded)
    scaled = columns[:, :-1] / np.where(columns[:, :-1].std(axis=0) > 1e-9, columns[:, :-1].std(axis=0), 1.0)
    oracle = PoissonRegressor(alpha=1e-7, solver="newton-cholesky", max_iter=200, tol=1e-10).fit(scaled, labels, weights)

    np.testing.assert_allclose(target.mean * np.exp(columns @ found), oracle.predict(scaled), rtol=1e-4)


def test_a_step_too_far_is_shortened(counted: tuple[Callable[[Vector], Slopes], list[Vector]]) -> None:
    """Where the parabola leads astray the way is halved until it goes down: the end is the same."""
    measure, asked = counted
    straight = minimise(measure, WIDTH, RIDGE)
    passes = len(asked)

    def flat(point: Vector) -> Slopes:
        """Second derivatives a sixth of what they are, so that every step is six times too long."""
        found = measure(point)
        return Slopes(found.rows, found.loss, found.gradient, found.hessian / (6 if point.any() else 1))

    np.testing.assert_allclose(minimise(flat, WIDTH, RIDGE), straight, atol=1e-2)
    assert len(asked) > 2 * passes
