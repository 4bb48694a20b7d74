"""One batch through a model: every row gets a prediction or a reason, and one bad row costs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.scoring.kinds import arrow_kind
from sparkml_ops.scoring.reason import Reason, RowReasons
from sparkml_ops.scoring.signature import Field
from sparkml_ops.scoring.time_limit import Overdue, at_most

__all__ = ["Budget", "LoadedModel", "Scored", "score_rows"]

# The smallest share of the time: a call has costs that do not halve with its rows.
_LEAST_SECONDS = 10.0
# Of a call: more rows cost memory and save nothing, as they leave a core's cache.
_MOST_ROWS, _MOST_BYTES = 1 << 15, 1 << 25


@dataclass(frozen=True)
class LoadedModel:
    """A model in this process.

    Args:
        inputs: Fields that `predict` reads.
        outputs: Fields that it gives.
        predict: Table of rows to one array an output.
        seconds: That a call for a batch may take; None: no end.
    """

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    predict: Callable[[pa.Table], Sequence[pa.Array]]
    seconds: float | None = None


@dataclass(frozen=True)
class Scored:
    """Outputs, null where there is a reason, and reasons, null where there is a prediction."""

    outputs: tuple[pa.Array, ...]
    reasons: pa.Array


@dataclass
class Budget:
    """Rows of a task at which the model may fail before it is clear that the whole pass will be refused.

    Until then a failing batch is halved down to the rows at fault, k log n calls for k of n rows. A model that
    fails at every row would cost two calls a row; the pass is refused whatever the other rows are.

    Args:
        rows: Left; None: no end.
    """

    rows: int | None = None

    @property
    def spent(self) -> bool:
        """Whether looking closer changes nothing."""
        return self.rows is not None and self.rows < 0

    def spend(self, rows: int) -> None:
        """Count failed rows."""
        if self.rows is not None:
            self.rows -= rows


def score_rows(model: LoadedModel, features: pa.Table, reasons: RowReasons, budget: Budget) -> Scored:
    """Score the rows that have no reason yet.

    Args:
        model: The model.
        features: Its inputs.
        reasons: Reasons found before; those found here are added.
        budget: Of this task.
    """
    for field in model.inputs:
        number = field.type in ("float", "double") and field.name in features.column_names
        if number and (infinite := _infinite(features.column(field.name))) is not None:
            reasons.add(infinite, Reason.INFINITE_FEATURE.of(field.name))
    rows = np.arange(len(reasons)) if reasons.none else np.flatnonzero(reasons.open)
    part = features if len(rows) == len(reasons) else features.take(pa.array(rows))
    pieces: list[list[pa.Array]] = [[pa.nulls(0, arrow_kind(field.type))] for field in model.outputs]
    for start, count, result in _pieces(model, part, budget):
        if isinstance(result, str):
            reasons.add_at(rows[start : start + count], result)
        for index, field in enumerate(model.outputs):
            pieces[index].append(pa.nulls(count, arrow_kind(field.type)) if isinstance(result, str) else result[index])
    columns = [arrays[1] if len(arrays) == 2 else pa.concat_arrays(arrays) for arrays in pieces]
    for field, column in zip(model.outputs, columns, strict=True):
        reasons.add_at(rows[_not_finite(column)], Reason.NON_FINITE.of(field.name))
    return Scored(tuple(_spread(column, rows, reasons) for column in columns), reasons.to_arrow())


def _infinite(column: pa.ChunkedArray) -> npt.NDArray[np.bool_] | None:
    """Where a number is infinite; None: nowhere, as a finite sum tells at a fraction of the cost."""
    values = (column.chunk(0) if column.num_chunks == 1 else column).to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        return None if np.isfinite(values.sum()) else np.isinf(values)


def _pieces(model: LoadedModel, rows: pa.Table, budget: Budget) -> Iterator[tuple[int, int, Sequence[pa.Array] | str]]:
    """Calls for as many rows as a batch may have: whoever brings the rows, what a model makes of them stays small."""
    count = max(1, min(_MOST_ROWS, _MOST_BYTES * rows.num_rows // max(1, rows.nbytes)))
    for start in range(0, rows.num_rows, count):
        yield from _isolate(model, rows.slice(start, count), budget, model.seconds, start)


def _isolate(
    model: LoadedModel, rows: pa.Table, budget: Budget, seconds: float | None, start: int = 0
) -> list[tuple[int, int, Sequence[pa.Array] | str]]:
    """Pieces (start, count, outputs or reason): a batch that fails is halved until the rows at fault stand alone, each half in half the time."""
    count = rows.num_rows
    if not count:
        return []
    result = _attempt(model, rows, seconds)
    if not isinstance(result, str):
        return [(start, count, result)]
    if count == 1 or budget.spent:
        budget.spend(count)
        return [(start, count, result)]
    half = count // 2
    shorter = None if seconds is None else max(seconds / 2, min(seconds, _LEAST_SECONDS))
    return _isolate(model, rows.slice(0, half), budget, shorter, start) + _isolate(model, rows.slice(half), budget, shorter, start + half)


def _attempt(model: LoadedModel, rows: pa.Table, seconds: float | None) -> Sequence[pa.Array] | str:
    """Outputs, one value a row each, or the reason why there are none."""
    try:
        with at_most(seconds):
            outputs = model.predict(rows)
    except Overdue:
        return Reason.MODEL_ERROR.of(f"no answer for {rows.num_rows} rows in {seconds:g} seconds")
    except (Exception, SystemExit) as error:  # whoever calls exit() means a program of his own, not the worker
        return Reason.MODEL_ERROR.of(f"{type(error).__name__}: {error}")
    wrong = next((len(output) for output in outputs if len(output) != rows.num_rows), None)
    return outputs if wrong is None else Reason.WRONG_LENGTH.of(f"{wrong} for {rows.num_rows} rows")


def _not_finite(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Where a value is null, NaN or infinite, or one of its parts is."""
    if pa.types.is_list(column.type):
        found = np.asarray(column.is_null(), bool)
        found[pc.list_parent_indices(column).to_numpy()[_not_finite(column.flatten())]] = True
        return found
    if pa.types.is_struct(column.type):
        found = np.asarray(column.is_null(), bool)
        for part in column.flatten():
            found |= _not_finite(part)
        return found
    finite = pc.is_finite(column) if pa.types.is_floating(column.type) else pc.is_valid(column)
    return ~np.asarray(pc.fill_null(finite, pa.scalar(value=False)), bool)


def _spread(column: pa.Array, rows: npt.NDArray[np.int64], reasons: RowReasons) -> pa.Array:
    """Values back at their rows' places; null at rows with a reason."""
    scored = reasons.open
    if scored.all():
        return column
    places = np.full(len(reasons), -1, np.int64)
    places[rows] = np.arange(len(rows))
    return column.take(pa.array(places, mask=~scored))
