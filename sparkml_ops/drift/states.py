"""Profiles in the Delta table `profile_state`: one row for each window, segment, block and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from feature_store.delta import Commit, Tables, Transaction
from feature_store.names import Warehouse
from feature_store.records import Snapshot
from sparkml_ops.drift.packed import PackedStates
from sparkml_ops.drift.profile import WHOLE, Profile
from sparkml_ops.errors import TableNotFound
from sparkml_ops.summaries import CategorySummary, ColumnEdges, Edges, unpack_edges, unpack_summary
from sparkml_ops.summaries.survey import Group

__all__ = [
    "STATE_TABLE",
    "StateKey",
    "StoredProfile",
    "from_delta",
    "kept_edges",
    "read_profile",
    "read_stored",
    "state_label",
    "to_delta",
    "write_profiles",
]

STATE_TABLE = "profile_state"
_REFERENCE = "reference"
_SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("window", pa.string()),
        ("role", pa.string()),
        ("source", pa.string()),
        ("segment", pa.string()),
        ("block", pa.string()),
        ("column", pa.string()),
        ("type", pa.string()),
        ("edges", pa.string()),
        ("n", pa.int64()),
        ("nulls", pa.int64()),
        ("nan", pa.int64()),
        ("negative_infinite", pa.int64()),
        ("positive_infinite", pa.int64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("state", pa.binary()),
        ("column_edges", pa.binary()),
        ("run_id", pa.string()),
        ("as_of", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class StateKey:
    """Where a profile lies in the table.

    Args:
        table: What was profiled: a table's name, or a project.
        window: Label of the window, or of the reference.
        role: `reference` where its edges anchor later profiles, else `window`.
    """

    table: str
    window: str
    role: str = "window"


@dataclass(frozen=True)
class StoredProfile:
    """A profile and where it lies.

    Args:
        source: What it was made of, as people read it.
    """

    key: StateKey
    profile: Profile
    source: str = ""


def state_label(window: str, slot: str) -> str:
    """Names a window's profile in `profile_state`: the window, and the slot where that is not the champion's.

    >>> state_label("2013-07", "champion"), state_label("2013-07", "shadow")
    ('2013-07', '2013-07.shadow')
    """
    return window if slot == "champion" else f"{window}.{slot}"


def to_delta(profile: Profile, tables: Tables | str, table: str, *, window: str = "all") -> Snapshot:
    """Store a profile in `profile_state`, in place of the one with the same table and window.

    Args:
        profile: What to store.
        tables: The tables, or the folder of a warehouse (then the active session writes).
        table: Name of what was profiled: letters, digits and `:._-`.
        window: Label of the rows' window.
    """
    return write_profiles(_tables(tables), [StoredProfile(StateKey(table, window), profile)]).snapshot


def from_delta(tables: Tables | str, table: str, *, window: str = "all") -> Profile:
    """Read a stored profile.

    Raises:
        TableNotFound: No profile of this table and window is stored.
    """
    found = read_profile(_tables(tables), StateKey(table, window))
    if found is None:
        raise TableNotFound(
            f"no profile of `{table}`, window {window!r}", expected="one that to_delta has stored", mend="profile the rows and store the profile"
        )
    return found


def write_profiles(
    tables: Tables,
    profiles: Sequence[StoredProfile],
    *,
    beside: Sequence[Mapping[str, Any]] = (),
    run_id: str = "",
    as_of: datetime | None = None,
    transaction: Transaction | None = None,
) -> Commit:
    """Store profiles of one table, each in place of the one with the same key, in one commit.

    Args:
        beside: Rows of other states of the same windows, as the sketches of distinct values.
    """
    known = as_of or datetime.now(UTC)
    rows = [
        {**asdict(stored.key), "source": stored.source, "run_id": run_id, "as_of": known, **row}
        for stored in profiles
        for row in _rows(stored.profile)
    ]
    rows += [{"table": profiles[0].key.table, "run_id": run_id, "as_of": known, **row} for row in beside]
    where = {"table": profiles[0].key.table, "window": [stored.key.window for stored in profiles]}
    return tables.put(STATE_TABLE, from_arrow_schema(_SCHEMA), rows, where, transaction=transaction, details={"edges": profiles[0].profile.edges.id})


def read_profile(tables: Tables, key: StateKey) -> Profile | None:
    """A stored profile; None where there is none."""
    found = read_stored(tables, key)
    return None if found is None else found.profile


def read_stored(tables: Tables, key: StateKey) -> StoredProfile | None:
    """A stored profile with what it was made of; None where there is none. Needs no Spark where the warehouse is a folder."""
    if not tables.exists(STATE_TABLE):
        return None
    # Rows without edges are other states of the window, such as its sketches of distinct values.
    rows = [row for row in tables.rows(STATE_TABLE, {"table": key.table, "window": key.window}) if row["edges"]]
    whole = [row for row in rows if (row["segment"], row["block"]) == ("", "")]
    if not whole:
        return None
    edges = Edges({row["column"]: unpack_edges(row["column_edges"]) for row in whole}, {row["column"]: row["type"] for row in whole})
    groups: dict[Group, dict[str, bytes]] = {}
    for row in rows:
        groups.setdefault((row["segment"] or None, row["block"] or None), {})[row["column"]] = row["state"]
    limit = max((state.limit for row in whole if isinstance(state := unpack_summary(row["state"]), CategorySummary)), default=0)
    return StoredProfile(key, Profile(edges, {group: PackedStates(states, edges, limit) for group, states in groups.items()}), whole[0]["source"])


def kept_edges(tables: Tables, table: str, types: Mapping[str, str]) -> dict[str, ColumnEdges]:
    """Edges that earlier references have fixed, of the columns whose type is still the same; renewed ones in place of older ones."""
    if not tables.exists(STATE_TABLE):
        return {}
    rows = tables.rows(STATE_TABLE, {"table": table, "role": _REFERENCE, "segment": "", "block": ""})
    oldest_first = sorted(rows, key=lambda row: (row["as_of"], row["window"]))
    return {row["column"]: unpack_edges(row["column_edges"]) for row in oldest_first if types.get(row["column"]) == row["type"]}


def _rows(profile: Profile) -> list[dict[str, Any]]:
    result = []
    for group, columns in profile.groups.items():
        for name in columns:
            held = profile.column(name, *group)
            view = held.opened()
            tally = view.tally
            result.append(
                {
                    "segment": group[0] or "",
                    "block": group[1] or "",
                    "column": name,
                    "type": profile.edges.types[name],
                    "edges": profile.edges[name].id,
                    "n": tally.n,
                    "nulls": tally.nulls,
                    "nan": tally.nan,
                    "negative_infinite": tally.negative,
                    "positive_infinite": tally.positive,
                    "min": view.min,
                    "max": view.max,
                    "state": held.pack(),
                    "column_edges": profile.edges[name].pack() if group == WHOLE else None,
                }
            )
    return result


def _tables(tables: Tables | str) -> Tables:
    return Tables(SparkSession.active(), Warehouse(root=tables)) if isinstance(tables, str) else tables
