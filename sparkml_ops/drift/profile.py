"""The profile of a table: the summaries of its columns on fixed edges, by segment and block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession

from feature_store.delta import Tables
from feature_store.records import Snapshot
from feature_store.scan import Scan
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.anchors import chosen_types, fix_edges, with_views
from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.drift.packed import ColumnSummary, PackedStates, PackedSummaries, empty_summary, packed
from sparkml_ops.drift.source import Source, as_source, run
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import (
    CategoryMaker,
    CategorySummary,
    CellMaker,
    Edges,
    Maker,
    NumberEdges,
    Summary,
    merge_packed,
)
from sparkml_ops.summaries.state import TableMaker
from sparkml_ops.summaries.survey import Group, Survey
from sparkml_ops.summaries.views import looking

__all__ = ["Profile", "makers_of", "merge", "profile", "profiles"]

WHOLE: Group = (None, None)


@dataclass(frozen=True, eq=False)
class Profile:
    """Summaries of a table's columns on fixed edges; profiles on the same edges merge exactly.

    Args:
        edges: Of all columns.
        groups: By (segment `name=value` or None, block or None) and column. The whole is (None, None);
            with blocks each segment stands there both by block and together.
    """

    edges: Edges
    groups: Mapping[Group, Mapping[str, ColumnSummary]]

    def __getitem__(self, key: str | tuple[str, str | None]) -> ColumnProfile:
        """The column's profile over all rows, or over a segment: `profile["distance", "origin=JFK"]`."""
        column, segment = key if isinstance(key, tuple) else (key, None)
        if column not in self.edges.columns:
            raise KeyError(f"no column {column!r} in this profile of {sorted(self.edges.columns)[:20]}")
        if (segment, None) not in self.groups:
            raise KeyError(f"no segment {segment!r} in this profile of {self.segments[:20]}")
        return self.column(column, segment)

    def column(self, column: str, segment: str | None = None, block: str | None = None) -> ColumnProfile:
        """The column's profile over a segment and block; over no rows where there is no such group."""
        edges, known = self.edges[column], self.groups.get((segment, block))
        if isinstance(known, PackedStates):
            return ColumnProfile(edges, known.held(column))
        if known is not None:
            return ColumnProfile(edges, known[column])
        return ColumnProfile(edges, empty_summary(self.edges, column, self._limit))

    @property
    def _limit(self) -> int:
        whole = self.groups[WHOLE]
        if isinstance(whole, PackedStates):
            return whole.limit
        return max((state.limit for state in whole.values() if isinstance(state, CategorySummary)), default=0)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.edges.columns)

    @property
    def segments(self) -> list[str]:
        """Segments, `name=value`, sorted."""
        return sorted({segment for segment, _ in self.groups if segment is not None})

    @property
    def rows(self) -> int:
        """Number of rows."""
        return next((self.groups[WHOLE][name].tally.n for name in self.edges.columns), 0)

    def blocks(self, segment: str | None = None) -> list[str]:
        """Blocks of the whole or of a segment, sorted; empty where it was profiled without."""
        return sorted(block for name, block in self.groups if name == segment and block is not None)

    def merge(self, other: Profile) -> Profile:
        """The profile of the rows of both.

        Raises:
            ContractError: They have different edges.
        """
        if self.edges.id != other.edges.id:
            raise ContractError(
                f"profiles on the edges {self.edges.id} and {other.edges.id}",
                expected="the same edges",
                mend="profile the second with edges=first.edges",
            )
        groups = {**other.groups, **self.groups}
        for group in set(self.groups) & set(other.groups):
            first, second = packed(self.groups[group]), packed(other.groups[group])
            both = {name: merge_packed([side[name] for side in (first, second) if name in side]) for name in {**first, **second}}
            groups[group] = PackedStates(both, self.edges, self._limit)
        return Profile(self.edges, groups)

    def to_delta(self, tables: Tables | str, table: str, *, window: str = "all") -> Snapshot:
        """Store the profile in the Delta table `profile_state`, in place of the one with the same table and window.

        Args:
            tables: The tables, or the folder of a warehouse (then the active session writes).
            table: Name of what was profiled: letters, digits and `:._-`.
            window: Label of the rows' window.
        """
        from sparkml_ops.drift.states import to_delta

        return to_delta(self, tables, table, window=window)

    @classmethod
    def from_delta(cls, tables: Tables | str, table: str, *, window: str = "all") -> Profile:
        """Read a stored profile.

        Raises:
            TableNotFound: No profile of this table and window is stored.
        """
        from sparkml_ops.drift.states import from_delta

        return from_delta(tables, table, window=window)

    @classmethod
    def of_states(cls, edges: Edges, states: Mapping[Group, Mapping[str, Summary]], settings: DriftSection) -> Profile:
        """Complete what a pass gave: empty states where no row was, and groups over all their blocks."""
        limit = settings.categories
        groups: dict[Group, Mapping[str, ColumnSummary]] = {WHOLE: PackedStates({}, edges, limit)}
        for segment in {segment for segment, _ in states} | {None}:
            own = {block: packed(columns) for (name, block), columns in states.items() if name == segment}
            groups |= {(segment, block): PackedStates(own[block], edges, limit) for block in sorted(filter(None, own))}
            if own:
                whole = {name: merge_packed(parts) for name in edges.columns if (parts := [part[name] for part in own.values() if name in part])}
                groups[segment, None] = PackedStates(whole, edges, limit)
        return cls(edges, groups)


