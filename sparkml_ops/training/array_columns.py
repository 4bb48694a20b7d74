"""Columns of arrays in the one pass of preprocessing: their length, and moments of each element."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Row

from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import vectors

__all__ = ["ArrayMoments", "array_length"]


@dataclass
class ArrayMoments:
    """What a task has seen of its columns of arrays; the arrays themselves are not kept.

    Args:
        types: Column to type.
    """

    types: Mapping[str, str]
    _lengths: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    _means: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    _squares: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch, trained: npt.NDArray[np.bool_], counts: Counter[tuple[str, str | None, str | None]]) -> None:
        """Count lengths and infinite values of all rows, and gaps and moments of those that are trained on."""
        for name, kind in self.types.items():
            lengths = pc.value_counts(pc.list_value_length(batch.column(name)).drop_null()).to_pylist()
            for pair in lengths:
                counts["length", name, str(pair["values"])] += pair["counts"]
            if not lengths:
                counts["missing", name, None] += int(trained.sum())
                continue
            # Where lengths differ the training is refused: there is nothing more to learn from such a column.
            length = self._lengths.setdefault(name, lengths[0]["values"])
            if len(lengths) == 1 and lengths[0]["values"] == length:
                values = vectors(batch, name, kind, length)
                counts["infinite", name, None] += int(np.isinf(values).any(axis=1).sum())
                counts["missing", name, None] += int(np.isnan(values[trained]).any(axis=1).sum())
                self._merge(name, values[trained])

    def _merge(self, name: str, values: npt.NDArray[np.float64]) -> None:
        """Parts of moments merge (Chan et al. 1983), all elements at once."""
        there = np.isfinite(values)
        rows = there.sum(axis=0).astype(np.float64)
        means = np.where(there, values, 0.0).sum(axis=0) / np.maximum(rows, 1)
        squares = (np.where(there, values - means, 0.0) ** 2).sum(axis=0)
        nothing = np.zeros_like(rows)
        before, mean, square = (of.get(name, nothing) for of in (self._rows, self._means, self._squares))
        total = np.maximum(before + rows, 1)
        apart = means - mean
        self._rows[name], self._means[name] = before + rows, mean + apart * rows / total
        self._squares[name] = square + squares + apart**2 * before * rows / total

    def states(self) -> Iterator[tuple[str, str, str, int, float, float]]:
        """Rows of kind `element`: column, element, number, mean and sum of squared deviations."""
        for name, rows in self._rows.items():
            for index, count in enumerate(rows.tolist()):
                yield "element", name, str(index), int(count), float(self._means[name][index]), float(self._squares[name][index])


def array_length(name: str, rows: Iterable[Row]) -> int:
    """The one length of a column's arrays.

    Args:
        name: The column.
        rows: Counts of kind `length`.

    Raises:
        ContractError: There are several, or no element at all.
    """
    found: Sequence[tuple[int, int]] = sorted(((row["rows"], int(row["value"])) for row in rows if row["name"] == name), reverse=True)
    if len(found) > 1:
        told = ", ".join(f"{length} elements in {count} rows" for count, length in found[:5])
        raise ContractError(
            f"arrays of different lengths in `{name}`: {told}", expected="one length", mend="cut or fill them where the feature is built"
        )
    if not found or not found[0][1]:
        raise ContractError(
            f"no value at all in `{name}`", expected="arrays with elements", mend="mend the feature, or take it out of training.numeric"
        )
    return found[0][1]
