"""How far predicted numbers lie from the true ones: sums that merge, and the figures of scikit-learn from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

__all__ = ["NumberErrors", "QuantileErrors"]

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NumberErrors:
    """Predictions of a number, in its unit, against the truth; parts merge.

    Args:
        rows: Their number.
        mean: Of the true values.
        squares: Sum of their squared deviations from it.
        squared: Sum of the squared errors.
        absolute: Sum of the absolute errors.
        deviance: Sum of the Poisson deviances; NaN where a prediction or a true value can be no rate.

    >>> found = NumberErrors.of(np.array([2.0, 4.0]), np.array([1.0, 5.0]))
    >>> found.figures()["rmse"], found.figures()["mae"], found.figures()["r2"]
    (1.0, 1.0, 0.75)
    """

    rows: int = 0
    mean: float = 0.0
    squares: float = 0.0
    squared: float = 0.0
    absolute: float = 0.0
    deviance: float = 0.0

    @classmethod
    def of(cls, predicted: Vector, true: Vector) -> NumberErrors:
        """Measure rows.

        Args:
            predicted: [rows].
            true: [rows].
        """
        if not len(true):
            return cls()
        mean, error = float(true.mean()), predicted - true
        rates = bool((predicted > 0).all() and (true >= 0).all())
        deviance = float(2 * (xlogy(true, true / predicted) - true + predicted).sum()) if rates else math.nan
        return cls(len(true), mean, float(((true - mean) ** 2).sum()), float((error**2).sum()), float(np.abs(error).sum()), deviance)

    def merge(self, other: NumberErrors) -> NumberErrors:
        """Both parts of the rows together (means and squares after Chan et al. 1983)."""
        rows = self.rows + other.rows
        if not rows:
            return self
        shift = other.mean - self.mean
        squares = self.squares + other.squares + shift**2 * self.rows * other.rows / rows
        mean = self.mean + shift * other.rows / rows
        return NumberErrors(rows, mean, squares, self.squared + other.squared, self.absolute + other.absolute, self.deviance + other.deviance)

    def figures(self) -> dict[str, float]:
        """`rmse` and `mae` in the label's unit, `r2` (NaN for a constant truth) and `poisson_deviance` (mean; NaN where there is none)."""
        return {
            "rmse": math.sqrt(self.squared / self.rows),
            "mae": self.absolute / self.rows,
            "r2": 1 - self.squared / self.squares if self.squares else math.nan,
            "poisson_deviance": self.deviance / self.rows,
        }

    def to_bytes(self) -> bytes:
        """For the way between processes."""
        return np.array([self.rows, self.mean, self.squares, self.squared, self.absolute, self.deviance], np.float64).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> NumberErrors:
        """Read what `to_bytes` wrote."""
        rows, *sums = np.frombuffer(data).tolist()
        return cls(int(rows), *sums)


@dataclass(frozen=True)
class QuantileErrors:
    """Predictions of quantiles of a number against the truth; parts merge.

    Args:
        levels: Of the quantiles.
        rows: Number of rows.
        pinball: [levels] sums of the pinball loss (Koenker & Bassett 1978), in the label's unit.
        covered: [levels] rows whose true value is not above the prediction.
    """

    levels: tuple[float, ...]
    rows: int
    pinball: Vector
    covered: npt.NDArray[np.int64]

    @classmethod
    def of(cls, predicted: Vector, true: Vector, levels: tuple[float, ...]) -> QuantileErrors:
        """Measure rows.

        Args:
            predicted: [rows, levels].
            true: [rows].
            levels: Of the columns.

        >>> QuantileErrors.of(np.array([[1.0, 2.0]]), np.array([3.0]), (0.25, 0.5)).figures(("q25", "q50"))
        {'pinball': 0.5, 'pinball_q25': 0.5, 'coverage_q25': 0.0, 'pinball_q50': 0.5, 'coverage_q50': 0.0}
        """
        distance = true[:, None] - predicted
        lost = np.maximum(np.array(levels) * distance, (np.array(levels) - 1) * distance)
        return cls(levels, len(true), lost.sum(axis=0), (distance <= 0).sum(axis=0))

    def merge(self, other: QuantileErrors) -> QuantileErrors:
        """Both parts of the rows together."""
        return QuantileErrors(self.levels, self.rows + other.rows, self.pinball + other.pinball, self.covered + other.covered)

    def figures(self, names: tuple[str, ...]) -> dict[str, float]:
        """`pinball`, the mean over rows and levels, and for each level its `pinball_` and its `coverage_`: the share of rows not above it.

        Args:
            names: Of the levels.
        """
        each: dict[str, float] = {}
        for name, lost, covered in zip(names, self.pinball.tolist(), self.covered.tolist(), strict=True):
            each |= {f"pinball_{name}": lost / self.rows, f"coverage_{name}": covered / self.rows}
        return {"pinball": float(self.pinball.mean()) / self.rows, **each}

    def to_bytes(self) -> bytes:
        """For the way between processes."""
        return np.concatenate([[self.rows], self.levels, self.pinball, self.covered]).astype(np.float64).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> QuantileErrors:
        """Read what `to_bytes` wrote."""
        rows, *rest = np.frombuffer(data).tolist()
        levels, pinball, covered = np.array(rest).reshape(3, -1)
        return cls(tuple(levels.tolist()), int(rows), pinball, covered.astype(np.int64))
