"""What a model is made of, as data: inputs with their preprocessing, layers, output."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sparkml_ops.errors import ContractError
from sparkml_ops.model.target import Target

__all__ = ["DEEP", "FORMAT", "SUPPORTED_TYPES", "ArrayInput", "CategoricalInput", "Cross", "ModelSpec", "NumericInput", "Side", "Towers"]

Side = Literal["query", "item"]

# A description that needs nothing newer keeps the older format, byte for byte: older readers load it, and its digest stays.
FORMAT = 2
_OLDEST = 1
# Kinds with hidden layers.
DEEP = ("mlp", "wide_deep", "two_tower")
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
    """A category, as a number: position in the vocabulary plus one, or a bucket by the value's hash; 0 for null.

    A value outside the vocabulary is 0 as well, or with `rare` has a position of its own.

    Args:
        name: Column.
        type: Spark's simple type name; values are compared as text.
        vocabulary: Known values, the most frequent first; none where values are hashed.
        dimension: Width of the embedding.
        buckets: Where values are hashed, into how many buckets; 0: by the vocabulary.
        rare: Whether values outside the vocabulary share the last position: in training those that are rare, later new ones too.
    """

    name: str
    type: str
    vocabulary: tuple[str, ...]
    dimension: int = 1
    buckets: int = 0
    rare: bool = False

    @property
    def size(self) -> int:
        """Number of positions."""
        return 1 + (self.buckets or len(self.vocabulary) + self.rare)


@dataclass(frozen=True)
class Cross:
    """Pairs of values of two categories, hashed: what neither of them says alone.

    Args:
        first: A categorical input.
        second: Another one.
        buckets: Number of positions that pairs are hashed into.
    """

    first: str
    second: str
    buckets: int


@dataclass(frozen=True)
class Towers:
    """How the inputs of a `two_tower` model are shared out, and how its vectors meet.

    Args:
        query: Inputs of the query; all others are the item's.
        temperature: What inner products are divided by in the softmax.
        normalised: Whether vectors have length 1, so that an inner product is a cosine.
    """

    query: tuple[str, ...]
    temperature: float = 1.0
    normalised: bool = True


@dataclass(frozen=True)
class ModelSpec:
    """A model of table rows.

    Args:
        kind: `mlp`, `linear` (for each output one weight a numeric input, one a category), `wide_deep` (the sum of both, the linear part with
            crosses of categories; Cheng et al. 2016, "Wide & deep learning for recommender systems"), `two_tower` (an `mlp` makes a vector of the
            query's inputs and another one of the item's), or `module`: a team's own network.
        numeric: Standardised inputs, in order.
        categorical: Embedded inputs, in order.
        hidden: Widths of the hidden layers, of each tower where there are two; empty for `linear`.
        dropout: Share of hidden units that are left out in training.
        output: Column of a binary model's probability; `target` names those of others.
        target: What is predicted.
        module: Of kind `module`, the entry point that makes the network; None: an object of a notebook made it.
        arrays: Standardised inputs of several numbers each, in order.
        crosses: Of kind `wide_deep`.
        towers: Of kind `two_tower`.

    Raises:
        ContractError: The parts do not fit together.

    >>> spec = ModelSpec("linear", (NumericInput("distance", "double", 0.0, 0.0, 1.0),), (CategoricalInput("carrier", "string", ("AA", "UA")),))
    >>> spec.inputs
    (('distance', 'double'), ('carrier', 'string'))
    >>> ModelSpec.from_json(spec.to_json()) == spec
    True
    """

    kind: Literal["mlp", "linear", "wide_deep", "two_tower", "module"]
    numeric: tuple[NumericInput, ...]
    categorical: tuple[CategoricalInput, ...]
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    output: str = "probability"
    target: Target = _BINARY
    module: str | None = None
    arrays: tuple[ArrayInput, ...] = ()
    crosses: tuple[Cross, ...] = ()
    towers: Towers | None = None

    def __post_init__(self) -> None:
        for found, expected in _faults(self):
            raise ContractError(found, expected=expected, mend="correct the model's description")

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """Name and Spark's simple type of each input that training reads, in order."""
        columns: tuple[NumericInput | CategoricalInput | ArrayInput, ...] = (*self.numeric, *self.categorical, *self.arrays)
        return tuple((column.name, column.type) for column in columns)

    @property
    def requested(self) -> tuple[tuple[str, str], ...]:
        """The signature: those of them that a prediction needs; of a `two_tower` model the query's."""
        return self.inputs if self.towers is None else self.tower("query").inputs

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

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """The input behind each number that the network sees."""
        indicators = (column.name for column in self.numeric if column.indicator)
        arrays = (array.name for array in self.arrays for _ in range(len(array.mean) + array.indicator))
        return (*(column.name for column in self.numeric), *indicators, *arrays)

    @property
    def thinned(self) -> tuple[int, ...]:
        """Widths of the layers of which training leaves units out: those of the query's tower, then those of the item's."""
        return self.hidden if self.towers is None else self.hidden * 2

    def tower(self, side: Side) -> ModelSpec:
        """One tower of a `two_tower` model, as an `mlp` whose outputs are the vector before it is normalised."""
        query = set(self.towers.query if self.towers is not None else ())

        def mine(name: str) -> bool:
            return (name in query) == (side == "query")

        return replace(
            self,
            kind="mlp",
            numeric=tuple(column for column in self.numeric if mine(column.name)),
            categorical=tuple(column for column in self.categorical if mine(column.name)),
            arrays=tuple(column for column in self.arrays if mine(column.name)),
            towers=None,
        )

    def to_json(self) -> str:
        """A document that `from_json` reads back exactly."""
        document = asdict(self)
        # A column that needs nothing newer is written as format 1 has it.
        plain = [{name: value for name, value in column.items() if name not in _NEWER_CATEGORY or value} for column in document["categorical"]]
        newer = any(name in column for column in plain for name in _NEWER_CATEGORY)
        document["categorical"] = plain
        document["target"] = {name: value for name, value in document["target"].items() if name not in _NEWER_TARGET or value}
        idle = [name for name, value in _NEWER.items() if getattr(self, name) == value]
        kept = {name: value for name, value in document.items() if name not in idle}
        oldest = len(idle) == len(_NEWER) and self.kind in ("mlp", "linear") and not newer
        return json.dumps({"format": _OLDEST if oldest else FORMAT, **kept}, indent=1, sort_keys=True, allow_nan=False)

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
        crosses = tuple(Cross(**pair) for pair in document.pop("crosses", ()))
        hidden, divided = tuple(document.pop("hidden")), document.pop("towers", None)
        towers = None if divided is None else Towers(**{**divided, "query": tuple(divided["query"])})
        return cls(numeric=numeric, categorical=categorical, arrays=arrays, hidden=hidden, target=target, crosses=crosses, towers=towers, **document)


