"""Fixing the edges of a table's columns from its reference, by a few distributed passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pyarrow as pa

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.packed import PackedSummaries
from sparkml_ops.drift.source import Source, run
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import (
    CategoryEdges,
    ColumnEdges,
    Edges,
    FrequentMaker,
    FrequentValues,
    Layout,
    PrefixCounts,
    PrefixMaker,
    Summary,
    kind_of,
)
from sparkml_ops.summaries.survey import Survey
from sparkml_ops.summaries.views import looking, views_of

__all__ = ["chosen_types", "fix_edges", "with_views"]

# Bit prefixes of all columns together that a task may hold: 64 MB. Each column gets its share.
_KEYS = 4_000_000
_FEWEST_KEYS = 1 << 14


def chosen_types(
    types: Mapping[str, str], columns: tuple[str, ...] | None, aside: tuple[str, ...] = (), views: tuple[str, ...] = ()
) -> dict[str, str]:
    """The columns to profile and their types; by default all of a known type but those set aside.

    Args:
        types: Of all columns.
        columns: Which; also names of views, as `code (length)`.
        aside: Columns that are left out by default.
        views: Columns whose views come beside.

    Raises:
        ContractError: A column is not there, or its type has no statistics.
    """
    if odd := [f"`{name}` of type {types.get(name)}" for name in views if not views_of(name, types.get(name, ""))]:
        raise ContractError(f"views of {', '.join(odd[:5])}", expected="columns of text or lists", mend="correct drift.views")
    beside = {view: kind for name in views for view, kind in views_of(name, types[name]).items()}
    if columns is None:
        return {name: kind for name, kind in types.items() if kind_of(kind) and name not in aside} | beside
    types = with_views(types)
    if absent := [name for name in columns if name not in types]:
        raise ContractError(
            f"no column {', '.join(f'`{name}`' for name in absent[:5])}", expected=f"columns among {sorted(types)[:20]}", mend="correct drift.columns"
        )
    if odd := [f"`{name}` of type {types[name]}" for name in columns if not kind_of(types[name])]:
        raise ContractError(
            f"{', '.join(odd[:5])}", expected="numbers, dates, timestamps, booleans or text", mend="leave the column out, or flatten it"
        )
    return {name: types[name] for name in columns} | beside


def with_views(types: Mapping[str, str]) -> dict[str, str]:
    """Types of all columns and of all their views."""
    found = {view: kind for name, type_name in types.items() for view, kind in views_of(name, type_name).items()}
    return found | dict(types)


def fix_edges(source: Source, types: Mapping[str, str], settings: DriftSection) -> Edges:
    """Edges of some columns from a reference.

    One pass counts the values by their leading bits, as many bits as fit, and the categories.
    Where the deciles are not known exactly then, further passes look into the ranges that hold
    them (usually one, at most six).

    Args:
        source: The reference's rows.
        types: Spark type by column.
        settings: Number of cells and categories.
    """
    names = list(types)
    # Each column needs some prefixes; a task holds those of all columns of its job.
    parts = [names[start : start + _KEYS // _FEWEST_KEYS] for start in range(0, len(names), _KEYS // _FEWEST_KEYS)]
    fixed = [_fixed(source, {name: types[name] for name in part}, settings) for part in parts]
    return Edges({name: edges for part in fixed for name, edges in part.items()}, dict(types))


def _fixed(source: Source, types: Mapping[str, str], settings: DriftSection) -> dict[str, ColumnEdges]:
    limit = max(_FEWEST_KEYS, _KEYS // len(types))
    numbers = {name for name, kind in types.items() if kind_of(kind) == "number"}
    first = _pass(source, {name: PrefixMaker(limit) if name in numbers else FrequentMaker(settings.categories) for name in types})
    layouts = _resolve(source, {name: Layout.of(cast("PrefixCounts", first[name])) for name in numbers}, limit, settings.cells)
    edges: dict[str, ColumnEdges] = {}
    for name in types:
        edges[name] = layouts[name].edges(settings.cells) if name in numbers else _categories(cast("FrequentValues", first[name]), settings)
    return edges


def _resolve(source: Source, layouts: dict[str, Layout], limit: int, cells: int) -> dict[str, Layout]:
    """Look into the ranges that hold a decile, all columns in one pass, until each decile is one value."""
    heavy = {name: layout.heavy(cells) for name, layout in layouts.items()}
    while open_ranges := {name: mask for name, layout in layouts.items() if (mask := layout.unresolved()).any()}:
        # Ranges too heavy for a cell ride along once; they never need a pass of their own.
        targets = {name: mask | heavy[name] if heavy else mask for name, mask in open_ranges.items()}
        makers = {name: PrefixMaker(limit, layouts[name].lower[mask], layouts[name].upper[mask]) for name, mask in targets.items()}
        finer = _pass(source, makers)
        layouts = layouts | {name: layouts[name].refined(mask, cast("PrefixCounts", finer[name])) for name, mask in targets.items()}
        heavy = {}
    return layouts


def _pass(source: Source, makers: Mapping[str, PrefixMaker | FrequentMaker]) -> dict[str, Summary]:
    states = run([(source, Survey("reference", looking(makers)))])["reference"].get((None, None), PackedSummaries({}))
    return {
        name: states.get(name) or maker(pa.array([], pa.float64() if isinstance(maker, PrefixMaker) else pa.string()))
        for name, maker in makers.items()
    }


def _categories(state: FrequentValues, settings: DriftSection) -> CategoryEdges:
    if state.error:
        return CategoryEdges(state.top(settings.top_categories), complete=False)
    return CategoryEdges(state.top(settings.categories))
