"""Models of a number: how predictions are counted against the truth, and figures with intervals, with and without it.

The estimates are direct: a second model has learnt from evaluation rows how large the error of a row is (`losses`), and its predictions stand for
the errors that nobody knows yet.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import ndtri

from sparkml_ops.monitoring.figures import STANDARD_ERRORS, Figure, interval, mean_of
from sparkml_ops.monitoring.kind import floats
from sparkml_ops.monitoring.money import Money, Sums
from sparkml_ops.records import Performance

__all__ = ["ESTIMATED_ERRORS", "REALISED_ERRORS", "Errors", "Numbers", "Unit", "error_records", "expected_records"]

REALISED_ERRORS = ("mae", "rmse", "r2")
ESTIMATED_ERRORS = ("mae", "rmse")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """In which labels are counted: whole steps of sums suit numbers around one.

    Args:
        mean: Of the label in training.
        scale: Its deviation there.
    """

    mean: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Errors:
    """Errors of rows, known or expected, in units of the label's scale; parts merge to the last bit.

    Args:
        absolute: Their sizes.
        squared: Their squares.
        truth: True values, from the label's mean.
    """

    absolute: Sums = field(default_factory=Sums)
    squared: Sums = field(default_factory=Sums)
    truth: Sums = field(default_factory=Sums)

    @classmethod
    def of(cls, absolute: Floats, squared: Floats, truth: Floats) -> Errors:
        """Of [rows] finite numbers each."""
        return cls(Sums.of(absolute), Sums.of(squared), Sums.of(truth))

    def merge(self, other: Errors) -> Errors:
        """Both parts of the rows together."""
        return Errors(self.absolute.merge(other.absolute), self.squared.merge(other.squared), self.truth.merge(other.truth))

    def to_bytes(self) -> bytes:
        """For the way between processes."""
        return json.dumps([[part.rows, part.steps, part.squares] for part in (self.absolute, self.squared, self.truth)]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Errors:
        """Read what `to_bytes` wrote."""
        return cls(*(Sums(*part) for part in json.loads(data)))


@dataclass(frozen=True)
class Numbers:
    """How predictions of a number are counted.

    Args:
        unit: Of the label.
    """

    unit: Unit

    def scored(self, window: str, scored: pa.Table) -> Errors:  # noqa: ARG002 -- the expected errors came with the rows
        """The errors that are expected of all rows: an array of size and square each; without them zeros, to count the rows."""
        nothing = np.zeros(scored.num_rows)
        column = scored.column("expected").combine_chunks()
        if column.null_count:
            return Errors.of(nothing, nothing, nothing)
        size, square = floats(pa.chunked_array([column.flatten()])).reshape(-1, 2).T
        return Errors.of(size / self.unit.scale, square / self.unit.scale**2, nothing)

    def labelled(self, known: pa.Table) -> Errors:
        """Of rows whose truth is known."""
        error = (floats(known.column("score")) - floats(known.column("label"))) / self.unit.scale
        return Errors.of(np.abs(error), error**2, (floats(known.column("label")) - self.unit.mean) / self.unit.scale)

    def money(self, known: pa.Table) -> Money:
        """Rewards alone."""
        rewards = floats(known.column("reward"))
        nothing = np.zeros(len(rewards))
        return Money.of(nothing, nothing.astype(bool), nothing, rewards)

    def empty(self) -> tuple[Errors, Errors]:
        """No rows."""
        return Errors(), Errors()

    def read(self, scored: bytes, labelled: bytes) -> tuple[Errors, Errors]:
        """Both."""
        return Errors.from_bytes(scored), Errors.from_bytes(labelled)


def error_records(errors: Errors, unit: Unit, segment: str | None, confidence: float) -> list[Performance]:
    """Mean absolute error, root of the mean square and r2 of known rows; r2 has no interval.

    The interval of the root is that of the mean square, carried through the root.
    """
    found: dict[str, Figure] = {}
    if rows := errors.absolute.rows:
        deviations = float(ndtri((1 + confidence) / 2))
        found["mae"] = _scaled(mean_of(rows, errors.absolute.total, errors.absolute.total_squares, deviations), unit.scale)
        found["rmse"] = _root(mean_of(rows, errors.squared.total, errors.squared.total_squares, deviations), unit.scale)
        spread = errors.truth.total_squares - errors.truth.total**2 / rows
        found["r2"] = Figure(1 - errors.squared.total / spread) if spread > 0 else Figure()
    return [_record(segment, name, "realised", found.get(name, Figure()), errors.absolute.rows) for name in REALISED_ERRORS]


def expected_records(errors: Errors, unit: Unit, segment: str | None, *, learnt_from: int | None, kurtosis: float = 3.0) -> list[Performance]:
    """The same without the truth, from expected errors: means with three standard errors of the window's rows and of those learnt from.

    Args:
        errors: Expected sizes and squares of errors.
        unit: Of the label.
        segment: `name=value`, or None.
        learnt_from: Evaluation rows behind the expectation; None: there is none, and nothing is estimated.
        kurtosis: Mean fourth power of evaluation errors over the square of their mean square: how the squares scatter.
    """
    found: dict[str, Figure] = {}
    rows = errors.absolute.rows
    if rows and learnt_from:
        deviations = STANDARD_ERRORS * math.sqrt(1 + rows / learnt_from)
        size, square = errors.absolute.total / rows, errors.squared.total / rows
        found["mae"] = _scaled(interval(size, max(square - size**2, 0.0) / rows, deviations, math.inf), unit.scale)
        found["rmse"] = _root(interval(square, max(kurtosis - 1, 0.0) * square**2 / rows, deviations, math.inf), unit.scale)
    return [_record(segment, name, "estimated", found.get(name, Figure()), rows) for name in ESTIMATED_ERRORS]


def _scaled(figure: Figure, scale: float) -> Figure:
    return Figure(*(None if end is None else end * scale for end in (figure.value, figure.lower, figure.upper)))


def _root(figure: Figure, scale: float) -> Figure:
    return Figure(*(None if end is None else math.sqrt(max(end, 0.0)) * scale for end in (figure.value, figure.lower, figure.upper)))


def _record(segment: str | None, metric: str, kind: str, figure: Figure, rows: int) -> Performance:
    return Performance(segment, metric, "realised" if kind == "realised" else "estimated", figure.value, figure.lower, figure.upper, rows)