# Fields that format 1 does not know, with the values that say nothing new.
_NEWER: dict[str, Any] = {"target": _BINARY, "module": None, "arrays": (), "crosses": (), "towers": None}
_NEWER_CATEGORY = ("buckets", "rare")
_NEWER_TARGET = ("items", "counts", "dimension", "top")


def _faults(spec: ModelSpec) -> list[tuple[str, str]]:
    """What does not fit together: (found, expected) of each fault."""
    names = [name for name, _ in spec.inputs]
    roles = ["numeric"] * len(spec.numeric) + ["categorical"] * len(spec.categorical) + ["array"] * len(spec.arrays)
    narrow = all(column.dimension == 1 for column in spec.categorical)
    checks = [
        (spec.kind in (*DEEP, "linear", "module"), f"the kind {spec.kind!r}", "mlp, linear, wide_deep, two_tower or module"),
        (not spec.crosses or spec.kind == "wide_deep", f"crosses in a model of kind {spec.kind}", "none"),
        (all(cross.buckets > 0 for cross in spec.crosses), "a cross without buckets", "1 or more"),
        (spec.module is None or spec.kind == "module", f"module={spec.module!r} in a model of kind {spec.kind}", "none"),
        (bool(names), "a model without inputs", "at least one numeric or categorical input"),
        (len(set(names)) == len(names), f"the inputs {names}", "each column once"),
        (
            bool(spec.hidden) == (spec.kind in DEEP),
            f"hidden={spec.hidden} in a model of kind {spec.kind}",
            "widths for mlp, wide_deep and two_tower, none for others",
        ),
        (all(width > 0 for width in spec.hidden), f"hidden={spec.hidden}", "widths above 0"),
        (0 <= spec.dropout < 1, f"dropout={spec.dropout}", "at least 0 and below 1"),
        (all(column.buckets >= 0 for column in spec.categorical), "a number of buckets below 0", "0 or more"),
        (not any(column.buckets and column.vocabulary for column in spec.categorical), "a vocabulary of hashed values", "one of the two"),
        (all(column.dimension > 0 for column in spec.categorical), "an embedding of width 0", "widths above 0"),
        (spec.kind != "linear" or narrow, "embeddings wider than 1 in a linear model", "width 1"),
    ]
    checks += _tower_checks(spec, names)
    texts = [column.name for column in spec.categorical]
    for cross in spec.crosses:
        fits = cross.first in texts and cross.second in texts and cross.first != cross.second
        checks.append((fits, f"a cross of `{cross.first}` and `{cross.second}`", f"two of the categorical inputs {texts}"))
    for (name, kind), role in zip(spec.inputs, roles, strict=True):
        checks.append((kind in SUPPORTED_TYPES[role], f"{role} input `{name}` of type {kind}", f"{sorted(SUPPORTED_TYPES[role])}"))
    for column in spec.numeric:
        finite = all(map(math.isfinite, (column.fill, column.mean, column.scale)))
        checks.append((finite and column.scale > 0, f"the statistics {column}", "finite ones, scale above 0"))
    for array in spec.arrays:
        fits = len(array.mean) == len(array.scale) > 0 and all(map(math.isfinite, (*array.mean, *array.scale))) and min(array.scale) > 0
        checks.append((fits, f"the statistics of array `{array.name}`", "a mean and a scale above 0 for each element, all finite"))
    return [(found, expected) for fine, found, expected in checks if not fine]


def _tower_checks(spec: ModelSpec, names: Sequence[str]) -> list[tuple[bool, str, str]]:
    if spec.towers is None:
        return [(spec.kind != "two_tower", "a two_tower model without towers", "which inputs are the query's")]
    query = set(spec.towers.query)
    return [
        (spec.kind == "two_tower", f"towers in a model of kind {spec.kind}", "none"),
        (spec.target.task == "retrieval", f"two towers for the task {spec.target.task}", "retrieval"),
        (query < set(names) and bool(query), f"the query's inputs {sorted(query)}", f"some of {list(names)}, and some left for the item"),
        (0 < spec.towers.temperature < math.inf, f"temperature={spec.towers.temperature}", "above 0"),
    ]
