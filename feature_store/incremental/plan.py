"""What a refresh would do, and why: from two logs and what the last refresh recorded, without a Spark job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from feature_store.builders import find_builder
from feature_store.computation import epoch_micros
from feature_store.delta import Tables
from feature_store.delta.changes import LastWrite, byte_count, last_write, row_count, span
from feature_store.errors import TableNotFound
from feature_store.incremental.region import region_of
from feature_store.records import Snapshot
from feature_store.table import FeatureTable
from feature_store.transform import Builder, Derived, Function, digest

__all__ = ["FEED", "SMALL", "RefreshPlan", "decide", "inputs_of", "may_be_large", "plan_refresh", "same_inputs", "written"]

#: Largest size of the changes, in sizes of the source. One that was overwritten once has changes of twice its size: the rows that went and those that came.
FEED = 2.5
#: Rows of a table below which computing it as a whole costs less than the jobs that find out what to compute.
SMALL = 1_000_000


@dataclass(frozen=True)
class RefreshPlan:
    """What the next refresh of a table does.

    Args:
        table: The table that holds its rows.
        kind: "nothing", "incremental" (only what the source's changes touch), or "rebuild".
        reason: Why, in words.
        source: The table that it reads.
        since: The source's version that is in the table; None where that is not known.
        until: The source's version that the refresh reads; None where the source is not there yet.
        changed_rows: Rows of the source that differ between the two; None where the log does not tell.

    >>> RefreshPlan("delays", "incremental", "the source changed", "flights", 3, 4, 120).text
    'delays: incremental, flights 3 to 4, 120 changed rows: the source changed'
    """

    table: str
    kind: Literal["nothing", "incremental", "rebuild"]
    reason: str
    source: str
    since: int | None = None
    until: int | None = None
    changed_rows: int | None = None

    @property
    def text(self) -> str:
        """In one line."""
        versions = f", {self.source} {'?' if self.since is None else self.since} to {'?' if self.until is None else self.until}"
        rows = "" if self.changed_rows is None else f", {self.changed_rows} changed rows"
        return f"{self.table}: {self.kind}{versions}{rows}: {self.reason}"


def plan_refresh(tables: Tables, table: FeatureTable, source: str, as_of: datetime) -> RefreshPlan:
    """What a refresh would do now.

    Args:
        table: The declared table.
        source: Name of the table that it reads.
        as_of: As of which instant.
    """
    try:
        pinned = tables.newest(source)
    except TableNotFound:
        return RefreshPlan(table.table_name, "rebuild", f"`{source}` is not there yet", source)
    return decide(tables, table, pinned, as_of, written(tables, table))


def written(tables: Tables, table: FeatureTable) -> LastWrite | None:
    """The newest write of a table; None where it is not there."""
    return last_write(tables, table.table_name) if tables.exists(table.table_name) else None


def decide(tables: Tables, table: FeatureTable, source: Snapshot, as_of: datetime, last: LastWrite | None) -> RefreshPlan:
    """As `plan_refresh`, over a pinned version of the source."""
    return _Decision(tables, table, source, as_of, last).plan()


def inputs_of(tables: Tables, table: FeatureTable, source: Snapshot) -> dict[str, Any]:
    """What decides a table's rows beside the clock."""
    transform = table.transform
    code = digest(find_builder(transform.name)) if isinstance(transform, Builder) else None
    return {"definition": table.definition_hash, "code": code, "sources": {source.table: source.version}, "source_id": tables.identity(source.table)}


def same_inputs(recorded: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
    """Whether a recorded refresh had these inputs; older records name no source's identity."""
    return all(recorded.get(key, value if key == "source_id" else None) == value for key, value in inputs.items())


def may_be_large(tables: Tables, table: FeatureTable, source: Snapshot) -> bool:
    """Whether a table that is written as a whole may have so many rows that the next refresh is incremental; from the logs.

    Args:
        source: What it is made from, for a table that is not there yet: each row in at most all the instants of the longest window.
    """
    if tables.exists(table.table_name):
        rows = row_count(tables, table.table_name, tables.newest(table.table_name).version)
        # It may have grown since.
        return rows is None or 2 * rows >= SMALL
    rows, region = row_count(tables, source.table, source.version), region_of(table)
    return rows is None or region.rows_of(rows) >= SMALL


@dataclass(frozen=True)
class _Decision:
    """The facts of one plan.

    Args:
        last: The newest write of the table; None where it is not there.
    """

    tables: Tables
    table: FeatureTable
    source: Snapshot
    as_of: datetime
    last: LastWrite | None

    def plan(self) -> RefreshPlan:
        inputs = inputs_of(self.tables, self.table, self.source)
        recorded = self.last.details if self.last else {}
        since = recorded.get("sources", {}).get(self.source.table)
        if refusal := self._unrecorded() or self._changed(recorded, inputs, since):
            return self._made("rebuild", refusal, since)
        if same_inputs(recorded, inputs) and recorded.get("complete") and not self._before(recorded.get("used_until")):
            return self._made("nothing", "every row of the source is in the table", since)
        if same_inputs(recorded, inputs) and recorded.get("as_of") == self.as_of.isoformat():
            return self._made("nothing", "the last refresh was as of the same instant", since)
        if refusal := self._not_by_row(recorded) or self._small():
            return self._made("rebuild", refusal, since)
        if since == self.source.version:
            return self._made("incremental", "rows may have become known since the last refresh", since)
        return self._by_feed(since)

    def _by_feed(self, since: int) -> RefreshPlan:
        found = span(self.tables, self.source.table, since, self.source.version)
        if found.refusal:
            return self._made("rebuild", f"of `{self.source.table}` {found.refusal}", since)
        times = found.size / max(byte_count(self.tables, self.source.table, self.source.version), 1)
        if times > FEED:
            return self._made("rebuild", f"the changes of `{self.source.table}` are {times:.1f} times its size", since)
        reason = "only what the changed rows touch" if found.net else "only what differs; rows that were written again as they were do not count"
        return self._made("incremental", reason, since, found.rows if found.net else None)

    def _unrecorded(self) -> str:
        if self.last is None:
            return "the table is not there yet"
        if self.last.stranger:
            return f"its rows may have been changed by {self.last.stranger}"
        kind = self.last.details.get("kind")
        return "" if kind == "refresh" else f"its last write was a {kind}" if kind else "no refresh is recorded in it"

    def _changed(self, recorded: Mapping[str, Any], inputs: Mapping[str, Any], since: int | None) -> str:
        if recorded.get("definition") != inputs["definition"]:
            return "its definition changed"
        if recorded.get("code") != inputs["code"]:
            return "the code of its builder changed"
        if since is None or since > self.source.version or recorded.get("source_id", inputs["source_id"]) != inputs["source_id"]:
            return f"`{self.source.table}` is another table than the one that was read"
        return ""

    def _not_by_row(self, recorded: Mapping[str, Any]) -> str:
        """Why a changed source row does not say which rows of the table it touches, or what becomes of them."""
        if self.table.expectations:
            return "its expectations judge the table as a whole"
        transform = self.table.transform
        if isinstance(transform, Builder | Function):
            return f"its transform `{transform.name}` is a function of all rows"
        # The clock would then be asked of the source's times and of the derived ones.
        times = {self.table.event_time, self.table.known_time} & set(self.tables.columns(self.source.table))
        if isinstance(transform, Derived) and (names := [name for name, _ in transform.pairs if name in times]):
            return f"its transform replaces the source's time `{names[0]}`"
        as_of = recorded.get("as_of")
        if as_of is None or datetime.fromisoformat(as_of) > self.as_of:
            return f"the last refresh was as of {as_of}, which is later"
        return ""

    def _small(self) -> str:
        assert self.last is not None
        rows = row_count(self.tables, self.table.table_name, self.last.version)
        return f"it has {rows} rows, and a table below {SMALL} costs less as a whole" if rows is not None and rows < SMALL else ""

    def _before(self, used: int | None) -> bool:
        """Whether the instant lies before the last row that is in the table."""
        return used is not None and used > epoch_micros(self.as_of)

    def _made(self, kind: Literal["nothing", "incremental", "rebuild"], reason: str, since: int | None, rows: int | None = None) -> RefreshPlan:
        return RefreshPlan(self.table.table_name, kind, reason, self.source.table, since, self.source.version, rows)
