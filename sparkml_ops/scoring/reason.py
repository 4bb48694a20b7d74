"""Why a row is quarantined: a kind from a closed list, and for most kinds what exactly."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

__all__ = ["Reason", "RowReasons"]

_LONGEST = 200


class Reason(StrEnum):
    """Kinds of reasons, in the order in which they are looked for.

    >>> Reason.INFINITE_FEATURE.of("distance")
    'infinite feature: distance'
    """

    NULL_IDENTITY = "null row identity"
    DUPLICATE_IDENTITY = "duplicate row identity"
    NULL_TIME = "null spine time"
    UNCASTABLE = "uncastable value"
    MISSING = "missing value"
    UNSEEN_NULL = "unseen null"
    OUT_OF_RANGE = "value out of range"
    BROKEN = "broken contract"
    INFINITE_FEATURE = "infinite feature"
    MODEL_ERROR = "model error"
    WRONG_LENGTH = "wrong output length"
    NON_FINITE = "non-finite prediction"

    def of(self, detail: str) -> str:
        """The reason of a row: the kind and what exactly, on one line of bounded length."""
        return f"{self.value}: {' '.join(detail.split())[:_LONGEST]}"


class RowReasons:
    """The reasons of a batch's rows; a row keeps its first.

    Args:
        found: Text or null, one a row.

    >>> reasons = RowReasons(pa.array([None, "null row identity"]))
    >>> reasons.add(np.array([True, True]), Reason.NULL_TIME.value)
    >>> reasons.to_arrow().to_pylist()
    ['null spine time', 'null row identity']
    """

    def __init__(self, found: pa.Array) -> None:
        self._open = np.ones(len(found), bool)
        # Most batches have no reason at all: an object a row would cost more than a small model.
        self._values: npt.NDArray[np.object_] | None = None
        if found.null_count < len(found):
            self._values = np.full(len(found), None, object)
            self._values[:] = found.to_pylist()
            self._open = np.asarray(pd.isna(self._values), bool)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open(self) -> npt.NDArray[np.bool_]:
        """[rows] True where there is no reason yet."""
        return self._open

    @property
    def none(self) -> bool:
        """Whether no row has a reason."""
        return self._values is None

    def add(self, rows: npt.NDArray[np.bool_], reason: str) -> None:
        """Give a reason to the rows of a mask."""
        fresh = rows & self._open
        if not fresh.any():
            return
        if self._values is None:
            self._values = np.full(len(self), None, object)
        self._values[fresh] = reason
        self._open = self._open & ~fresh

    def add_at(self, positions: npt.NDArray[np.int64], reason: str) -> None:
        """Give a reason to rows by their positions."""
        if len(positions):
            rows = np.zeros(len(self), bool)
            rows[positions] = True
            self.add(rows, reason)

    def to_arrow(self) -> pa.Array:
        """Text or null, one a row."""
        return pa.nulls(len(self), pa.string()) if self._values is None else pa.array(self._values, pa.string())
