"""Values of an application as the columns that an exported graph reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_ops.errors import ContractError

__all__ = ["FORMAT", "META", "MISSING", "column"]

FORMAT = 1
#: Key of the graph's metadata that says what its columns are.
META = "sparkml_ops"
#: Stands for a null category; no text of a table holds it.
MISSING = "\x01null"
_EXACT = 1 << 53
_EPOCH = date(1970, 1, 1)


def column(description: Mapping[str, Any], values: Sequence[Any]) -> npt.NDArray[Any]:
    """One input of the graph.

    Args:
        description: `name`, `type`, `role` and what else the export wrote of it.
        values: [rows] of the application; None is missing.

    Raises:
        ContractError: A value is not of the column's type, or a whole number that a double does not hold.

    >>> column({"name": "x", "type": "double", "role": "number"}, [1, None, 2.5]).tolist()
    [1.0, nan, 2.5]
    """
    makers: dict[str, Callable[[Mapping[str, Any], Sequence[Any]], npt.NDArray[Any]]] = {
        "number": _numbers,
        "category": _categories,
        "array": _arrays,
    }
    return makers[description["role"]](description, values)


def _numbers(description: Mapping[str, Any], values: Any) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and description["type"] not in ("date", "boolean"):
        wide = values.astype(np.float64)
        return wide.astype(np.float32).astype(np.float64) if description["type"] == "float" else wide
    return np.array([_number(description, value) for value in values], np.float64)


def _number(description: Mapping[str, Any], value: Any) -> float:
    kind = description["type"]
    if value is None:
        return float("nan")
    if kind == "date" and isinstance(value, date) and not isinstance(value, datetime):
        return float((value - _EPOCH).days)
    whole = isinstance(value, int | np.integer | np.bool_)
    if kind == "date" or not (whole or isinstance(value, float | np.floating)) or (kind == "boolean" and not isinstance(value, bool | np.bool_)):
        raise _another(description, value)
    if whole and abs(int(value)) > _EXACT:
        raise ContractError(f"{value} in `{description['name']}`", expected="whole numbers up to 2^53", mend="make it null, or a category")
    return _rounded(kind, float(value))


def _rounded(kind: str, value: float) -> float:
    """As the table of a `float` column has it: training saw no more digits."""
    with np.errstate(over="ignore"):
        return float(np.float32(value)) if "float" in kind else value


def _categories(description: Mapping[str, Any], values: Sequence[Any]) -> npt.NDArray[Any]:
    texts = [_text(description, value) for value in values]
    if buckets := int(description["buckets"]):
        return np.array([0 if text is None else _bucket(text, buckets) for text in texts], np.int64)
    return np.array([MISSING if text is None else text for text in texts], object)


def _text(description: Mapping[str, Any], value: Any) -> str | None:
    kind = description["type"]
    if value is None:
        return None
    if kind == "string" and isinstance(value, str):
        return str(value)
    if kind == "boolean" and isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if kind not in ("string", "boolean") and isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise _another(description, value)


def _bucket(text: str, buckets: int) -> int:
    """As `sparkml_ops.model.categories.bucket`, which needs Arrow beside it."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % buckets + 1


def _arrays(description: Mapping[str, Any], values: Sequence[Any]) -> npt.NDArray[Any]:
    length = int(description["length"])
    found = np.full((len(values), length), np.nan)
    for row, value in enumerate(values):
        if value is None:
            continue
        if isinstance(value, str) or len(value) != length:
            raise ContractError(
                f"{len(value)} elements in `{description['name']}`", expected=f"{length}, as in training", mend="give all of them, or None"
            )
        found[row] = [float("nan") if item is None else _rounded(description["type"], float(item)) for item in value]
    return found


def _another(description: Mapping[str, Any], value: Any) -> ContractError:
    return ContractError(
        f"{type(value).__name__} {value!r} in `{description['name']}`", expected=f"{description['type']}, as in training", mend="convert the column"
    )
