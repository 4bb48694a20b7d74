"""Making distances exact: ambiguous cells are split by further passes until their values fit the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.bounds import Bounds, Mask, Pair
from sparkml_ops.drift.measures import Entry, Exact, entries_of, pair_of
from sparkml_ops.drift.packed import PackedSummaries
from sparkml_ops.drift.profile import Profile, profiles
from sparkml_ops.drift.source import Source, run
from sparkml_ops.summaries import Edges, Maker, NumberEdges, PrefixCounts, PrefixMaker, Tally
from sparkml_ops.summaries.order import Keys, from_keys, to_keys
from sparkml_ops.summaries.survey import Survey
from sparkml_ops.summaries.views import looking

__all__ = ["make_exact"]

# New cells of a column in one pass: 2.6 MB a state.
_SPLITS = 1 << 16
_ALL = (1 << 62) + 1
_STATISTICS = ("ks", "wasserstein", "cramer_von_mises")


@dataclass(frozen=True)
class _Wish:
    """What shall become exact: distances by entry of the report."""

    ks: frozenset[Entry]
    wasserstein: frozenset[Entry]
    cramer_von_mises: frozenset[Entry] = frozenset()

    @property
    def entries(self) -> frozenset[Entry]:
        """All of them."""
        return self.ks | self.wasserstein | self.cramer_von_mises

    def cells(self, entry: Entry, pair: Pair) -> Mask:
        """Cells of the entry whose values are wanted."""
        wanted = np.zeros(pair.edges.cells, dtype=bool)
        for statistic in _STATISTICS:
            if entry in getattr(self, statistic) and (found := getattr(pair, statistic)()) is not None:
                wanted |= found.ambiguous
        return wanted


def make_exact(
    sources: tuple[Source, Source], both: tuple[Profile, Profile], segments: tuple[str, ...], settings: DriftSection
) -> dict[Entry, Exact]:
    """Exact distances where `exact` asks for them, or where a threshold lies within the bounds.

    Args:
        sources: Rows of the reference and of the current side.
        both: Their profiles.
        segments: Segment columns of the profiles.
        settings: The thresholds, `exact`, and the budget of values.
    """
    wish = _wish(both, settings)
    profiled = both
    while wish.entries:
        cells = _wanted(wish, profiled)
        values = sum(int(np.asarray(side.column(name, segment).counts)[mask].sum()) for (segment, name), mask in cells.items() for side in profiled)
        if values <= settings.exact_budget:
            return _exact(wish, profiled, _fetched(sources, profiled, cells, segments, settings))
        profiled = _split(sources, profiled, cells, segments, settings)
    return {}


def _wish(both: tuple[Profile, Profile], settings: DriftSection) -> _Wish:
    asked: dict[str, set[Entry]] = {"ks": set(), "wasserstein": set()}
    for segment, name in entries_of(*both):
        pair = pair_of(*(side.column(name, segment) for side in both))
        for statistic, entries in asked.items():
            bounds: Bounds | None = getattr(pair, statistic)() if pair else None
            threshold: float | None = getattr(settings.thresholds, statistic)
            if bounds and not bounds.exact and (settings.exact or (threshold is not None and bounds.lower < threshold <= bounds.upper)):
                entries.add((segment, name))
    wish = _Wish(frozenset(asked["ks"]), frozenset(asked["wasserstein"]))
    return replace(wish, cramer_von_mises=_criteria(both, settings.exact_budget // 2)) if settings.exact else wish


def _criteria(both: tuple[Profile, Profile], budget: int) -> frozenset[Entry]:
    """Entries whose Cramér-von Mises statistic becomes exact: it needs nearly all values, which fewer cells would not change."""
    found = set()
    for segment, name in entries_of(*both):
        pair = pair_of(*(side.column(name, segment) for side in both))
        bounds = pair.cramer_von_mises() if pair else None
        if pair is None or bounds is None or bounds.exact:
            continue
        budget -= int((pair.reference.counts + pair.current.counts)[bounds.ambiguous].sum())
        if budget < 0:
            break
        found.add((segment, name))
    return frozenset(found)


def _wanted(wish: _Wish, both: tuple[Profile, Profile]) -> dict[Entry, Mask]:
    result = {}
    for segment, name in sorted(wish.entries, key=str):
        pair = pair_of(*(side.column(name, segment) for side in both))
        if pair is not None and (mask := wish.cells((segment, name), pair)).any():
            result[segment, name] = mask
    return result


def _by_column(cells: Mapping[Entry, Mask]) -> dict[str, Mask]:
    """Cells of a column that any segment wants."""
    result: dict[str, Mask] = {}
    for (_, name), mask in cells.items():
        result[name] = result[name] | mask if name in result else mask
    return result


def _split(
    sources: tuple[Source, Source], both: tuple[Profile, Profile], cells: Mapping[Entry, Mask], segments: tuple[str, ...], settings: DriftSection
) -> tuple[Profile, Profile]:
    """Profile the columns again with their ambiguous cells split into many."""
    edges = both[0].edges
    wanted = _by_column(cells)
    finer = {
        name: _finer(cast("NumberEdges", edges[name]), wanted[name]) if name in wanted else edges[name] for name in {column for _, column in cells}
    }
    found = profiles(
        {"reference": sources[0], "current": sources[1]}, Edges(finer, {name: edges.types[name] for name in finer}), segments, None, settings
    )
    return found["reference"], found["current"]


def _finer(edges: NumberEdges, mask: Mask) -> NumberEdges:
    """Cut cells into equal parts of the total order: geometric where they are wide, equal where they are narrow."""
    low, high = to_keys(edges.left[mask]), to_keys(edges.right[mask])
    parts = np.uint64(max(2, _SPLITS // len(low)))
    step = np.maximum((high - low) // parts, np.uint64(1))
    inner: list[Keys] = [np.arange(start, stop, size, dtype=np.uint64)[1:] for start, stop, size in zip(low, high, step, strict=True)]
    return NumberEdges(np.unique(np.concatenate([edges.values, from_keys(np.concatenate(inner))])), edges.cuts)


def _fetched(
    sources: tuple[Source, Source], both: tuple[Profile, Profile], cells: Mapping[Entry, Mask], segments: tuple[str, ...], settings: DriftSection
) -> dict[Entry, tuple[PrefixCounts, PrefixCounts]]:
    """The values of both sides, with counts, in ambiguous cells."""
    if not cells:
        return {}
    edges = both[0].edges
    makers: dict[str, Maker] = {}
    for name, mask in _by_column(cells).items():
        column = cast("NumberEdges", edges[name])
        makers[name] = PrefixMaker(_ALL, to_keys(column.left[mask]) + np.uint64(1), to_keys(column.right[mask]))
    names = ("reference", "current")
    by_segment = segments if any(segment is not None for segment, _ in cells) else ()
    found = run(
        [(source, Survey(side, looking(makers), by_segment, None, settings.max_segments)) for side, source in zip(names, sources, strict=True)]
    )
    nothing = PrefixCounts.of(Tally(), np.empty(0, dtype=np.uint64), _ALL)
    return {
        (segment, name): cast(
            "tuple[PrefixCounts, PrefixCounts]", tuple(found[side].get((segment, None), PackedSummaries({})).get(name, nothing) for side in names)
        )
        for segment, name in cells
    }


def _exact(wish: _Wish, both: tuple[Profile, Profile], fetched: Mapping[Entry, tuple[PrefixCounts, PrefixCounts]]) -> dict[Entry, Exact]:
    nothing = PrefixCounts.of(Tally(), np.empty(0, dtype=np.uint64), _ALL)
    result = {}
    for segment, name in wish.entries:
        entry = (segment, name)
        pair = pair_of(*(side.column(name, segment) for side in both))
        if pair is None:
            continue
        values = fetched.get(entry, (nothing, nothing))
        result[entry] = Exact(**{name: getattr(pair, name)(values) for name in _STATISTICS if entry in getattr(wish, name)})
    return result
