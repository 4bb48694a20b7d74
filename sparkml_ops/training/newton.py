"""Logistic, Poisson and least-squares regression by Newton's method: few passes over the rows, each of which sums a gradient and a matrix of second derivatives.

A row has numbers and one position for each category, so the matrix is made of counts by pairs of positions: no row is ever
spread out to one column for each category.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from sparkml_ops.model.encoder import Encoded
from sparkml_ops.model.target import Target

__all__ = ["Slopes", "minimise"]

Vector = npt.NDArray[np.float64]
# Before the last step the mean loss lies no further than this above the least one, in nats a row; the last step squares the distance.
_NEAR = 1e-9
_STEPS, _HALVINGS = 50, 30
_BINARY = Target()


@dataclass(frozen=True)
class Slopes:
    """Loss of some rows at one point, with its first and second derivatives; those of parts of the rows add up.

    Args:
        rows: Their weights summed.
        loss: Summed.
        gradient: [width], summed.
        hessian: [width, width], summed.
    """

    rows: float
    loss: float
    gradient: Vector
    hessian: Vector

    @classmethod
    def empty(cls, width: int) -> Slopes:
        """No rows."""
        return cls(0.0, 0.0, np.zeros(width), np.zeros((width, width)))

    @classmethod
    def of(cls, rows: Encoded, labels: Vector, weights: Vector, point: Vector, sizes: Sequence[int], target: Target = _BINARY) -> Slopes:
        """Of some encoded rows.

        Args:
            rows: Numbers, and a position in each category.
            labels: [rows] as the target encodes them.
            weights: [rows] how much each counts.
            point: [width] a weight for each number, then for each position of each category, then the intercept.
            sizes: Number of positions of each category.
            target: Its task says which loss: `binary` log loss, `count` the Poisson distribution's but for a term without weights, both in nats;
                others half the squared error.
        """
        numbers = np.column_stack([rows.numeric, np.ones(len(labels))])
        places, here = _places(numbers.shape[1] - 1, sizes), _numbers(numbers.shape[1] - 1, len(point))
        margin = numbers @ point[here]
        for index, place in enumerate(places):
            margin += point[place][rows.categories[:, index]]
        losses, error, bend = _losses(target, margin, labels)
        error, weight = weights * error, weights * bend
        gradient, hessian = np.zeros(len(point)), np.zeros((len(point), len(point)))
        gradient[here] = error @ numbers
        weighted = numbers * weight[:, None]
        hessian[np.ix_(here, here)] = numbers.T @ weighted
        for index, place in enumerate(places):
            positions = rows.categories[:, index]
            size = place.stop - place.start
            gradient[place] = np.bincount(positions, error, size)
            crossed = np.stack([np.bincount(positions, column, size) for column in weighted.T])
            hessian[here, place], hessian[place, here] = crossed, crossed.T
            for other, elsewhere in enumerate(places[: index + 1]):
                count = elsewhere.stop - elsewhere.start
                pairs = np.bincount(rows.categories[:, other].astype(np.int64) * size + positions, weight, count * size).reshape(count, size)
                hessian[elsewhere, place], hessian[place, elsewhere] = pairs, pairs.T
        return cls(float(weights.sum()), float((weights * losses).sum()), gradient, hessian)

    def __add__(self, other: Slopes) -> Slopes:
        return Slopes(self.rows + other.rows, self.loss + other.loss, self.gradient + other.gradient, self.hessian + other.hessian)

    def to_bytes(self) -> bytes:
        """For the way between processes: half of the matrix is the other half mirrored."""
        return np.concatenate([[self.rows, self.loss], self.gradient, self.hessian[np.triu_indices(len(self.gradient))]]).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, width: int) -> Slopes:
        """Read what `to_bytes` wrote."""
        rows, loss, *_ = values = np.frombuffer(data)
        upper = np.zeros((width, width))
        upper[np.triu_indices(width)] = values[2 + width :]
        return cls(float(rows), float(loss), values[2 : 2 + width].copy(), upper + np.triu(upper, 1).T)


def _losses(target: Target, margin: Vector, labels: Vector) -> tuple[Vector, Vector, Vector]:
    """[rows] losses with their first and second derivatives by the margin."""
    if target.task == "binary":
        probability = 1 / (1 + np.exp(-np.clip(margin, -700, 700)))
        return np.logaddexp(0, margin) - labels * margin, probability - labels, probability * (1 - probability)
    if target.task == "count":
        rate = target.mean * np.exp(np.clip(margin, -300, 300))  # a step too far is seen by its loss
        return rate - labels * margin, rate - labels, rate
    return (margin - labels) ** 2 / 2, margin - labels, np.ones(len(labels))


def minimise(measure: Callable[[Vector], Slopes], width: int, ridge: float, curvature: float = 0.25) -> Vector:
    """The weights of the least mean loss with a penalty, as Spark's own regression has it: ridge / 2 times the squares of scaled weights.

    A weight is scaled by the sample deviation of its column, so a rare category is held as loosely as a frequent one; the weight of a
    column that does not vary is 0, and the intercept is free.

    Args:
        measure: Sums over all rows at a point: a pass.
        width: Number of weights, the intercept last.
        ridge: Above 0.
        curvature: Second derivative of a row's loss at 0, where every row has the same.
    """
    point = np.zeros(width)
    at = measure(point)
    problem = _Problem(_deviations(at, curvature), ridge)
    for _ in range(_STEPS):
        step, gain = problem.step(at, point)
        if gain <= _NEAR:
            return np.asarray(point + step)
        for size in (0.5**halving for halving in range(_HALVINGS)):
            there = point + size * step
            found = measure(there)
            if problem.value(found, there) <= problem.value(at, point) - 1e-4 * size * gain:
                break
        else:
            return point  # as near as numbers of this length come
        point, at = there, found
    return point


@dataclass(frozen=True)
class _Problem:
    """What is minimised, from sums at a point.

    Args:
        scales: [width] the deviation of each column; 0: its weight stays 0. That of the intercept is 1.
        ridge: Of the penalty.
    """

    scales: Vector
    ridge: float

    def value(self, at: Slopes, point: Vector) -> float:
        """Mean loss with the penalty; infinite where the loss is no number."""
        value = at.loss / at.rows + self.ridge / 2 * float(((self.scales * point)[:-1] ** 2).sum())
        return value if np.isfinite(value) else np.inf

    def step(self, at: Slopes, point: Vector) -> tuple[Vector, float]:
        """To the least value of the parabola that touches here, and how far down that is."""
        free = self.scales > 0
        scales, penalty = self.scales[free], np.full(free.sum(), self.ridge)
        penalty[-1] = 0.0
        slope = at.gradient[free] / scales / at.rows + penalty * scales * point[free]
        bend = at.hessian[np.ix_(free, free)] / np.outer(scales, scales) / at.rows + np.diag(penalty)
        way = -np.linalg.solve(bend, slope)
        step = np.zeros(len(point))
        step[free] = way / scales
        return step, float(-slope @ way / 2)


def _deviations(origin: Slopes, curvature: float) -> Vector:
    """Sample deviation of each column from the sums at 0, where every row weighs the same; 0 for a column that does not vary."""
    squares, sums = np.diag(origin.hessian) / curvature, origin.hessian[-1] / curvature
    spread = squares - sums**2 / origin.rows
    deviations = np.sqrt(np.where(spread > 1e-12 * squares, spread, 0) / max(origin.rows - 1, 1))
    deviations[-1] = 1.0
    return np.asarray(deviations)


def _places(first: int, sizes: Sequence[int]) -> list[slice]:
    """Where the weights of each category stand, behind those of the numbers."""
    ends = [first, *(first + end for end in accumulate(sizes))]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _numbers(count: int, width: int) -> npt.NDArray[np.int64]:
    """Where the weights of the numbers and the intercept stand."""
    return np.array([*range(count), width - 1])
