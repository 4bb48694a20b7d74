"""What a model reads and gives: names and types, from its own description.

Types are Spark's simple names. Our models describe themselves in model.json; others in the signature
of their MLmodel file, which is plain YAML (nothing of a model is loaded here).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml

from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.scoring.kinds import element, members

__all__ = ["Field", "Signature"]

# Whole numbers up to 2^53 are exact in the doubles that our models compute with.
_EXACT_BITS = 53
_COLUMN_TYPES = {
    "double": "double",
    "float": "float",
    "long": "bigint",
    "integer": "int",
    "boolean": "boolean",
    "string": "string",
    "datetime": "timestamp",
}
_TENSOR_TYPES = {"float64": "double", "float32": "float", "int64": "bigint", "int32": "int", "bool": "boolean", "str": "string", "object": "string"}
_NEVER_NULL = frozenset({"bigint", "int", "boolean"})
_WHOLE = frozenset({"bigint", "int"})


@dataclass(frozen=True)
class Field:
    """One input or output.

    Args:
        name: Column.
        type: Spark's simple type name.
        nullable: Whether a missing value may reach the model. MLflow's whole numbers and booleans have none.
        optional: Whether the column may be absent.
        bits: Largest magnitude, as a power of two, of a whole number that the model takes exactly; None: all of the type.
        length: Elements of an array; None: no array, or one whose length its model looks at.
        unseen: Whether no training row had it missing; a missing value is then new to the model.
        shape: Of a row's tensor, whose elements the array holds row by row; None: the model reads no tensor.
    """

    name: str
    type: str
    nullable: bool = True
    optional: bool = False
    bits: int | None = None
    length: int | None = None
    shape: tuple[int, ...] | None = None
    unseen: bool = False

    @property
    def gapless(self) -> bool:
        """Whether its arrays have no missing elements: whole numbers and booleans have no value that says so."""
        return element(self.type) in _NEVER_NULL


@dataclass(frozen=True)
class Signature:
    """Inputs, found by name, and outputs, in order."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]

    @classmethod
    def of_artifact(cls, folder: Path) -> Signature:
        """The signature of one of our models."""
        spec = ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        categorical = {column.name for column in spec.categorical}
        lengths = {column.name: len(column.mean) for column in spec.arrays}
        bits = {name: _EXACT_BITS for name, kind in spec.requested if kind == "bigint" and name not in categorical}
        # Training gives an input an indicator where it has a missing value.
        full = {column.name for column in spec.numeric if not column.indicator} | {column.name for column in spec.arrays if not column.indicator}
        inputs = (Field(name, kind, bits=bits.get(name), length=lengths.get(name), unseen=name in full) for name, kind in spec.requested)
        return cls(tuple(inputs), tuple(Field(name, kind) for name, kind in spec.outputs))

    @classmethod
    def of_mlmodel(cls, folder: Path) -> Signature:
        """The signature of an MLflow model.

        Raises:
            ContractError: It has none, or one that a table's columns cannot meet.
        """
        document = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        found = document.get("signature") or {}
        inputs, outputs = (json.loads(found.get(side) or "[]") for side in ("inputs", "outputs"))
        if not inputs or not outputs:
            side = "outputs" if inputs else "inputs"
            raise ContractError(
                f"a model without a signature of its {side}",
                expected="columns with types",
                mend="log it with signature=infer_signature(inputs, outputs)",
            )
        return cls(tuple(_input(column) for column in inputs), tuple(_outputs(outputs)))


def _input(column: Mapping[str, Any]) -> Field:
    if "name" in column and column.get("type") == "tensor" and (field := _tensor(column["name"], column["tensor-spec"])) is not None:
        return field
    kind = _kind(column, read=True)
    if kind is None or "name" not in column:
        raise ContractError(
            f"the model's input {json.dumps(column)[:200]}",
            expected=f"a named column of {sorted(_COLUMN_TYPES)}, an array or object of these, or a named tensor with one open dimension, the first",
            mend="log the model with such a signature; a whole number inside of an object as a double, or as a column of its own",
        )
    return Field(column["name"], kind, nullable=kind not in _NEVER_NULL, optional=not column.get("required", True))


def _kind(described: Mapping[str, Any], *, read: bool, within: bool = False) -> str | None:
    """Spark's name of a type of MLflow; None: a table's column cannot hold it, or not without loss on its way.

    Args:
        described: As MLflow writes it.
        read: Whether the model reads it: pandas would make doubles of whole numbers beside a gap in parts of parts.
        within: Whether it is part of another one.
    """
    named = str(described.get("type"))
    if named == "array":
        inner = _kind(described.get("items", {}), read=read, within=True)
        return None if inner in (None, "timestamp") or (read and within and inner in _WHOLE) else f"array<{inner}>"
    if named == "object":
        parts = {name: _kind(part, read=read, within=True) for name, part in described.get("properties", {}).items()}
        if {None, "timestamp", *(_WHOLE if read else ())} & set(parts.values()):
            return None
        kind = f"struct<{','.join(f'{name}:{part}' for name, part in parts.items())}>"
        return kind if members(kind) else None
    return _COLUMN_TYPES.get(named)


def _tensor(name: str, described: Mapping[str, Any]) -> Field | None:
    """A tensor as a column: one value a row, or an array of its elements; None: its shape or type is no column's."""
    kind, (rows, *shape) = _TENSOR_TYPES.get(described["dtype"]), [int(size) for size in described["shape"]] or [0]
    if kind is None or rows != -1 or any(size < 1 for size in shape):
        return None
    if not shape:
        return Field(name, kind, nullable=kind not in _NEVER_NULL, shape=())
    return Field(name, f"array<{kind}>", nullable=False, length=prod(shape), shape=tuple(shape))


def _outputs(columns: Sequence[Mapping[str, Any]]) -> list[Field]:
    """Outputs by name; what has no name is `value`, or `value_0`, `value_1`, ... of a matrix."""
    if len(columns) == 1 and columns[0].get("type") == "tensor":
        tensor = columns[0]["tensor-spec"]
        kind, shape = _TENSOR_TYPES.get(tensor["dtype"]), [int(size) for size in tensor["shape"]]
        if kind is not None and len(shape) == 1:
            return [Field("value", kind)]
        if kind is not None and len(shape) == 2 and shape[1] > 0:
            return [Field(f"value_{index}", kind) for index in range(shape[1])]
    if all(column.get("type") == "tensor" and "name" in column for column in columns):
        fields = [_tensor(column["name"], column["tensor-spec"]) for column in columns]
        if all(field is not None for field in fields):
            return [Field(field.name, field.type, length=field.length) for field in fields if field is not None]
    kinds = [_kind(column, read=False) for column in columns]
    if all(kinds) and (len(columns) == 1 or all("name" in column for column in columns)):
        return [Field(column.get("name", "value"), str(kind)) for column, kind in zip(columns, kinds, strict=True)]
    raise ContractError(
        f"the model's outputs {json.dumps(columns)[:200]}",
        expected="a value a row, or named columns of values, arrays or objects, or named tensors",
        mend="log the model with such a signature",
    )
