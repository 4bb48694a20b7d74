"""Row groups of a training set, read and encoded. No torch here: what executors count over the same rows needs none."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.training.plan import POSITION, SPLIT, WEIGHT, Group, Piece, open_parquet, usable
from sparkml_ops.training.weighting import RowWeights

__all__ = ["GroupReader", "Rows"]

_BUDGET = 256 * 1024**2


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
    def bytes(self) -> int:
        """Memory that the rows take."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> Rows:
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def join(cls, parts: Iterable[Rows]) -> Rows:
        """Rows one after the other."""
        whole = list(parts)
        return whole[0] if len(whole) == 1 else cls(*(np.concatenate([getattr(part, field.name) for part in whole]) for field in fields(cls)))


class GroupReader:
    """Reads and encodes the usable rows of row groups.

    Args:
        spec: Inputs and their preprocessing.
        label: Column of the label.
        split: The rows of this split are read.
        dtype: Of numbers, labels and weights.
        weights: How much a row counts; None: all the same.
        budget: Bytes of encoded row groups to keep; others are read again when needed.
    """

    def __init__(
        self, spec: ModelSpec, *, label: str, split: str, dtype: npt.DTypeLike, weights: RowWeights | None = None, budget: int = _BUDGET
    ) -> None:
        self._encoder, self._label, self._split, self._dtype, self._budget = Encoder(spec), label, split, np.dtype(dtype), budget
        self._weights = weights
        own = [WEIGHT] if weights is not None and weights.column else []
        self._columns = list(dict.fromkeys([*(name for name, _ in spec.inputs), label, *own, SPLIT, POSITION]))
        self._kept: OrderedDict[Group, Rows] = OrderedDict()

    def nothing(self) -> Rows:
        """No rows, of the right widths."""
        spec = self._encoder.spec
        numeric, categories = np.empty((0, spec.numeric_width), self._dtype), np.empty((0, len(spec.categorical)), np.int32)
        label = np.empty((0, spec.target.width) if spec.target.task == "multilabel" else 0, self._dtype)
        return Rows(numeric, categories, label, np.empty(0, np.int64), np.empty(0, self._dtype))

    def read(self, piece: Piece) -> Rows:
        """The rows of a piece of a row group."""
        rows = self._kept.pop(piece.group, None)
        if rows is None:
            rows = self.decode(piece.group)
        # Least recently used first: of small data all stays, of large data what the shards are in the middle of.
        self._kept[piece.group] = rows
        while sum(kept.bytes for kept in self._kept.values()) > self._budget:
            self._kept.popitem(last=False)
        return rows[piece.start : piece.stop]

    def decode(self, group: Group) -> Rows:
        """All usable rows of a row group, read now and not kept."""
        with open_parquet(group.path) as file:
            table = file.read_row_group(group.index, columns=self._columns, use_threads=False)
        table = table.filter(usable(table, self._split, self._label)).combine_chunks()
        encoded = self._encoder.encode(table, self._dtype)
        label = self._encoder.spec.target.encode(table.column(self._label)).astype(self._dtype)
        return Rows(encoded.numeric, encoded.categories, label, table.column(POSITION).to_numpy().astype(np.int64), self._weight(table, label))

    def _weight(self, table: pa.Table, label: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._weights is None:
            return np.ones(len(label), self._dtype)
        own = table.column(WEIGHT).to_numpy() if self._weights.column else None
        return self._weights.of(label, own).astype(self._dtype)
