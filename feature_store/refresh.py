"""A feature table computed from its source, as of an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import TimestampType

from feature_store.builders import find_builder
from feature_store.checks import require_columns
from feature_store.contract import check_once, check_rows, check_schema, check_times
from feature_store.delta import Tables
from feature_store.erasure import without_forgotten
from feature_store.errors import ContractError
from feature_store.names import quote
from feature_store.pii import without_statistics
from feature_store.quality.checked import QUALITY, Checked, checked
from feature_store.records import Snapshot
from feature_store.table import FeatureTable
from feature_store.timeline import known_micros, micros
from feature_store.transform import Builder, digest
from feature_store.windows import windows_every

__all__ = ["Refresh"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Refresh:
    """A refresh of one table from one pinned version of its source.

    Args:
        tables: Where both lie.
        table: The declared table; it has a source.
        source: The source's pinned version.
        as_of: Rows that became known later are left out.
    """

    tables: Tables
    table: FeatureTable
    source: Snapshot
    as_of: datetime

    def run(self, *, force: bool = False) -> Snapshot:
        """Overwrite the table in one commit, unless its rows would be the same.

        Args:
            force: Write even then.
        """
        recorded = self._recorded()
        if recorded and not force and self._covers(recorded):
            return self.tables.newest(self.table.table_name)
        used, last = self._known_bounds()
        inputs = {**self._inputs(), "used_until": used}
        if recorded and not force and all(recorded.get(key) == value for key, value in inputs.items()):
            return self.tables.newest(self.table.table_name)
        details = {"kind": "refresh", **inputs, "complete": used == last, "as_of": _text(self.as_of)}
        return self._overwrite(self._judged(self.frame(), "refresh", whole=True), details)

    def backfill(self, start: datetime, end: datetime) -> Snapshot:
        """Replace the rows with event time in [start, end) in one commit; the others stay as they are."""
        used, _ = self._known_bounds()
        details = {"kind": "backfill", **self._inputs(), "used_until": used, "range": [_text(start), _text(end)]}
        name = self.table.table_name
        if not self.tables.exists(name):
            return self._overwrite(self._judged(self.frame().where(self._between(start, end)), "backfill", whole=False), details)
        if {key: value for key, value in self.tables.details(name).details.items() if key != QUALITY} == details:
            return self.tables.newest(name)
        kept = self.tables.read(name)
        check_schema(self.table, kept, f"the stored rows of `{name}`")
        others = kept.where(~self._between(start, end))
        fresh = self._judged(self.frame().where(self._between(start, end)), f"backfill {_text(start)} {_text(end)}", whole=False, beside=others)
        return self._overwrite(replace(fresh, rows=others.unionByName(fresh.rows)), details)

    def _judged(self, frame: DataFrame, unit: str, *, whole: bool, beside: DataFrame | None = None) -> Checked:
        """The rows that may land, by the table's expectations."""
        what = f"the rows of `{self.table.name}`"
        return checked(self.tables, self.table, frame, what=what, as_of=self.as_of, unit=unit, whole=whole, beside=beside)

    def _overwrite(self, made: Checked, details: Mapping[str, Any]) -> Snapshot:
        without_statistics(self.tables, self.table, made.rows.schema)
        written = {**details, **made.details}
        return self.tables.overwrite(self.table.table_name, made.rows, transaction=made.transaction, details=written).snapshot

    def frame(self) -> DataFrame:
        """The table's rows; runs the checks of its contract, and is lazy otherwise."""
        what = f"the rows of `{self.table.name}` from `{self.source.table}` at version {self.source.version}"
        rows = self._known_rows(self._transformed(self._known_rows(self._source())))
        times = (self.table.known_time,) if isinstance(self.table.known_time, str) else ()
        require_columns(rows, (*self.table.keys, self.table.event_time, *times, *(self.table.row_id or ())), what)
        check_times(self.table, rows.schema, what, self.table.known_time)
        check_rows(self.table, rows, what)
        made = self._windows(rows) if self.table.aggregates else rows
        require_columns(made, self.table.columns, what)
        # A transform may have given the key its name only now.
        made = without_forgotten(self.tables, made.select(*(F.col(quote(name)) for name in self.table.columns)))
        check_schema(self.table, made, what)
        if not self.table.aggregates:
            check_once(self.table, made, what)
        return made

    def _overwritten(self, frame: DataFrame, details: Mapping[str, Any]) -> Snapshot:
        without_statistics(self.tables, self.table, frame.schema)
        return self.tables.overwrite(self.table.table_name, frame, details=details).snapshot

    def _windows(self, rows: DataFrame) -> DataFrame:
        table = self.table
        assert table.slide is not None
        return windows_every(
            rows,
            table.aggregates,
            keys=table.keys,
            event_time=table.event_time,
            slide=table.slide,
            known_time=table.known_time,
            row_id=table.row_id,
            closed=table.closed,
        )

    def _source(self) -> DataFrame:
        return without_forgotten(self.tables, self.tables.read(self.source.table, self.source.version))

    def _transformed(self, frame: DataFrame) -> DataFrame:
        transform = self.table.transform
        return frame if transform is None else transform(frame)  # type: ignore[operator]

    def _known_rows(self, frame: DataFrame) -> DataFrame:
        """The rows known by `as_of`; all of them where the frame has no times yet."""
        if not self._has_times(frame):
            return frame
        # A row without a time is kept here, so that the check of the contract counts it.
        return frame.where(F.coalesce(self._known() <= _micros(self.as_of), F.lit(True)))

    def _has_times(self, frame: DataFrame) -> bool:
        names = (self.table.event_time, *((self.table.known_time,) if isinstance(self.table.known_time, str) else ()))
        return all(name in frame.columns and isinstance(frame.schema[name].dataType, TimestampType) for name in names)

    def _known(self) -> Column:
        return known_micros(F.unix_micros(F.col(quote(self.table.event_time))), self.table.known_time)

    def _known_bounds(self) -> tuple[int | None, int | None]:
        """The last known time by `as_of` and the last of all, in microseconds: they tell whether a later `as_of` sees more."""
        source = self._source()
        timed = source if self._has_times(source) else self._transformed(source)
        if not self._has_times(timed):
            return _micros(self.as_of), None
        known = self._known()
        found = timed.agg(F.max(F.when(known <= _micros(self.as_of), known)).alias("used"), F.max(known).alias("last")).first()
        assert found is not None
        return found["used"], found["last"]

    def _inputs(self) -> dict[str, Any]:
        transform = self.table.transform
        code = digest(find_builder(transform.name)) if isinstance(transform, Builder) else None
        return {"definition": self.table.definition_hash, "code": code, "sources": {self.source.table: self.source.version}}

    def _recorded(self) -> Mapping[str, Any] | None:
        """What the table's newest commit says of itself, where a refresh made it."""
        if not self.tables.exists(self.table.table_name):
            return None
        details = self.tables.details(self.table.table_name).details
        return details if details.get("kind") == "refresh" else None

    def _covers(self, recorded: Mapping[str, Any]) -> bool:
        """Whether the recorded refresh used every row of this source version, all known by this `as_of`."""
        same = all(recorded.get(key) == value for key, value in self._inputs().items())
        until = recorded.get("used_until")
        return same and bool(recorded.get("complete")) and (until is None or until <= _micros(self.as_of))

    def _between(self, start: datetime, end: datetime) -> Column:
        if end <= start:
            raise ContractError(f"a range from {start} to {end}", expected="a start before its end", mend="swap them")
        event = F.unix_micros(F.col(quote(self.table.event_time)))
        return (event >= _micros(start)) & (event < _micros(end))


def _micros(instant: datetime) -> int:
    return micros(instant - _EPOCH)


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
