"""Rows on their way to a model as one Arrow table, from either engine, with equal values.

Null becomes NaN where a number may be NaN; a timestamp is microseconds since 1970 in UTC. pandas holds
whole numbers with gaps as doubles and an unknown kind as objects: here they get their declared type back,
and a value that did not survive is refused instead of changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.kinds import arrow_kind, element, is_nested
from sparkml_ops.scoring.reason import Reason, RowReasons
from sparkml_ops.scoring.signature import Field

__all__ = ["filled", "from_arrow", "from_pandas", "tensors", "to_pandas"]

_EXACT = {"float": 2**24, "double": 2**53}


def from_arrow(columns: Sequence[pa.Array], fields: Sequence[Field]) -> pa.Table:
    """Columns of the `arrow` engine, in the order of the fields, cast by Spark already."""
    return pa.table({field.name: filled(column.cast(arrow_kind(field.type)), field) for column, field in zip(columns, fields, strict=True)})


def from_pandas(frame: pd.DataFrame, fields: Sequence[Field], reasons: RowReasons, *, cast: bool) -> pa.Table:
    """Columns of a pandas UDF, by name.

    Args:
        frame: Rows; other columns are ignored.
        fields: What the model reads.
        reasons: Gets a reason where a value cannot be given to the model.
        cast: Whether Spark has cast the columns (the `pandas` engine); a user's own struct is checked.

    Raises:
        ContractError: A column is missing, or of a type that has no lossless cast.
    """
    arrays: dict[str, pa.Array] = {}
    for field in fields:
        if field.name in frame.columns:
            arrays[field.name] = filled(_column(frame[field.name], field, reasons, cast=cast), field)
        elif not field.optional:
            raise ContractError(
                f"a struct without `{field.name}` ({', '.join(map(str, frame.columns[:5]))}, ...)",
                expected="the model's inputs",
                mend="add it to the struct",
            )
    return pa.table(arrays)


def tensors(table: pa.Table, fields: Sequence[Field]) -> dict[str, npt.NDArray[Any]]:
    """Rows as an MLflow model with tensors expects them: [rows, *shape] by name.

    Raises:
        ValueError: An element is missing where its type has no value for that.

    >>> {name: array.shape for name, array in tensors(pa.table({"x": [[1.0] * 6] * 2}), [Field("x", "array<double>", shape=(2, 3))]).items()}
    {'x': (2, 2, 3)}
    """
    found = {}
    for field in fields:
        column = table.column(field.name).combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        values = column if not is_nested(field.type) else column.flatten()
        if values.null_count and element(field.type) != "double" and element(field.type) != "float":
            raise ValueError(f"a missing element of {field.name}")
        found[field.name] = values.to_numpy(zero_copy_only=False).reshape(len(column), *(field.shape or ()))
    return found


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Rows as an MLflow model expects them: timestamps are naive UTC nanoseconds."""
    parts = [
        item.name
        for item in table.schema
        if pa.types.is_struct(item.type) or (pa.types.is_list(item.type) and pa.types.is_nested(item.type.value_type))
    ]
    frame: pd.DataFrame = table.drop_columns(parts).to_pandas() if parts else table.to_pandas()
    for index, name in enumerate(table.column_names):
        if name in parts:
            kind = table.schema.field(name).type
            frame.insert(index, name, pd.Series([_told(value, kind) for value in table.column(name).to_pylist()], dtype=object))
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            frame[name] = frame[name].dt.tz_convert(None).astype("datetime64[ns]")
    return frame


