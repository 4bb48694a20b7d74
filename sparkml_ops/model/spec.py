"""What a model is made of, as data: inputs with their preprocessing, layers, output."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sparkml_ops.errors import ContractError
from sparkml_ops.model.target import Target

__all__ = ["FORMAT", "SUPPORTED_TYPES", "ArrayInput", "CategoricalInput", "ModelSpec", "NumericInput"]

# A description that needs nothing newer keeps the older format, byte for byte: older readers load it, and its digest stays.
FORMAT = 2
_OLDEST = 1
_BINARY = Target()
SUPPORTED_TYPES = {
    "numeric": frozenset({"tinyint", "smallint", "int", "bigint", "float", "double", "boolean", "date"}),
    "array": frozenset({"array<float>", "array<double>"}),
    "categorical": frozenset({"string", "boolean", "tinyint", "smallint", "int", "bigint"}),
}


@dataclass(frozen=True)
class NumericInput:
    """A number, standardised: null and NaN become `fill`, then (value - mean) / scale. A date is its days since 1970.

    Args:
        name: Column.
        type: Spark's simple type name, as `double` or `bigint`.
        fill: Stands for null and NaN, in the column's unit.
        mean: Of the train split, in the column's unit.
        scale: Standard deviation of the train split; 1 for a constant column.
        indicator: Whether the model also sees 1 where the value was missing, 0 elsewhere.
    """

    name: str
    type: str
    fill: float
    mean: float
    scale: float
    indicator: bool = False


@dataclass(frozen=True)
class ArrayInput:
    """Numbers of a fixed length in one column, each standardised; a missing one, or the whole array, becomes the mean.

    Args:
        name: Column.
        type: `array<float>` or `array<double>`.
        mean: Of each element in the train split.
        scale: Standard deviation of each; 1 where an element is constant.
        indicator: Whether the model also sees 1 where the array or one of its elements was missing, 0 elsewhere.
    """

    name: str
    type: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    indicator: bool = False


@dataclass(frozen=True)
class CategoricalInput:
    """A category, as a number: position in the vocabulary plus one; 0 for null and for values outside it.

    Args:
        name: Column.
        type: Spark's simple type name; values are compared as text.
        vocabulary: Known values, the most frequent first.
        dimension: Width of the embedding.
    """

    name: str
    type: str
    vocabulary: tuple[str, ...]
    dimension: int = 1


@dataclass(frozen=True)
class ModelSpec:
    """A model of table rows.

    Args:
        kind: `mlp`, `linear` (for each output one weight a numeric input, one a category), or `module`: a team's own network.
        numeric: Standardised inputs, in order.
        categorical: Embedded inputs, in order.
        hidden: Widths of the hidden layers; empty for `linear`.
        dropout: Share of hidden units that are left out in training.
        output: Column of a binary model's probability; `target` names those of others.
        target: What is predicted.
        module: Of kind `module`, the entry point that makes the network; None: an object of a notebook made it.
        arrays: Standardised inputs of several numbers each, in order.

    Raises:
        ContractError: The parts do not fit together.

    >>> spec = ModelSpec("linear", (NumericInput("distance", "double", 0.0, 0.0, 1.0),), (CategoricalInput("carrier", "string", ("AA", "UA")),))
    >>> spec.inputs
    (('distance', 'double'), ('carrier', 'string'))
    >>> ModelSpec.from_json(spec.to_json()) == spec
    True
    """

    kind: Literal["mlp", "linear", "module"]
    numeric: tuple[NumericInput, ...]
    categorical: tuple[CategoricalInput, ...]
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    output: str = "probability"
    target: Target = _BINARY
    module: str | None = None
    arrays: tuple[ArrayInput, ...] = ()

    def __post_init__(self) -> None:
        for found, expected in _faults(self):
            raise ContractError(found, expected=expected, mend="correct the model's description")

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """The signature: (name, Spark's simple type) of each input, in order."""
        columns: tuple[NumericInput | CategoricalInput | ArrayInput, ...] = (*self.numeric, *self.categorical, *self.arrays)
        return tuple((column.name, column.type) for column in columns)

    @property
    def outputs(self) -> tuple[tuple[str, str], ...]:
        """Name and Spark type of each column of predictions, in order."""
        return ((self.output, "double"),) if self.target.task == "binary" else self.target.columns

    @property
    def numeric_width(self) -> int:
        """Number of numbers that the network sees: values, then missing-indicators, then each array with its indicator."""
        return (
            len(self.numeric) + sum(column.indicator for column in self.numeric) + sum(len(column.mean) + column.indicator for column in self.arrays)
        )

    def to_json(self) -> str:
        """A document that `from_json` reads back exactly."""
        document = asdict(self)
        idle = [name for name, value in _NEWER.items() if document[name] == value]
        kept = {name: value for name, value in document.items() if name not in idle}
        return json.dumps(
            {"format": _OLDEST if len(idle) == len(_NEWER) and self.kind != "module" else FORMAT, **kept}, indent=1, sort_keys=True, allow_nan=False
        )

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read a description.

        Raises:
            ContractError: It is none, or of a newer format.
        """
        document: dict[str, Any] = json.loads(text)
        found = document.pop("format", None)
        if found not in range(_OLDEST, FORMAT + 1):
            expected = f"format {_OLDEST} to {FORMAT}"
            raise ContractError(f"a model description of format {found!r}", expected=expected, mend="upgrade sparkml-ops, or train again")
        numeric = tuple(NumericInput(**column) for column in document.pop("numeric"))
        categories = [{**column, "vocabulary": tuple(column["vocabulary"])} for column in document.pop("categorical")]
        categorical = tuple(CategoricalInput(**column) for column in categories)
        lists = [{**column, "mean": tuple(column["mean"]), "scale": tuple(column["scale"])} for column in document.pop("arrays", ())]
        arrays = tuple(ArrayInput(**column) for column in lists)
        parts: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in document.pop("target", {}).items()}
        target = Target(**parts)
        hidden = tuple(document.pop("hidden"))
        return cls(numeric=numeric, categorical=categorical, arrays=arrays, hidden=hidden, target=target, **document)


# Fields that format 1 does not know, with the values that say nothing new.
_NEWER: dict[str, Any] = {"target": asdict(_BINARY), "module": None, "arrays": ()}


def _faults(spec: ModelSpec) -> list[tuple[str, str]]:
    """What does not fit together: (found, expected) of each fault."""
    names = [name for name, _ in spec.inputs]
    roles = ["numeric"] * len(spec.numeric) + ["categorical"] * len(spec.categorical) + ["array"] * len(spec.arrays)
    narrow = all(column.dimension == 1 for column in spec.categorical)
    checks = [
        (spec.kind in ("mlp", "linear", "module"), f"the kind {spec.kind!r}", "mlp, linear or module"),
        (spec.module is None or spec.kind == "module", f"module={spec.module!r} in a model of kind {spec.kind}", "none"),
        (bool(names), "a model without inputs", "at least one numeric or categorical input"),
        (len(set(names)) == len(names), f"the inputs {names}", "each column once"),
        (bool(spec.hidden) == (spec.kind == "mlp"), f"hidden={spec.hidden} in a model of kind {spec.kind}", "widths for mlp, none for others"),
        (all(width > 0 for width in spec.hidden), f"hidden={spec.hidden}", "widths above 0"),
        (0 <= spec.dropout < 1, f"dropout={spec.dropout}", "at least 0 and below 1"),
        (all(column.dimension > 0 for column in spec.categorical), "an embedding of width 0", "widths above 0"),
        (spec.kind != "linear" or narrow, "embeddings wider than 1 in a linear model", "width 1"),
    ]
    for (name, kind), role in zip(spec.inputs, roles, strict=True):
        checks.append((kind in SUPPORTED_TYPES[role], f"{role} input `{name}` of type {kind}", f"{sorted(SUPPORTED_TYPES[role])}"))
    for column in spec.numeric:
        finite = all(map(math.isfinite, (column.fill, column.mean, column.scale)))
        checks.append((finite and column.scale > 0, f"the statistics {column}", "finite ones, scale above 0"))
    for array in spec.arrays:
        fits = len(array.mean) == len(array.scale) > 0 and all(map(math.isfinite, (*array.mean, *array.scale))) and min(array.scale) > 0
        checks.append((fits, f"the statistics of array `{array.name}`", "a mean and a scale above 0 for each element, all finite"))
    return [(found, expected) for fine, found, expected in checks if not fine]
