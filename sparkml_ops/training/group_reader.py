"""Row groups of a training set, read and encoded. No torch here: what executors count over the same rows needs none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.model.encoder import Encoded, Encoder
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.training.plan import POSITION, SPLIT, WEIGHT, Group, completed, open_parquet, usable
from sparkml_ops.training.weighting import RowWeights

__all__ = ["GroupReader", "Rows"]

_PAGES_ROWS = 8_192
# Of each column chunk at once: many row groups are open together.
_PAGES_BYTES = 16 * 1024


@dataclass(frozen=True)
class Rows:
    """Encoded rows.

    Args:
        numeric: [rows, numbers] of the training's dtype.
        categories: [rows, categories] int32.
        label: [rows] of the training's dtype, as the model's target encodes it; [rows, classes] where several may apply.
        position: [rows] int64 `row_position`.
        weight: [rows] how much a row counts in the loss.
    """

    numeric: npt.NDArray[Any]
    categories: npt.NDArray[np.int32]
    label: npt.NDArray[Any]
    position: npt.NDArray[np.int64]
    weight: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """The parts of all rows, in the order of the fields."""
        return self.numeric, self.categories, self.label, self.position, self.weight

    @property
    def bytes(self) -> int:
        """Memory that the rows take."""
        return sum(column.nbytes for column in self.columns)

    def __getitem__(self, index: slice) -> Rows:
        return Rows(*[column[index] for column in self.columns])

    def gather(self, places: npt.NDArray[np.int64], into: Rows) -> None:
        """Copy the rows of some places, in their order."""
        for column, found in zip(self.columns, into.columns, strict=True):
            # Places are right by construction; to look at them first would take memory of its own.
            np.take(column, places, axis=0, out=found, mode="clip")


class GroupReader:
    """Reads and encodes the usable rows of row groups.

    Args:
        spec: Inputs and their preprocessing.
        label: Column of the label.
        split: The rows of this split are read.
        dtype: Of numbers, labels and weights.
        weights: How much a row counts; None: all the same.
    """

    def __init__(self, spec: ModelSpec, *, label: str, split: str, dtype: npt.DTypeLike, weights: RowWeights | None = None) -> None:
        self._encoder, self._label, self._split, self._dtype, self._weights = Encoder(spec), label, split, np.dtype(dtype), weights
        own = [WEIGHT] if weights is not None and weights.column else []
        self._columns = list(dict.fromkeys([*(name for name, _ in spec.inputs), label, *own, SPLIT, POSITION]))

    def empty(self, rows: int) -> Rows:
        """So many rows that are yet to be filled, of the right widths."""
        spec = self._encoder.spec
        numeric, categories = np.empty((rows, spec.numeric_width), self._dtype), np.empty((rows, len(spec.categorical)), np.int32)
        label = np.empty((rows, spec.target.width) if spec.target.task == "multilabel" else rows, self._dtype)
        return Rows(numeric, categories, label, np.empty(rows, np.int64), np.empty(rows, self._dtype))

    def decode(self, group: Group) -> Rows:
        """All usable rows of a row group."""
        table = self.read(group)
        rows = self.empty(table.num_rows)
        self.fill(rows, table)
        return rows

    def read(self, group: Group) -> pa.Table:
        """The same, not encoded yet."""
        stored = self._stored(group)
        # Mapped, since each byte is read once: a copy into this process costs a fifth of the decoding.
        with open_parquet(group.path, read_dictionary=_texts(stored), memory_map=True, pre_buffer=False) as file:
            return self._usable(file.read_row_group(group.index, columns=stored, use_threads=False), group)

    def pages(self, group: Group) -> Iterator[pa.Table]:
        """The same, some pages at a time."""
        stored = self._stored(group)
        with open_parquet(group.path, read_dictionary=_texts(stored), pre_buffer=False, buffer_size=_PAGES_BYTES) as file:
            for batch in file.iter_batches(_PAGES_ROWS, row_groups=[group.index], columns=stored, use_threads=False):
                yield self._usable(pa.Table.from_batches([batch]), group)

    def fill(self, rows: Rows, table: pa.Table) -> None:
        """Encode usable rows into their place, without a copy between."""
        self._encoder.encode(table, self._dtype, Encoded(rows.numeric, rows.categories))
        rows.label[:] = self._encoder.spec.target.encode(table.column(self._label))
        rows.position[:] = table.column(POSITION).to_numpy()
        rows.weight[:] = self._weight(table, rows.label)

    def _stored(self, group: Group) -> list[str]:
        return [column for column in self._columns if column not in {name for name, *_ in group.constants}]

    def _usable(self, table: pa.Table, group: Group) -> pa.Table:
        table = completed(table, group.constants)
        wanted = usable(table, self._split, self._label)
        table = table.drop_columns([SPLIT])
        return table if pc.all(wanted).as_py() else table.filter(wanted)

    def _weight(self, table: pa.Table, label: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._weights is None:
            return np.ones(len(label), self._dtype)
        own = table.column(WEIGHT).to_numpy() if self._weights.column else None
        return self._weights.of(label, own).astype(self._dtype)


def _texts(stored: Sequence[str]) -> list[str]:
    """What is compared and then dropped is not made into a text for each row."""
    return [SPLIT] if SPLIT in stored else []
