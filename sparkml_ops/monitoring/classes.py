"""Models of several classes: what their scores mean, how they are counted, and figures with intervals, with and without the truth.

The estimates are CBPE: a row whose calibrated probabilities are c counts as c_k rows of class k. Source: J. Białek et al., "Estimating model
performance under covariate shift without labels" (2024), arXiv:2401.08348; each class is calibrated against all others, and the results are
scaled so that they sum to 1, as NannyML does it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import ndtri

from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.calibration import Calibration
from sparkml_ops.monitoring.figures import STANDARD_ERRORS, Figure, auc_figure, interval
from sparkml_ops.monitoring.kind import floats
from sparkml_ops.monitoring.money import Money
from sparkml_ops.performance.classes import PARTS, ClassErrors
from sparkml_ops.records import ModelVersion, Performance
from sparkml_ops.storage import Storage

__all__ = ["FIGURES", "ClassCalibration", "Classes", "class_calibration_name", "class_calibration_of", "class_records"]

FIGURES = ("accuracy", "macro_f1", "macro_auc", "log_loss")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassCalibration:
    """A rising map from scores to probabilities for each class against all others.

    Args:
        classes: In the order of the scores.
        maps: One for each.
    """

    classes: tuple[str, ...]
    maps: tuple[Calibration, ...]

    @classmethod
    def fit(cls, labelled: ClassErrors, classes: Sequence[str], digest: str) -> ClassCalibration:
        """Isotonic regression for each class, from labelled evaluation rows; at least one.

        NannyML lets a class keep its scores where a split of its rows by chance finds them calibrated; here each class gets its map.
        """
        return cls(tuple(classes), tuple(Calibration.fit(counts, digest) for counts in labelled.scores))

    @property
    def rows(self) -> int:
        """Evaluation rows that it was fitted on."""
        return self.maps[0].rows

    def probability(self, scores: Floats) -> Floats:
        """[rows, classes] calibrated probabilities; a row to which no class would be given keeps its scores."""
        chance = np.column_stack([found.probability(scores[:, place]) for place, found in enumerate(self.maps)])
        total = chance.sum(axis=1, keepdims=True)
        return np.where(total > 0, chance / np.where(total > 0, total, 1.0), scores / scores.sum(axis=1, keepdims=True))

    def to_json(self) -> bytes:
        """The stored form."""
        return json.dumps({"classes": self.classes, "maps": [json.loads(found.to_json()) for found in self.maps]}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> ClassCalibration:
        """Read what `to_json` wrote."""
        document = json.loads(data)
        return cls(tuple(document["classes"]), tuple(Calibration.from_json(json.dumps(found).encode()) for found in document["maps"]))


def class_calibration_name(model: ModelVersion) -> str:
    """The object that holds the calibration of a version of several classes."""
    return f"monitoring/{model.name}/{model.version}/class_calibration.json"


def class_calibration_of(storage: Storage, model: ModelVersion, classes: Sequence[str], counts: Callable[[], ClassErrors]) -> ClassCalibration | None:
    """A version's calibration, fitted once and kept; None where there is no row to fit it on.

    Args:
        storage: Keeps it.
        model: The version; another model under the same number is fitted anew.
        classes: In the order of its scores.
        counts: Its labelled evaluation rows, asked for only where they are needed.
    """
    name = class_calibration_name(model)
    if storage.exists(name):
        kept = ClassCalibration.from_json(storage.read(name))
        if kept.maps[0].digest == model.digest and kept.classes == tuple(classes):
            return kept
    labelled = counts()
    if not labelled.rows:
        return None
    fitted = ClassCalibration.fit(labelled, classes, model.digest)
    storage.publish(name, fitted.to_json(), kind="calibration")
    return fitted


@dataclass(frozen=True)
class Classes:
    """How predictions of several classes are counted.

    Args:
        count: Number of classes.
        maps: Calibration of the version that scored each window; None where there is none.
    """

    count: int
    maps: Mapping[str, ClassCalibration | None]

    def scored(self, window: str, scored: pa.Table) -> ClassErrors:
        """What calibrated scores let expect of all rows; without a calibration as if the scores were right, to count them."""
        predicted, found = self._matrix(scored), self.maps.get(window)
        chance = predicted / predicted.sum(axis=1, keepdims=True) if found is None else found.probability(predicted)
        return ClassErrors.expected(predicted, chance)

    def labelled(self, known: pa.Table) -> ClassErrors:
        """By true class and likeliest class, and by score of each."""
        return ClassErrors.of(self._matrix(known), floats(known.column("label")).astype(np.int64))

    def money(self, known: pa.Table) -> Money:
        """Rewards alone: what a decision is worth follows from the classes."""
        rewards = floats(known.column("reward"))
        nothing = np.zeros(len(rewards))
        return Money.of(nothing, nothing.astype(bool), nothing, rewards)

    def empty(self) -> tuple[ClassErrors, ClassErrors]:
        """No rows."""
        return ClassErrors.empty(self.count), ClassErrors.empty(self.count)

    def read(self, scored: bytes, labelled: bytes) -> tuple[ClassErrors, ClassErrors]:
        """Both."""
        return ClassErrors.from_bytes(scored), ClassErrors.from_bytes(labelled)

    def _matrix(self, table: pa.Table) -> Floats:
        """[rows, classes] scores.

        Raises:
            ContractError: A row has another number of them.
        """
        values = table.column("score").combine_chunks()
        flat = floats(pa.chunked_array([values.flatten()]))
        if len(flat) != table.num_rows * self.count:
            raise ContractError(
                f"{len(flat)} scores of {table.num_rows} rows", expected=f"{self.count} a row", mend="score the window with the model of this project"
            )
        return flat.reshape(table.num_rows, self.count)


def class_records(
    errors: ClassErrors,
    segment: str | None,
    kind: Literal["realised", "estimated"],
    *,
    calibration: ClassCalibration | None = None,
    confidence: float = 0.95,
    worth: Floats | None = None,
) -> list[Performance]:
    """Accuracy, macro F1, macro AUC (each class against the others) and log loss, with normal intervals.

    Those of a mean come from the variance of its rows, the one of macro F1 by the delta method over the cells of the matrix, the one of macro
    AUC is the mean of the classes', as if they erred together. Estimates have three standard errors of the window's rows and of those that the
    calibration was fitted on.

    Args:
        errors: Counts of rows, or of the parts that `ClassErrors.expected` makes.
        segment: `name=value`, or None.
        kind: Which.
        calibration: Of estimates; None: nothing can be said.
        confidence: Level of realised intervals.
        worth: [true, predicted] what a row is worth; None: not measured.
    """
    scale = PARTS if kind == "estimated" else 1
    cells = errors.matrix.astype(np.float64) / scale
    rows = float(cells.sum())
    found: dict[str, Figure] = {}
    if rows and (kind == "realised" or calibration is not None):
        deviations = float(ndtri((1 + confidence) / 2))
        if calibration is not None:
            # As for binary models: the window's sampling, and that of the calibration.
            deviations = STANDARD_ERRORS * math.sqrt(1 + rows / calibration.rows)
        found = _figures(errors, cells, scale, deviations)
        if worth is not None:
            found["value"] = _over_cells(cells, worth, deviations, -math.inf, math.inf)
    names = (*FIGURES, *(["value"] if worth is not None else []))
    made = {name: found.get(name, Figure()) for name in names}
    return [Performance(segment, name, kind, item.value, item.lower, item.upper, round(rows)) for name, item in made.items()]


def _figures(errors: ClassErrors, cells: Floats, scale: int, deviations: float) -> dict[str, Figure]:
    sides = cells.sum(axis=0) + cells.sum(axis=1)
    there = sides > 0
    # How far a row of each cell moves the mean F1: 2 / sides for a right one, less F1 / sides of its true and of its predicted class.
    share = np.divide(2 * np.diag(cells), sides, out=np.zeros(len(cells)), where=there)
    pull = np.divide(share, sides, out=np.zeros(len(cells)), where=there)
    moves = -(pull[:, None] + pull[None, :]) + np.diag(np.divide(2.0, sides, out=np.zeros(len(cells)), where=there))
    slope = moves * cells.sum() / there.sum()
    f1 = float(share[there].mean())
    spread = _over_cells(cells, slope, deviations, -math.inf, math.inf)
    half = 0.0 if spread.value is None or spread.upper is None else spread.upper - spread.value
    areas = [auc_figure(counts.negatives / scale, counts.positives / scale, deviations) for counts in errors.scores]
    return {
        "accuracy": _over_cells(cells, np.eye(len(cells)), deviations, 0.0, 1.0),
        "macro_f1": Figure(f1, max(f1 - half, 0.0), min(f1 + half, 1.0)) if half else Figure(f1),
        "macro_auc": _mean_area(areas),
        "log_loss": _loss(errors, scale, deviations),
    }


def _over_cells(cells: Floats, values: Floats, deviations: float, lowest: float, highest: float) -> Figure:
    """The mean of what each cell says, over rows."""
    rows = float(cells.sum())
    mean = float((cells * values).sum()) / rows
    variance = float((cells * (values - mean) ** 2).sum()) / rows / rows
    return interval(mean, variance, deviations, highest, lowest)


def _mean_area(areas: Sequence[Figure]) -> Figure:
    values = [area.value for area in areas if area.value is not None]
    if len(values) < len(areas):
        return Figure()
    mean = float(np.mean(values))
    halves = [(area.upper - area.lower) / 2 for area in areas if area.upper is not None and area.lower is not None]
    half = float(np.mean(halves)) if len(halves) == len(areas) else 0.0
    return Figure(mean, max(mean - half, 0.0), min(mean + half, 1.0)) if half else Figure(mean)


def _loss(errors: ClassErrors, scale: int, deviations: float) -> Figure:
    """The mean log loss: a row of class k loses the logarithm of its score for k, so that counts by score hold the squares too."""
    tiny = np.finfo(np.float64).eps
    rows, squares = float(errors.matrix.sum()) / scale, 0.0
    for counts in errors.scores:
        losses = -np.log(np.clip(counts.centers, tiny, 1 - tiny))
        squares += float((counts.positives / scale * losses**2).sum())
    mean = errors.loss / scale / rows
    return interval(mean, max(squares / rows - mean**2, 0.0) / rows, deviations, math.inf)