def _told(value: Any, kind: pa.DataType) -> Any:
    """A list or map as MLflow takes it: lists of lists, as numpy has no array of different lengths, and numbers in their own width."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {part.name: _told(value[part.name], part.type) for part in kind}
    if pa.types.is_list(kind):
        inner = kind.value_type
        return np.array(value, inner.to_pandas_dtype()) if pa.types.is_floating(inner) else [_told(part, inner) for part in value]
    return kind.to_pandas_dtype()(value) if kind in (pa.float32(), pa.int32()) else value


def filled(array: pa.Array, field: Field) -> pa.Array:
    """A column as a model gets it: a missing number that may be NaN is NaN."""
    return pc.fill_null(array, float("nan")) if array.null_count and field.type in ("float", "double") else array


def _column(series: pd.Series[Any], field: Field, reasons: RowReasons, *, cast: bool) -> pa.Array:
    wanted = arrow_kind(field.type)
    if series.isna().all():
        array = pa.nulls(len(series), wanted)
    elif field.type == "timestamp":
        array = _instants(series, field, cast=cast)
    elif field.type in ("string", "boolean", "date"):
        array = _same_kind(series, field)
    elif element(field.type) is not None:
        array = _list(series, field, reasons)
    elif is_nested(field.type):
        array = _same_kind(series, field)
    elif series.dtype == object and cast:
        array = pa.array(series, pa.string(), from_pandas=True).cast(wanted)
    elif series.dtype.kind not in "iuf":
        raise _wrong(series, field)
    else:
        array = _number(series, field, reasons)
    if not field.nullable:
        reasons.add(series.isna().to_numpy(), Reason.MISSING.of(f"{field.name}, {field.type} in the model's signature"))
        array = array if is_nested(field.type) else pc.fill_null(array, pa.scalar(0).cast(wanted))
    return array


def _number(series: pd.Series[Any], field: Field, reasons: RowReasons) -> pa.Array:
    values, wanted = series.to_numpy(), arrow_kind(field.type)
    outside = np.zeros(len(values), bool)
    if pa.types.is_integer(wanted):
        limits = np.iinfo(wanted.to_pandas_dtype())
        outside = (values < limits.min) | (values > limits.max)
    bound = 2**field.bits if field.bits else _EXACT.get(field.type)
    if values.dtype.kind == "f":
        if pa.types.is_integer(wanted):
            # Beyond 2^53 a double may have been another whole number before pandas made it one.
            outside |= (np.abs(values) >= 2**53) | (np.trunc(values) != values) & ~np.isnan(values)
        elif wanted == pa.float32():
            with np.errstate(over="ignore"):
                outside |= (values.astype(np.float32) != values) & ~np.isnan(values)
    elif bound is not None:
        outside |= (values > bound) | (values < -bound)
    reasons.add(outside, Reason.UNCASTABLE.of(f"{field.name} as {field.type}"))
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    kept = np.where(outside | missing, 0, values).astype(wanted.to_pandas_dtype())
    return pa.array(kept, wanted, mask=outside | missing)


def _instants(series: pd.Series[Any], field: Field, *, cast: bool) -> pa.Array:
    if cast:
        text = pa.array(series, pa.string(), from_pandas=True) if series.dtype == object else pa.array(series, from_pandas=True)
        return text.cast(pa.int64()).cast(arrow_kind("timestamp"))
    if series.dtype.kind != "M":
        raise _wrong(series, field)
    return pa.array(series, pa.timestamp("us"), from_pandas=True).cast(pa.int64()).cast(arrow_kind("timestamp"))


def _same_kind(series: pd.Series[Any], field: Field) -> pa.Array:
    if series.dtype != object and not (field.type == "boolean" and series.dtype.kind == "b"):
        raise _wrong(series, field)
    try:
        return pa.array(series, arrow_kind(field.type), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise _wrong(series, field) from error


def _list(series: pd.Series[Any], field: Field, reasons: RowReasons) -> pa.Array:
    """Arrays of the model's length, where it has one; others get a reason and are null."""
    if field.gapless:
        series = _without_gaps(series, field, reasons)
    narrow = field.type == "array<float>"
    values = _same_kind(series, replace(field, type="array<double>") if narrow else field)
    if field.length is not None:
        other = pc.fill_null(pc.not_equal(pc.list_value_length(values), field.length), False)
        reasons.add(other.to_numpy(zero_copy_only=False), Reason.UNCASTABLE.of(f"{field.name} as {field.length} elements"))
        values = pc.if_else(other, pa.scalar(None, values.type), values)
    return values.cast(arrow_kind(field.type), safe=False) if narrow else values


def _without_gaps(series: pd.Series[Any], field: Field, reasons: RowReasons) -> pd.Series[Any]:
    """Arrays of whole numbers as these: a gap in one row makes doubles of all rows, in which what is beyond 2^53 may have been another number."""
    gaps, changed = np.zeros(len(series), bool), np.zeros(len(series), bool)
    cells: list[Any] = []
    for index, cell in enumerate(series):
        if isinstance(cell, np.ndarray) and cell.dtype.kind == "f":
            gaps[index], changed[index] = np.isnan(cell).any(), (np.abs(cell) >= _EXACT["double"]).any()
            cells.append(None if gaps[index] or changed[index] else cell.astype(np.int64))
        else:
            gaps[index] = isinstance(cell, np.ndarray) and cell.dtype.kind == "O" and any(item is None for item in cell)
            cells.append(None if gaps[index] else cell)
    reasons.add(gaps, Reason.MISSING.of(f"an element of {field.name}, {field.type} in the model's signature"))
    reasons.add(changed, Reason.UNCASTABLE.of(f"{field.name} as {field.type}, beside a row with a missing element"))
    return pd.Series(cells, dtype=object)


def _wrong(series: pd.Series[Any], field: Field) -> ContractError:
    kind = type(series.dropna().iloc[0]).__name__ if series.dtype == object else str(series.dtype)
    return ContractError(f"`{field.name}` of type {kind} where the model reads {field.type}", expected=field.type, mend="cast the column")
