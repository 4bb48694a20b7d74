"""Profiles of pandas frames without Spark: the same surveys, run in this process."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pytest

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import DriftReport, Profile, compare_profiles
from sparkml_ops.drift.profile import makers_of
from sparkml_ops.summaries import CategoryEdges, ColumnEdges, Edges, FrequentMaker, Layout, PrefixMaker, kind_of, unpack_summary
from sparkml_ops.summaries.survey import Survey

TYPES = {"f": "double", "i": "bigint", "b": "boolean", "O": "string", "M": "timestamp"}

Profiler = Callable[..., Profile]
Comparer = Callable[..., DriftReport]


def profile_of(frame: pd.DataFrame, edges: Edges | None = None, *, segments: tuple[str, ...] = (), blocks: str | None = None) -> Profile:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    types = {str(name): TYPES[kind.kind] for name, kind in frame.dtypes.items() if name != blocks}
    edges = edges or Edges({name: _edges(table.column(name).combine_chunks(), kind) for name, kind in types.items()}, types)
    settings = DriftSection()
    (batch,) = Survey("side", makers_of(edges, settings), segments, blocks)(table.to_batches())
    states: dict[tuple[str | None, str | None], dict[str, object]] = {}
    for row in batch.to_pylist():
        states.setdefault((row["segment"], row["block"]), {})[row["column"]] = unpack_summary(row["state"])
    return Profile.of_states(edges, states, settings)  # type: ignore[arg-type]


def _edges(array: pa.Array, kind: str) -> ColumnEdges:
    if kind_of(kind) == "number":
        return Layout.of(PrefixMaker(1 << 22)(array)).edges(1020)
    return CategoryEdges(FrequentMaker(10_000)(array).top(10_000))


@pytest.fixture(scope="session")
def profiled() -> Profiler:
    """Profile a pandas frame."""
    return profile_of


@pytest.fixture(scope="session")
def compared() -> Comparer:
    """Compare two pandas frames on the edges of the first."""

    def compare(
        reference: pd.DataFrame,
        current: pd.DataFrame,
        *,
        settings: DriftSection | None = None,
        segments: tuple[str, ...] = (),
        blocks: str | None = None,
    ) -> DriftReport:
        base = profile_of(reference, segments=segments, blocks=blocks)
        return compare_profiles(base, profile_of(current, base.edges, segments=segments, blocks=blocks), settings)

    return compare
