"""Fields of a summary as bytes: a line of JSON that says what follows, then plain little-endian arrays, without pickle.

The bytes begin with `SMS1` and the length of the JSON as a 32-bit number. Whole numbers are stored in the
fewest bytes that hold all of an array, those beyond 32 bits as two arrays: their lower 32 bits, and the rest.
Each array begins at a multiple of eight bytes after the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparkml_ops.errors import ContractError

__all__ = ["pack", "unpack"]

_MAGIC = b"SMS1"
_SIGNED = tuple(np.dtype(name) for name in ("<i1", "<i2", "<i4"))
_UNSIGNED = tuple(np.dtype(name) for name in ("<u1", "<u2", "<u4"))
_Array = np.ndarray[Any, Any]
_Value = int | float | _Array | Sequence[str]


def pack(kind: str, fields: Mapping[str, _Value]) -> bytes:
    """Fields as bytes; the same fields give the same bytes.

    >>> kind, fields = unpack(pack("demo", {"n": 3, "counts": np.array([1, 2])}))
    >>> kind, fields["n"], fields["counts"].tolist()
    ('demo', 3, [1, 2])
    """
    body: list[bytes] = []
    described = {name: _described(value, body) for name, value in fields.items()}
    head = json.dumps({"kind": kind, "fields": described}, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([_MAGIC, len(head).to_bytes(4, "little"), head, *body])


def unpack(data: bytes) -> tuple[str, dict[str, Any]]:
    """The kind and the fields of packed bytes: numbers, numpy arrays and lists of text.

    Raises:
        ContractError: The bytes are not in this form.
    """
    if data[:4] != _MAGIC:
        raise ContractError(
            f"a state that begins with {data[:4]!r}",
            expected=f"one that begins with {_MAGIC!r}",
            mend="it was stored by another version: run `sparkml-ops edges renew`, which profiles the rows again",
        )
    start = 8 + int.from_bytes(data[4:8], "little")
    document = json.loads(data[8:start].decode())  # text: json would look for the encoding of bytes
    fields: dict[str, Any] = {}
    for name, (form, *content) in document["fields"].items():
        if form == "array":
            fields[name], start = _array(data, content, start)
        else:
            fields[name] = float.fromhex(content[0]) if form == "float" else content[0]
    return document["kind"], fields


def _described(value: _Value, body: list[bytes]) -> list[Any]:
    """What the JSON says of a value; arrays go to the body."""
    if isinstance(value, int):
        return ["int", value]
    if isinstance(value, float):
        return ["float", float(value).hex()]
    if not isinstance(value, np.ndarray):
        return ["text", list(value)]
    stored = _stored(value)
    for part in stored:
        body.append(part.tobytes())
        body.append(b"\0" * (-part.nbytes % 8))
    return ["array", value.dtype.newbyteorder("<").str, len(value), *(part.dtype.str for part in stored)]


def _stored(values: _Array) -> tuple[_Array, ...]:
    """An array in the fewest bytes: itself, narrower, or in two parts."""
    if values.dtype.kind not in "iu" or not len(values):
        return (values.astype(values.dtype.newbyteorder("<"), copy=False),)
    low, high = int(values.min()), int(values.max())
    if narrow := _holding(low, high):
        return (values.astype(narrow),)
    rest = values >> values.dtype.type(32)
    lower = (values & values.dtype.type(0xFFFFFFFF)).astype("<u4")
    return (lower, rest.astype(_holding(int(rest.min()), int(rest.max())) or "<i4"))


def _holding(low: int, high: int) -> np.dtype[Any] | None:
    """The smallest integer type of up to 32 bits that holds a range."""
    for kind in _UNSIGNED if low >= 0 else _SIGNED:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return None


def _array(data: bytes, described: Sequence[Any], start: int) -> tuple[_Array, int]:
    kind, size, *stored = described
    parts = []
    for name in stored:
        dtype = np.dtype(name)
        parts.append(np.frombuffer(data, dtype, size, start))
        start += -(-size * dtype.itemsize // 8) * 8
    values: _Array = parts[0] if stored[0] == kind else parts[0].astype(kind)
    if len(parts) > 1:
        values += parts[1].astype(kind) << np.dtype(kind).type(32)
    return values, start
