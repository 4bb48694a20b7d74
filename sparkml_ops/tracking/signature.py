"""A model's signature and a made-up example of its input, from names and types of columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from sparkml_ops.errors import ContractError

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

__all__ = ["example", "signature"]

Columns = Sequence[tuple[str, str]]

# Spark's and Arrow's names. MLflow refuses a null in a whole-number column and a whole number in a
# double one; pandas makes doubles of whole numbers with nulls. So whole numbers are "any": the model
# itself knows the type, and fills what is missing.
_KINDS = {
    "double": r"double|float|float32|float64|halffloat|float16",
    "any": r"u?int(8|16|32|64)?|tinyint|smallint|integer|bigint|byte|short|long|date(32|64)?(\[.*\])?|decimal(128)?(\(.*\))?",
    "boolean": r"bool|boolean",
    "string": r"(large_)?string|utf8|varchar(\(\d+\))?|char(\(\d+\))?",
    "datetime": r"timestamp(\[.*\]|_ntz|_ltz)?",
    "array": r"array<(float|double|bigint|string)>",
}
_EXAMPLES: dict[str, object] = {"double": 0.0, "any": 0, "boolean": False, "string": "unknown", "datetime": pd.Timestamp(0), "array": None}


def signature(inputs: Columns, outputs: Columns) -> ModelSignature:
    """The MLflow signature of a model.

    Args:
        inputs: Name and Spark or Arrow type of each column that the model reads.
        outputs: The same of its predictions.

    Raises:
        ContractError: A type that is no number, flag, text or time.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType, Array

    whole = AnyType()  # type: ignore[no-untyped-call]
    # An array of numbers may be null too, which MLflow allows for "any" elements only.
    types: dict[str, AnyType | Array] = {"any": whole, "array": Array(whole)}

    def schema(columns: Columns) -> Schema:
        kinds = [(name, _kind(name, type_)) for name, type_ in columns]
        return Schema([ColSpec(types.get(kind, kind), name) for name, kind in kinds])

    return ModelSignature(inputs=schema(inputs), outputs=schema(outputs))


def example(inputs: Columns) -> pd.DataFrame:
    """One row that fits the signature and is nobody's data.

    >>> example([("distance", "double"), ("carrier", "string")]).to_dict("records")
    [{'distance': 0.0, 'carrier': 'unknown'}]
    """
    return pd.DataFrame({name: [_EXAMPLES[_kind(name, type_)]] for name, type_ in inputs})


def _kind(name: str, type_: str) -> str:
    for kind, pattern in _KINDS.items():
        if re.fullmatch(pattern, type_.strip().lower()):
            return kind
    raise ContractError(
        f"input `{name}` of type {type_}",
        expected="a number, boolean, string, date, timestamp or array of doubles",
        mend="derive such a column from it",
    )
