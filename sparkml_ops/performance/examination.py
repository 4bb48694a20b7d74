"""What the rows of a frame are to a model, and how firmly it stands on them: one distributed pass, whose counts merge by sum or maximum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.arrow_pass import in_arrow
from feature_store.names import quote
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.performance.contest import Contestant, load_contestants
from sparkml_ops.storage import Storage

if TYPE_CHECKING:
    from sparkml_ops.model.encoder import Encoded
    from sparkml_ops.model.predictor import Predictor

__all__ = ["Examination", "Examined", "examine"]

_SCHEMA = "item string, name string, value double"
_ARROW = pa.schema({"item": pa.string(), "name": pa.string(), "value": pa.float64()})
# Rows of each task on which each number in turn is set to an extreme: as many predictions as there are numbers, twice.
_PUSHED = 64
_ROWS, _INFINITE, _UNSCORED, _MOVED, _BROKEN, _MISSING, _UNKNOWN = "rows", "infinite", "unscored", "moved", "broken", "missing", "unknown"


@dataclass(frozen=True)
class Examination:
    """Who is examined, and how hard.

    Args:
        storage: Where the artifact lies.
        contestant: The model; not one of two towers, whose items are no rows.
        spec: Its description.
        perturbation: How far each standardised number is moved, up or down; 0: not at all.
        extreme: To which standardised value each number is set in turn; 0: to none.
    """

    storage: Storage
    contestant: Contestant
    spec: ModelSpec
    perturbation: float = 0.0
    extreme: float = 0.0


@dataclass(frozen=True)
class Examined:
    """What was found.

    Args:
        rows: All of them.
        infinite: Rows with an infinite number.
        unscored: Rows without one whose prediction is not finite.
        moved: Largest change of a prediction by the perturbation, in deviations of the label where it is a number.
        broken: Rows, for each of the extremes, whose prediction is not finite then.
        missing: Number that no training row lacked to the rows that lack it here.
        unknown: Category with a vocabulary to the rows whose value is not in it.
    """

    rows: int
    infinite: int
    unscored: int
    moved: float
    broken: int
    missing: Mapping[str, int]
    unknown: Mapping[str, int]


def examine(frame: DataFrame, examination: Examination) -> Examined:
    """Look at each row of a frame once.

    Args:
        frame: Rows with the model's inputs, of the types of its description.
        examination: Who is examined, and how hard.
    """
    inputs = [quote(name) for name in examination.contestant.inputs]

    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        predictor: Any = None
        for number, batch in enumerate(batches):
            predictor = predictor or load_contestants(examination.storage, (examination.contestant,))[examination.contestant.name]
            yield _looked(batch, predictor, examination, push=number == 0)

    counted = in_arrow(frame.select(*inputs), look, _SCHEMA).groupBy("item", "name")
    found = {(row["item"], row["name"]): row for row in counted.agg(F.sum("value").alias("total"), F.max("value").alias("most")).collect()}
    whole = {item: float(row["total"]) for (item, name), row in found.items() if not name}
    return Examined(
        rows=int(whole.get(_ROWS, 0)),
        infinite=int(whole.get(_INFINITE, 0)),
        unscored=int(whole.get(_UNSCORED, 0)),
        moved=max((float(row["most"]) for (item, _), row in found.items() if item == _MOVED), default=0.0),
        broken=int(whole.get(_BROKEN, 0)),
        missing={name: int(row["total"]) for (item, name), row in found.items() if item == _MISSING},
        unknown={name: int(row["total"]) for (item, name), row in found.items() if item == _UNKNOWN},
    )


def _looked(batch: pa.RecordBatch, predictor: Predictor, examination: Examination, *, push: bool) -> pa.RecordBatch:
    from sparkml_ops.model.encoder import Encoder

    spec = examination.spec
    encoded = Encoder(spec).encode(batch, np.float64)
    finite = np.isfinite(encoded.numeric).all(axis=1)
    predicted = _predicted(predictor, encoded)
    rows = [(_ROWS, "", len(finite)), (_INFINITE, "", (~finite).sum()), (_UNSCORED, "", (finite & ~np.isfinite(predicted).all(axis=1)).sum())]
    if examination.perturbation:
        rows.append((_MOVED, "", _moved(predictor, encoded, predicted, finite, examination)))
    if examination.extreme and push:
        rows.append((_BROKEN, "", _broken(predictor, encoded, finite, examination)))
    rows += [(_MISSING, column.name, _absent(batch.column(column.name))) for column in spec.numeric if not column.indicator]
    for index, category in enumerate(spec.categorical):
        if not category.buckets:
            place, known = encoded.categories[:, index], batch.column(category.name).is_valid().to_numpy(zero_copy_only=False)
            rows.append((_UNKNOWN, category.name, (known & (place == (len(category.vocabulary) + 1 if category.rare else 0))).sum()))
    items, names, values = zip(*rows, strict=True)
    return pa.record_batch([pa.array(items), pa.array(names), pa.array([float(value) for value in values])], schema=_ARROW)


def _predicted(predictor: Predictor, encoded: Encoded) -> npt.NDArray[np.float64]:
    """[rows, outputs]."""
    return predictor.predict_encoded(encoded).reshape(len(encoded.numeric), predictor.spec.target.width)


def _moved(
    predictor: Predictor, encoded: Encoded, predicted: npt.NDArray[np.float64], finite: npt.NDArray[np.bool_], examination: Examination
) -> float:
    from sparkml_ops.model.encoder import Encoded

    columns = _standardised(examination.spec)
    # Up in one column and down in the next, the other way round in the next row.
    signs = np.where((np.arange(len(predicted))[:, None] + np.arange(columns.size)[None, :]) % 2, 1.0, -1.0)
    shifted = encoded.numeric.copy()
    shifted[:, columns] += examination.perturbation * signs
    change = np.abs(_predicted(predictor, Encoded(shifted, encoded.categories)) - predicted)[finite]
    return float(np.nan_to_num(change, nan=np.inf).max(initial=0.0)) / examination.spec.target.scale


def _broken(predictor: Predictor, encoded: Encoded, finite: npt.NDArray[np.bool_], examination: Examination) -> int:
    from sparkml_ops.model.encoder import Encoded

    numeric, categories, broken = encoded.numeric[finite][:_PUSHED], encoded.categories[finite][:_PUSHED], 0
    for column in _standardised(examination.spec):
        for extreme in (-examination.extreme, examination.extreme):
            pushed = numeric.copy()
            pushed[:, column] = extreme
            broken += int((~np.isfinite(_predicted(predictor, Encoded(pushed, categories))).all(axis=1)).sum())
    return broken


def _standardised(spec: ModelSpec) -> npt.NDArray[np.int64]:
    """Positions of the numbers that are no indicators: those of single numbers, then each array's elements."""
    at = len(spec.numeric) + sum(column.indicator for column in spec.numeric)
    found = [np.arange(len(spec.numeric))]
    for array in spec.arrays:
        found.append(np.arange(at, at + len(array.mean)))
        at += len(array.mean) + array.indicator
    return np.concatenate(found).astype(np.int64)


def _absent(column: pa.Array) -> int:
    """Null or NaN."""
    return int(pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0)
