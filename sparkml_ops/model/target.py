"""What a model predicts: how labels become numbers, and how the network's outputs become predictions in the label's own unit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.errors import ContractError

__all__ = ["MOST_CLASSES", "MOST_ITEMS", "TASKS", "Target", "Task"]

Task = Literal["binary", "regression", "count", "quantile", "multiclass", "multilabel", "retrieval"]
TASKS: tuple[str, ...] = get_args(Task)
# More make an identifier, not a class: each costs a column of output and counts by score.
MOST_CLASSES = 1000
# Each worker holds a vector of every item: 64 MiB at 64 numbers of four bytes. Whole numbers up to it are exact in float32 too.
MOST_ITEMS = 1 << 18
Labels: TypeAlias = "pa.Array | pa.ChunkedArray"
Values: TypeAlias = "npt.NDArray[np.float64]"


@dataclass(frozen=True)
class Target:
    """What a model predicts.

    Args:
        task: `binary` (label 0 or 1), `regression`, `count` (whole numbers from 0, a Poisson rate on the log scale), `quantile`, `multiclass`
            (one of several classes), `multilabel` (any of several, the label an array of those that apply) or `retrieval` (which items of a
            catalogue fit a query, the label the item that was seen with it).
        classes: Of `multiclass` and `multilabel`: the train split's values as text, in the order of the outputs.
        type: Spark's type of a class or an item: `string` or `bigint`.
        quantiles: Of `quantile`: rising, in (0, 1).
        mean: Of the train split's label, in its unit; outputs of `regression` and `quantile` count from it, those of `count` are factors of it.
        scale: Deviation of the train split's label, the unit of the outputs of `regression` and `quantile`.
        items: Of `retrieval`: the catalogue as text, in the order in which equal scores are ranked.
        counts: Of `retrieval`: rows of the train split of each item; 0 for one that only other splits have.
        dimension: Of `retrieval`: numbers of a query's or an item's vector.
        top: Of `retrieval`: items that are recommended for a query, fewer where there are fewer.

    Raises:
        ContractError: The parts do not fit together.

    >>> Target("quantile", quantiles=(0.1, 0.5), mean=3.0, scale=2.0).columns
    (('q10', 'double'), ('q50', 'double'))
    >>> Target("regression", mean=3.0, scale=2.0).encode(pa.array([5.0, 2])).tolist()
    [1.0, -0.5]
    """

    task: Task = "binary"
    classes: tuple[str, ...] = ()
    type: str = "string"
    quantiles: tuple[float, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    items: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    dimension: int = 0
    top: int = 0

    def __post_init__(self) -> None:
        for found, expected in _faults(self):
            raise ContractError(found, expected=expected, mend="correct the model's description")

    @property
    def width(self) -> int:
        """Outputs of the network; of `retrieval` those of one tower."""
        return len(self.classes) or len(self.quantiles) or self.dimension or 1

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Name and Spark type of each column of predictions, in order; of a binary model the description names the one."""
        if self.task == "multiclass":
            return (("class", self.type), ("confidence", "double"), *((f"probability_{name}", "double") for name in self._names))
        if self.task == "multilabel":
            return tuple((f"probability_{name}", "double") for name in self._names)
        if self.task == "retrieval":
            return (("items", f"array<{self.type}>"), ("scores", "array<double>"))
        if self.task == "quantile":
            return tuple((f"q{100 * level:.6g}".replace(".", "_"), "double") for level in self.quantiles)
        return (("probability" if self.task == "binary" else "value", "double"),)

    @property
    def _names(self) -> tuple[str, ...]:
        """The classes where all can be names of columns that differ in more than case, else their positions."""
        plain = all(re.fullmatch(r"\w+", name, re.ASCII) for name in self.classes)
        distinct = len({name.lower() for name in self.classes}) == len(self.classes)
        return self.classes if plain and distinct else tuple(map(str, range(len(self.classes))))

    def values(self, label: Labels) -> Values:
        """Labels as numbers of their own unit: [rows]; a class or an item by its position, [rows, classes] of 0 and 1 for `multilabel`.

        Args:
            label: Without nulls, as preprocessing let it pass.
        """
        array = label.combine_chunks() if isinstance(label, pa.ChunkedArray) else label
        if self.task == "multilabel":
            return self._applying(array)
        if self.task in ("multiclass", "retrieval"):
            places = pc.index_in(array.cast(pa.string()), value_set=pa.array(self.classes or self.items, pa.string()))
            return np.asarray(places.to_numpy(zero_copy_only=False), np.float64)
        return np.asarray(array.to_numpy(zero_copy_only=False), np.float64)

    def encode(self, label: Labels) -> Values:
        """Labels as the loss takes them: `values`, standardised where the outputs are."""
        values = self.values(label)
        return (values - self.mean) / self.scale if self.task in ("regression", "quantile") else values

    def decode(self, outputs: npt.NDArray[Any]) -> Values:
        """Predictions from the network's outputs.

        Args:
            outputs: [rows, width].

        Returns:
            [rows, width] float64: probabilities, values in the label's unit, or a vector as it is. Quantiles rise: outputs that cross change places, which
            never raises their loss (Chernozhukov, Fernández-Val & Galichon 2010, "Quantile and probability curves without crossing").
        """
        from scipy.special import expit, softmax  # not for those who only read a description

        values = np.asarray(outputs, np.float64)
        if self.task in ("binary", "multilabel"):
            return np.asarray(expit(values), np.float64)
        if self.task == "retrieval":
            return values
        if self.task == "multiclass":
            return np.asarray(softmax(values, axis=1), np.float64)
        if self.task == "count":
            with np.errstate(over="ignore"):  # infinite, which scoring sets aside
                return np.asarray(self.mean * np.exp(values), np.float64)
        return np.asarray(np.sort(self.mean + self.scale * values, axis=1), np.float64)

    def arrays(self, predicted: Values) -> list[pa.Array]:
        """Predictions as one array for each of `columns`.

        Args:
            predicted: [rows, width] of `decode`; a row of NaN has none.
        """
        each = [pa.array(column, pa.float64()) for column in predicted.T]
        if self.task != "multiclass":
            return each
        absent = np.isnan(predicted).any(axis=1)
        best = np.where(absent, 0, predicted.argmax(axis=1)) if len(predicted) else np.zeros(0, np.int64)
        names = pa.array(self.classes, pa.string()).cast(pa.int64() if self.type == "bigint" else pa.string())
        chosen = predicted[np.arange(len(predicted)), best]
        return [names.take(pa.array(best, mask=absent)), pa.array(chosen, pa.float64()), *each]

    def _applying(self, array: pa.Array) -> Values:
        found = np.zeros((len(array), len(self.classes)))
        rows = pc.list_parent_indices(array).to_numpy()
        names = pc.list_flatten(array).cast(pa.string())
        places = pc.index_in(names, value_set=pa.array(self.classes, pa.string()))
        found[rows, places.to_numpy(zero_copy_only=False).astype(np.int64)] = 1.0
        return found


