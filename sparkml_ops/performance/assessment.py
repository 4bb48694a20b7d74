"""Models of any task on labelled rows: one distributed pass, whose tasks hand on sums and counts that merge on the executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.arrow_pass import in_arrow
from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.model.target import Target
from sparkml_ops.performance.classes import ClassErrors, LabelErrors
from sparkml_ops.performance.contest import Contestant, load_contestants
from sparkml_ops.performance.numbers import NumberErrors, QuantileErrors
from sparkml_ops.storage import Storage

__all__ = ["Assessment", "assess"]

Measure: TypeAlias = NumberErrors | QuantileErrors | ClassErrors | LabelErrors
Values: TypeAlias = "npt.NDArray[np.float64]"
_SCHEMA = "part string, data binary, unscored bigint"
_ARROW = pa.schema({"part": pa.string(), "data": pa.binary(), "unscored": pa.int64()})
_LABEL = "__label"
_UNSCORED = "\0unscored"
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Assessment:
    """Who is measured, on what.

    Args:
        storage: Where the artifacts lie.
        contestants: The models, all of the same target.
        target: What they predict; not `binary`, which a contest measures.
        label: Column of the label; rows without one are left out.
        constants: Name to [outputs] predictions that are the same for every row.
    """

    storage: Storage
    contestants: tuple[Contestant, ...]
    target: Target
    label: str
    constants: Mapping[str, tuple[float, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The contestants and constants."""
        return (*(contestant.name for contestant in self.contestants), *self.constants)


def assess(frame: DataFrame, assessment: Assessment) -> dict[str, dict[str, float]]:
    """Measure models on the labelled rows of a frame.

    Args:
        frame: Rows with the models' inputs and the label.
        assessment: Who is measured, on what.

    Returns:
        Name to figures, `rows` among them; a figure that does not exist is NaN.

    Raises:
        ContractError: There is no labelled row, or one that a model has no prediction for.
    """
    label = F.col(quote(assessment.label))
    inputs = [quote(name) for name in dict.fromkeys(name for contestant in assessment.contestants for name in contestant.inputs)]
    kind = {"multiclass": "string", "multilabel": "array<string>"}.get(assessment.target.task, "double")
    rows = frame.where(label.isNotNull()).select(*inputs, label.cast(kind).alias(_LABEL))
    states = in_arrow(rows, _counting(assessment), _SCHEMA)
    merged = states.repartition(len(assessment.names), "part").mapInArrow(_merging(assessment.target), _SCHEMA).collect()
    if unscored := sum(row["unscored"] for row in merged):
        raise ContractError(f"{unscored} evaluation rows without a prediction", expected="finite features", mend="make infinite values null")
    found = {row["part"]: _read(assessment.target, bytes(row["data"])) for row in merged if row["data"] is not None}
    if missing := [name for name in assessment.names if name not in found]:
        raise ContractError(
            f"no labelled row to evaluate {missing[0]} on", expected="at least one", mend="widen the evaluation split, or wait for labels"
        )
    return {name: {"rows": float(found[name].rows), **_figures(assessment.target, found[name])} for name in assessment.names}


def _counting(assessment: Assessment) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        states: dict[str, Measure] = {}
        unscored = 0
        for predicted, true in _predicted(batches, assessment):
            fine = np.isfinite(np.concatenate(list(predicted.values()), axis=1)).all(axis=1)
            unscored += int((~fine).sum())
            for name, values in predicted.items():
                state = _measure(assessment.target, values[fine], true[fine])
                states[name] = _merge(states[name], state) if name in states else state
        yield from _batches(states)
        if unscored:
            yield pa.RecordBatch.from_pylist([{"part": _UNSCORED, "data": None, "unscored": unscored}], _ARROW)

    return count


def _merging(target: Target) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def merge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        states: dict[str, Measure] = {}
        for batch in batches:
            for row in batch.to_pylist():
                if row["data"] is None:
                    yield pa.RecordBatch.from_pylist([row], _ARROW)
                    continue
                state = _read(target, row["data"])
                states[row["part"]] = _merge(states[row["part"]], state) if row["part"] in states else state
        yield from _batches(states)

    return merge


def _batches(states: Mapping[str, Measure]) -> Iterator[pa.RecordBatch]:
    for name, state in states.items():
        yield pa.RecordBatch.from_pylist([{"part": name, "data": state.to_bytes(), "unscored": 0}], _ARROW)


def _predicted(batches: Iterator[pa.RecordBatch], assessment: Assessment) -> Iterator[tuple[dict[str, Values], Values]]:
    """Predictions by name, [rows, outputs], and true values, in blocks worth a merge."""
    predictors = None
    waiting: list[tuple[dict[str, Values], Values]] = []
    for batch in batches:
        predictors = predictors or load_contestants(assessment.storage, assessment.contestants)
        rows = batch.num_rows
        predicted = {name: predictor.predict(batch).reshape(rows, assessment.target.width) for name, predictor in predictors.items()}
        predicted |= {name: np.tile(np.array(values, np.float64), (rows, 1)) for name, values in assessment.constants.items()}
        waiting.append((predicted, assessment.target.values(batch.column(_LABEL))))
        if sum(len(true) for _, true in waiting) >= _CHUNK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[tuple[dict[str, Values], Values]]) -> tuple[dict[str, Values], Values]:
    """Several blocks as one: each merge of counts costs as much as all counts so far."""
    return {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}, np.concatenate([true for _, true in parts])


def _measure(target: Target, predicted: Values, true: Values) -> Measure:
    if target.task == "multiclass":
        return ClassErrors.of(predicted, true.astype(np.int64))
    if target.task == "multilabel":
        return LabelErrors.of(predicted, true)
    return QuantileErrors.of(predicted, true, target.quantiles) if target.task == "quantile" else NumberErrors.of(predicted[:, 0], true)


def _merge(first: Measure, second: Measure) -> Measure:
    return first.merge(second)  # type: ignore[arg-type]  # of one target: of one kind


def _read(target: Target, data: bytes) -> Measure:
    kinds: dict[str, type[Measure]] = {"multiclass": ClassErrors, "multilabel": LabelErrors, "quantile": QuantileErrors}
    return kinds.get(target.task, NumberErrors).from_bytes(data)


def _figures(target: Target, found: Measure) -> dict[str, float]:
    if isinstance(found, QuantileErrors):
        return found.figures(tuple(name for name, _ in target.columns))
    figures = found.figures()
    return figures if target.task == "count" else {name: value for name, value in figures.items() if name != "poisson_deviance"}