def profile(
    table_or_frame: DataFrame | Scan | Source | str,
    edges: Edges | None = None,
    *,
    columns: Iterable[str] | None = None,
    segments: Iterable[str] = (),
    blocks: str | None = None,
    settings: DriftSection | None = None,
) -> Profile:
    """Profile the columns of a table in distributed passes; only summaries come to the driver.

    Args:
        table_or_frame: A DataFrame, a pinned scan (read from its files), or a table's name in the session's catalog.
        edges: Edges of an earlier profile, for comparing or merging with it; by default fixed from these rows.
        columns: By default those of `edges`, else all of a known type.
        segments: Columns each of whose values is profiled beside the whole.
        blocks: Column whose rows stay together in inference.
        settings: Numbers of cells and categories.

    Raises:
        ContractError: A column is missing, of another type than the edges were fixed for, or of a type without statistics.
    """
    settings = settings or DriftSection()
    source = as_source(SparkSession.active().table(table_or_frame) if isinstance(table_or_frame, str) else table_or_frame)
    aside = (blocks,) if blocks else ()
    if edges is None:
        edges = fix_edges(source, chosen_types(source.types, None if columns is None else tuple(columns), aside, settings.views), settings)
    elif columns is not None:
        chosen = tuple(columns)
        edges = Edges({name: edges[name] for name in chosen}, {name: edges.types[name] for name in chosen})
    check_types(edges.types, source.types)
    return profiles({"rows": source}, edges, tuple(segments), blocks, settings)["rows"]


def merge(first: Profile, second: Profile) -> Profile:
    """The profile of the rows of both; counts and sums are those of one pass over all rows, bit for bit.

    Raises:
        ContractError: They have different edges.
    """
    return first.merge(second)


def profiles(
    sources: Mapping[str, Source], edges: Edges, segments: tuple[str, ...], blocks: str | None, settings: DriftSection
) -> dict[str, Profile]:
    """Profile some sources on the same edges in one job."""
    makers = makers_of(edges, settings)
    surveys = [(source, Survey(name, makers, segments, blocks, settings.max_segments)) for name, source in sources.items()]
    for source in sources.values():
        chosen_types(source.types, (*segments, *([blocks] if blocks else [])))
    states: dict[str, dict[Group, PackedSummaries]] = {name: {} for name in sources}
    for found in (run(part) for part in _parts(surveys, settings.columns_per_job)):
        for name, groups in found.items():
            for group, columns in groups.items():
                known = states[name].get(group, PackedSummaries({}))
                states[name][group] = PackedSummaries({**known.data, **columns.data})
    return {name: Profile.of_states(edges, states[name], settings) for name in sources}


def _parts(surveys: list[tuple[Source, Survey]], columns: int) -> Iterator[list[tuple[Source, Survey]]]:
    """The same surveys over some columns each: a task holds the states of all columns of its job."""
    names = list(surveys[0][1].makers)
    for start in range(0, len(names), columns):
        chosen = names[start : start + columns]
        yield [(source, replace(survey, makers={name: survey.makers[name] for name in chosen})) for source, survey in surveys]


def makers_of(edges: Edges, settings: DriftSection) -> dict[str, Maker | TableMaker]:
    """What makes the states of each column, and of each view of one."""
    makers: dict[str, Maker] = {
        name: CellMaker(column) if isinstance(column, NumberEdges) else CategoryMaker(column, settings.categories)
        for name, column in edges.columns.items()
    }
    return looking(makers)


def check_types(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuse columns that are missing or have another type.

    Raises:
        ContractError: Naming the column and both types.
    """
    found = with_views(found)
    if absent := [name for name in expected if name not in found]:
        overlap = len(expected) - len(absent)
        raise ContractError(
            f"no column {', '.join(f'`{name}`' for name in absent[:5])} in the current rows"
            + (f": none of the reference's {len(expected)} columns is there, but {sorted(found)[:10]}" if not overlap else ""),
            expected="the reference's columns",
            mend="restore the column, or leave it out" if overlap else "compare what belongs together",
        )
    if odd := [name for name in expected if found[name] != expected[name]]:
        names = "; ".join(f"`{name}` is {expected[name]} in the reference and {found[name]} in the current rows" for name in odd[:5])
        raise ContractError(f"a change of type: {names}", expected="the same types on both sides", mend="cast the column, or leave it out")