def _faults(target: Target) -> list[tuple[str, str]]:
    """What does not fit together: (found, expected) of each fault."""
    of_classes = target.task in ("multiclass", "multilabel")
    least = 2 if target.task == "multiclass" else 1
    checks = [
        (target.task in TASKS, f"the task {target.task!r}", f"one of {list(TASKS)}"),
        (not of_classes or least <= len(target.classes) <= MOST_CLASSES, f"{len(target.classes)} classes", f"{least} to {MOST_CLASSES}"),
        (of_classes or not target.classes, f"classes in the task {target.task}", "none"),
        (len(set(target.classes)) == len(target.classes), "a class twice", "each once"),
        (target.type in ("string", "bigint"), f"classes of type {target.type}", "string or bigint"),
        ((target.task == "quantile") == bool(target.quantiles), f"quantiles={target.quantiles}", "levels in the task quantile, none in others"),
        (_rising(target.quantiles), f"quantiles={target.quantiles}", "rising levels between 0 and 1"),
        (math.isfinite(target.mean) and 0 < target.scale < math.inf, f"the statistics {target.mean}, {target.scale}", "finite, scale above 0"),
        (target.task != "count" or target.mean > 0, f"the mean {target.mean} of counts", "above 0"),
        *_catalogue_faults(target),
    ]
    return [(found, expected) for fine, found, expected in checks if not fine]


def _catalogue_faults(target: Target) -> list[tuple[bool, str, str]]:
    if target.task != "retrieval":
        return [(not (target.items or target.counts or target.dimension or target.top), f"items in the task {target.task}", "none")]
    items = len(target.items)
    return [
        (2 <= items <= MOST_ITEMS, f"{items} items", f"2 to {MOST_ITEMS}"),
        (len(set(target.items)) == items == len(target.counts), f"{items} items with {len(target.counts)} counts", "one of each, no item twice"),
        (min(target.counts, default=0) >= 0, "a count below 0", "rows"),
        (target.dimension > 1, f"vectors of {target.dimension} numbers", "2 or more"),
        (target.top > 0, f"top={target.top}", "1 or more"),
    ]


def _rising(levels: Sequence[float]) -> bool:
    return all(low < high for low, high in pairwise((0.0, *levels, 1.0)))
