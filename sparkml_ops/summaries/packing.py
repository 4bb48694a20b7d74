"""Fields of a summary as bytes: one Arrow row, without pickle, readable by any Arrow implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["pack", "unpack"]

# Not compressed: Spark and Parquet do that, and a compressor a state costs more than the state.
_OPTIONS = pa.ipc.IpcWriteOptions(use_threads=False)


def pack(kind: str, fields: Mapping[str, int | float | np.ndarray[Any, Any] | Sequence[str]]) -> bytes:
    """One Arrow stream with one row; arrays and lists of text are list values.

    >>> kind, fields = unpack(pack("demo", {"n": 3, "counts": np.array([1, 2])}))
    >>> kind, fields["n"], fields["counts"].tolist()
    ('demo', 3, [1, 2])
    """
    arrays = [_column(value) for value in fields.values()]
    batch = pa.RecordBatch.from_arrays(
        arrays, schema=pa.schema([pa.field(name, array.type) for name, array in zip(fields, arrays, strict=True)], {"kind": kind})
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_OPTIONS) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def unpack(data: bytes) -> tuple[str, dict[str, Any]]:
    """The kind and the fields of packed bytes: numbers, numpy arrays and lists of text."""
    with pa.ipc.open_stream(data, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
        batch = reader.read_next_batch()
    kind = (reader.schema.metadata or {})[b"kind"].decode()
    return kind, {name: _value(batch.column(name)) for name in batch.schema.names}


def _column(value: int | float | np.ndarray[Any, Any] | Sequence[str]) -> pa.Array:
    if isinstance(value, int | float):
        return pa.array([value], pa.int64() if isinstance(value, int) else pa.float64())
    items = pa.array(value) if isinstance(value, np.ndarray) else pa.array(list(value), pa.string())
    return pa.ListArray.from_arrays(pa.array([0, len(items)], pa.int32()), items)


def _value(column: pa.Array) -> Any:
    if not pa.types.is_list(column.type):
        return column[0].as_py()
    items = column.flatten()
    return items.to_pylist() if pa.types.is_string(items.type) else items.to_numpy(zero_copy_only=False)
