"""Columns of a batch to the numbers that the network sees, the same in training and scoring.

No torch here: the logistic baseline and the driver encode too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.column_type import arrow_type
from sparkml_ops.errors import ContractError
from sparkml_ops.model.categories import by_hash, by_vocabulary
from sparkml_ops.model.spec import ArrayInput, ModelSpec

__all__ = ["Columns", "Encoded", "Encoder", "numbers", "texts", "vectors"]

_ARROW = {name: arrow_type(name) for name in ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean", "date", "string")}
# What pandas holds as arrays in objects is read as doubles: each float is one.
_ARROW |= {"array<float>": arrow_type("array<double>"), "array<double>": arrow_type("array<double>")}
# Rows standardised at once, column by column, and then laid row by row: what a core's cache holds.
_ROWS = 16_384
# Of arrays that are standardised at once.
_NUMBERS = 1 << 18
# Columns a power of two apart would fall upon the same places of that cache.
_APART = 16
Columns: TypeAlias = "pa.RecordBatch | pa.Table | pd.DataFrame"


@dataclass(frozen=True)
class Encoded:
    """Rows as numbers.

    Args:
        numeric: [rows, spec.numeric_width] standardised values, then missing-indicators.
        categories: [rows, categorical inputs] int32 positions; 0 is unknown or null.
    """

    numeric: npt.NDArray[Any]
    categories: npt.NDArray[np.int32]


class Encoder:
    """Applies the preprocessing of a model to batches; a row's numbers do not depend on its batch.

    Args:
        spec: The model's description.

    >>> from sparkml_ops.model.spec import CategoricalInput, NumericInput
    >>> spec = ModelSpec("linear", (NumericInput("x", "double", 2.0, 2.0, 4.0, True),), (CategoricalInput("c", "string", ("a",)),))
    >>> encoded = Encoder(spec).encode(pa.table({"x": [6.0, None], "c": ["a", "b"]}))
    >>> encoded.numeric.tolist(), encoded.categories.tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [[1], [0]])
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._vocabularies = [pa.array(column.vocabulary, pa.string()) for column in spec.categorical]

    def encode(self, columns: Columns, dtype: npt.DTypeLike = np.float64, into: Encoded | None = None) -> Encoded:
        """Encode a batch; columns are found by name, others are left alone.

        Args:
            columns: Arrow or pandas rows.
            dtype: Of the numeric part; statistics are applied in float64 first.
            into: Where the numbers are put, in its own dtype; None: new memory.

        Raises:
            ContractError: A column is missing, or its type is another than the model was trained on.
        """
        found = columns.columns.tolist() if isinstance(columns, pd.DataFrame) else columns.schema.names
        if missing := [name for name, _ in self.spec.inputs if name not in found]:
            raise ContractError(f"a batch without {missing[:5]}", expected=f"the model's {len(self.spec.inputs)} inputs", mend="add the columns")
        rows = len(columns)
        if into is None:
            into = Encoded(np.empty((rows, self.spec.numeric_width), dtype), np.empty((rows, len(self.spec.categorical)), np.int32))
        self._fill_numeric(columns, into.numeric)
        self._fill_categories(columns, into.categories)
        return into

    def _fill_numeric(self, columns: Columns, encoded: npt.NDArray[Any]) -> None:
        values = [_values(columns, column.name, column.type) for column in self.spec.numeric]
        first = len(values) + sum(column.indicator for column in self.spec.numeric)
        if values:
            self._fill_single(values, encoded[:, :first])
        for array in self.spec.arrays:
            width = len(array.mean) + array.indicator
            self._fill_array(columns, array, encoded[:, first : first + width])
            first += width

    def _fill_array(self, columns: Columns, array: ArrayInput, encoded: npt.NDArray[Any]) -> None:
        """An input of arrays, some rows at a time: in float64 a batch of long ones would be many times what it is."""
        width = len(array.mean)
        mean, scale, rows = np.array(array.mean), np.array(array.scale), max(1, _NUMBERS // max(1, width))
        for start in range(0, len(encoded), rows):
            part = columns.iloc[start : start + rows] if isinstance(columns, pd.DataFrame) else columns.slice(start, rows)
            found = vectors(part, array.name, array.type, width)
            absent = np.isnan(found)
            with np.errstate(over="ignore"):
                found -= mean
                found /= scale
                found[absent] = 0.0
                encoded[start : start + rows, :width] = found
            if array.indicator:
                encoded[start : start + rows, width] = absent.any(axis=1)

    def _fill_single(self, values: Sequence[npt.NDArray[Any]], encoded: npt.NDArray[Any]) -> None:
        """The inputs of one number a row, some rows at a time in the same memory: new memory costs more than what is done in it."""
        rows = min(_ROWS, len(encoded))
        block, scratch = np.zeros((encoded.shape[1], rows + _APART), encoded.dtype), np.empty(rows)
        for start in range(0, len(encoded), _ROWS):
            part = encoded[start : start + _ROWS]
            count = len(part)
            self._standardise([column[start : start + count] for column in values], block[:, :count], scratch[:count])
            part[:] = block[:, :count].T

    def _standardise(self, values: Sequence[npt.NDArray[Any]], block: npt.NDArray[Any], scratch: npt.NDArray[np.float64]) -> None:
        """Some rows into [inputs, rows]: computed in float64, rounded once."""
        single = block[: len(values)]
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, as the predictor expects
            for index, column in enumerate(self.spec.numeric):
                scratch[:] = values[index]
                scratch -= column.mean
                scratch /= column.scale
                single[index] = scratch
            gaps = bool(np.isnan(single.min()))
        indicator = len(values)
        for index, column in enumerate(self.spec.numeric):
            absent = np.isnan(single[index]) if gaps else False
            if gaps:
                single[index, absent] = (column.fill - column.mean) / column.scale
            if column.indicator:
                block[indicator] = absent
                indicator += 1

    def _fill_categories(self, columns: Columns, encoded: npt.NDArray[np.int32]) -> None:
        for index, (column, vocabulary) in enumerate(zip(self.spec.categorical, self._vocabularies, strict=True)):
            values = texts(columns, column.name, column.type)
            encoded[:, index] = by_hash(values, column.buckets) if column.buckets else by_vocabulary(values, vocabulary, rare=column.rare)


def numbers(columns: Columns, name: str, kind: str) -> npt.NDArray[np.float64]:
    """A column as float64, null as NaN.

    Args:
        columns: Arrow or pandas rows.
        name: The column.
        kind: Its declared type.

    Raises:
        ContractError: The column holds no numbers.
    """
    # A copy: Arrow's own memory is read-only, and gaps are filled in place.
    return np.array(_values(columns, name, kind), np.float64, copy=True)


def vectors(columns: Columns, name: str, kind: str, length: int) -> npt.NDArray[np.float64]:
    """A column of arrays as [rows, length] float64, missing elements and arrays as NaN.

    Args:
        columns: Arrow or pandas rows.
        name: The column.
        kind: Its declared type.
        length: Elements of each array.

    Raises:
        ContractError: The column holds no arrays of numbers, or arrays of another length.

    >>> vectors(pa.table({"e": [[1.0, None], None]}), "e", "array<double>", 2).tolist()
    [[1.0, nan], [nan, nan]]
    """
    values = _array(columns, name, kind)
    found = np.full((len(values), length), np.nan)
    if pa.types.is_null(values.type):
        return found
    if not any(fits(values.type) for fits in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        raise _another(name, values.type, kind)
    element = values.type.value_type
    if not any(fits(element) for fits in (pa.types.is_floating, pa.types.is_integer, pa.types.is_null)):
        raise _another(name, values.type, kind)
    lengths = pc.list_value_length(values).drop_null()
    if wrong := len(lengths) - int(pc.sum(pc.equal(lengths, length)).as_py() or 0):
        other = pc.index(pc.equal(lengths, length), pa.scalar(False)).as_py()
        raise ContractError(
            f"{wrong} arrays in `{name}` of another length ({lengths[other]} elements)",
            expected=f"{length} elements, as in training",
            mend="build the feature with a fixed length, or make such arrays null",
        )
    # Without the elements of null arrays.
    elements = values.flatten().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    found[values.is_valid().to_numpy(zero_copy_only=False)] = elements.reshape(-1, length)
    return found


def texts(columns: Columns, name: str, kind: str) -> pa.Array:
    """A column's values as text, null as null.

    Args:
        columns: Arrow or pandas rows.
        name: The column.
        kind: Its declared type.

    Raises:
        ContractError: The column is of another type.
    """
    wanted = _ARROW[kind]
    values = _array(columns, name, kind)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    text = any(fits(values.type) for fits in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
    if not pa.types.is_null(values.type) and text != pa.types.is_string(wanted):
        raise _another(name, values.type, kind)
    try:
        return values.cast(wanted).cast(pa.string())
    except pa.ArrowInvalid as error:
        raise _another(name, values.type, kind) from error


def _values(columns: Columns, name: str, kind: str) -> npt.NDArray[Any]:
    """A column of numbers as it lies where it has no null, else as float64 with NaN."""
    values = _array(columns, name, kind)
    is_a = pa.types
    if is_a.is_date32(values.type) and kind == "date":
        values = values.cast(pa.int32())
    if not any(fits(values.type) for fits in (is_a.is_integer, is_a.is_floating, is_a.is_boolean, is_a.is_null)):
        raise _another(name, values.type, kind)
    if is_a.is_boolean(values.type):
        values = values.cast(pa.int8())
    if values.null_count:
        values = values.cast(pa.float64(), safe=False)
    found: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found


def _array(columns: Columns, name: str, kind: str) -> pa.Array:
    """A column as one Arrow array; pandas' stand-ins for null become null."""
    if isinstance(columns, pd.DataFrame):
        series = columns[name]
        try:
            # Objects have no type of their own; an integer column with gaps is float64 in pandas and is cast back later.
            array = pa.array(series, type=_ARROW[kind] if series.dtype == object else None, from_pandas=True)
            return array.cast(_ARROW[kind]) if kind == "date" and pa.types.is_timestamp(array.type) else array
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _another(name, series.dtype, kind) from error
    values = columns.column(name)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _another(name: str, found: object, kind: str) -> ContractError:
    return ContractError(f"column `{name}` of type {found}", expected=f"{kind}, as in training", mend="cast the column")
