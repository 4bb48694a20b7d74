"""Amounts and rewards of the rows of one window and segment: sums that merge to the last bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import fsum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Money", "Sums"]

Floats: TypeAlias = "npt.NDArray[np.float64]"
# Whole steps of amounts and of their squares: sums of whole numbers do not depend on the order of the parts.
_STEP, _SQUARE = 2.0**20, 2.0**10


@dataclass(frozen=True)
class Sums:
    """Rows and the sums over them.

    Args:
        rows: Rows.
        steps: Sum of the amounts in steps of 2^-20.
        squares: Sum of their squares in steps of 2^-10.

    >>> Sums.of(np.array([1.5, -2.0])).merge(Sums.of(np.array([4.0]))).total
    3.5
    """

    rows: int = 0
    steps: int = 0
    squares: int = 0

    @classmethod
    def of(cls, amounts: Floats) -> Sums:
        """Of finite amounts."""
        return cls(len(amounts), round(fsum(amounts) * _STEP), round(fsum(amounts * amounts) * _SQUARE))

    def merge(self, other: Sums) -> Sums:
        """Both parts of the rows together."""
        return Sums(self.rows + other.rows, self.steps + other.steps, self.squares + other.squares)

    @property
    def total(self) -> float:
        """Sum of the amounts."""
        return self.steps / _STEP

    @property
    def total_squares(self) -> float:
        """Sum of their squares."""
        return self.squares / _SQUARE


@dataclass(frozen=True)
class Money:
    """What rows with a known label are about, and what they brought.

    Args:
        amounts: By label and decision, in the order 00, 01, 10, 11.
        rewards: Of the rows that have one.
    """

    amounts: tuple[Sums, ...] = (Sums(), Sums(), Sums(), Sums())
    rewards: Sums = Sums()

    @classmethod
    def of(cls, labels: Floats, decided: npt.NDArray[np.bool_], amounts: Floats, rewards: Floats) -> Money:
        """Of labelled rows.

        Args:
            labels: [rows] 0 or 1.
            decided: [rows] whether a row is decided for 1.
            amounts: [rows]; NaN and infinite ones count as 0.
            rewards: [rows] NaN where there is none; infinite ones count as none.
        """
        finite, cell = np.where(np.isfinite(amounts), amounts, 0.0), 2 * labels.astype(np.int64) + decided
        return cls(tuple(Sums.of(finite[cell == place]) for place in range(4)), Sums.of(rewards[np.isfinite(rewards)]))

    def merge(self, other: Money) -> Money:
        """Both parts of the rows together, in any order the same."""
        amounts = tuple(mine.merge(theirs) for mine, theirs in zip(self.amounts, other.amounts, strict=True))
        return Money(amounts, self.rewards.merge(other.rewards))

    def worth(self, outcomes: tuple[tuple[float, float], tuple[float, float]]) -> tuple[int, float, float]:
        """Rows, and the sums of their worth and of its squares: a row is worth its outcome times its amount."""
        flat = [*outcomes[0], *outcomes[1]]
        total = fsum(worth * sums.total for worth, sums in zip(flat, self.amounts, strict=True))
        squares = fsum(worth * worth * sums.total_squares for worth, sums in zip(flat, self.amounts, strict=True))
        return sum(sums.rows for sums in self.amounts), total, squares

    def to_text(self) -> str:
        """For the way between processes."""
        return json.dumps([[item.rows, item.steps, item.squares] for item in (*self.amounts, self.rewards)])

    @classmethod
    def from_text(cls, text: str) -> Money:
        """Read what `to_text` wrote."""
        *amounts, rewards = (Sums(*item) for item in json.loads(text))
        return cls(tuple(amounts), rewards)
