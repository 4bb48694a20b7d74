"""Any summary: what all have in common, and reading one back from its bytes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, Protocol, Self, cast

import pyarrow as pa

from sparkml_ops.errors import ContractError
from sparkml_ops.summaries.category import CategorySummary, FrequentValues
from sparkml_ops.summaries.moments import CoMoments, VectorMoments
from sparkml_ops.summaries.number import NumberSummary
from sparkml_ops.summaries.packing import unpack
from sparkml_ops.summaries.prefix import PrefixCounts
from sparkml_ops.summaries.values import Tally

__all__ = ["Maker", "Summary", "TableMaker", "merge_packed", "unpack_summary"]


class Summary(Protocol):
    """A mergeable state over some rows of a column."""

    @property
    def tally(self) -> Tally:
        """Rows by what they hold."""
        ...

    def merge(self, other: Self) -> Self:
        """The state over the rows of both."""
        ...

    def pack(self) -> bytes:
        """As bytes, without pickle."""
        ...


class Maker(Protocol):
    """Makes the state of an Arrow array; shipped to the executors."""

    def __call__(self, array: pa.Array) -> Any:
        """Summarise one array."""
        ...


class TableMaker(Protocol):
    """Makes the state of several columns together; shipped to the executors."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        ...

    def of_table(self, table: pa.Table) -> Any:
        """Summarise some rows."""
        ...


_KINDS: dict[str, Any] = {
    "cells": NumberSummary,
    "categories": CategorySummary,
    "prefixes": PrefixCounts,
    "frequent": FrequentValues,
    "comoments": CoMoments,
    "vectors": VectorMoments,
}


def unpack_summary(data: bytes) -> Summary:
    """A summary from its bytes.

    Raises:
        ContractError: The bytes hold something else.
    """
    kind, fields = unpack(data)
    if kind not in _KINDS:
        raise ContractError(f"a state of kind {kind!r}", expected=f"one of {sorted(_KINDS)}", mend="read it with the version that wrote it")
    return cast("Summary", _KINDS[kind].of_fields(fields))


def merge_packed(parts: Iterable[bytes]) -> bytes:
    """Merge the bytes of parts, in an order that does not depend on their arrival."""
    ordered = sorted(parts)
    if len(ordered) == 1:
        return ordered[0]
    return reduce(lambda left, right: left.merge(right), map(unpack_summary, ordered)).pack()
