"""A feature table brought up to its source, as of an instant: by what changed, or as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.computation import Computation, epoch_micros
from feature_store.contract import check_schema
from feature_store.delta import Commit, Transaction
from feature_store.delta.changes import LastWrite, is_lost, last_write
from feature_store.errors import ConflictError, ContractError
from feature_store.incremental.part import GONE, difference
from feature_store.incremental.plan import RefreshPlan, decide, inputs_of, may_be_large, same_inputs, written
from feature_store.incremental.region import FILE_ROWS, Windows
from feature_store.incremental.update import Update
from feature_store.names import quote
from feature_store.pii import without_statistics
from feature_store.quality.checked import QUALITY, Checked, checked
from feature_store.records import Snapshot
from feature_store.transform import Derived

__all__ = ["Refresh"]

_ATTEMPTS = 4
_ZONE = "spark.sql.session.timeZone"


@dataclass(frozen=True)
class Refresh:
    """A refresh of one table from one pinned version of its source.

    Args:
        now: The table as it shall be.
    """

    now: Computation

    def plan(self) -> RefreshPlan:
        """What `run` would do, without a Spark job."""
        return decide(self.now.tables, self.now.table, self.now.source, self.now.as_of, written(self.now.tables, self.now.table))

    def run(self, *, force: bool = False) -> Snapshot:
        """Bring the table up to its source in one commit, unless its rows would be the same.

        Args:
            force: Compute and write the whole table even then.

        Raises:
            ContractError: Source rows that break the table's contract; nothing was written.
            ConflictError: Other writers were first, again and again; what they wrote stands.
        """
        refresh = self
        for _ in range(_ATTEMPTS):
            found = refresh._attempt(force=force)
            if found is not None:
                return found
            # Somebody else was first, perhaps with a newer version of the source.
            refresh = Refresh(replace(self.now, source=self.now.tables.newest(self.now.source.table)))
        raise ConflictError(f"{_ATTEMPTS} other writes to `{self._name}` during its refresh", mend="run the refresh again")

    def backfill(self, start: datetime, end: datetime) -> Snapshot:
        """Compute the rows with event time in [start, end) again, in one commit; the others stay as they are."""
        if end <= start:
            raise ContractError(f"a range from {start} to {end}", expected="a start before its end", mend="swap them")
        used, _ = self._known_bounds()
        details = {"kind": "backfill", **self._inputs, "used_until": used, "range": [_text(start), _text(end)]}
        unit = f"backfill {_text(start)} {_text(end)}"
        frame = self.now.frame().where(self._between(start, end))
        if not self.now.tables.exists(self._name):
            return self._overwrite(self._judged(frame, unit, whole=False), details, None).snapshot
        if {key: value for key, value in self.now.tables.details(self._name).details.items() if key != QUALITY} == details:
            return self.now.tables.newest(self._name)
        without_statistics(self.now.tables, self._name, frame.schema, self.now.table.pii)
        base = self.now.tables.newest(self._name).version
        stored = self.now.tables.read(self._name, base)
        check_schema(self.now.table, stored, f"the stored rows of `{self._name}`")
        fresh = self._judged(frame, unit, whole=False, beside=stored.where(~self._between(start, end)))
        differing = difference(self.now.table, fresh.rows, stored.where(self._between(start, end)))
        bounds = (self.now.table.event_time, epoch_micros(start), epoch_micros(end))
        # Rows that were kept apart count by their own transaction, of which a commit has one.
        once = fresh.transaction or self._transaction(base)
        written_as = {**details, **fresh.details}
        commit = self.now.tables.merge(
            self._name, differing, self.now.table.merge_keys, details=written_as, transaction=once, gone=GONE, between=bounds
        )
        if not commit.fresh:
            raise ConflictError(f"another write to `{self._name}` during its backfill", mend="run the backfill again")
        return commit.snapshot

    @property
    def _name(self) -> str:
        return self.now.table.table_name

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        return inputs_of(self.now.tables, self.now.table, self.now.source)

    def _transaction(self, base: int) -> Transaction:
        """Of the writers that start from one version of the table one lands."""
        return Transaction(f"refresh:{self._name}", base + 1)

    def _attempt(self, *, force: bool) -> Snapshot | None:
        """The table's version that holds the refresh; None where another writer was first."""
        last = written(self.now.tables, self.now.table)
        plan = decide(self.now.tables, self.now.table, self.now.source, self.now.as_of, last)
        if plan.kind == "nothing" and not force:
            assert last is not None
            return Snapshot(self._name, last.version)
        try:
            commit = self._update(last) if last and plan.kind == "incremental" and not force else None
            if commit is not None:
                return self._standing(commit, last)
            commit = self._rebuild(last, force=force)
        except Exception:
            if last is not None and self.now.tables.newest(self._name).version > last.version:
                return None
            raise
        return commit.snapshot if commit.fresh or last is None or commit.snapshot.version == last.version else None

    def _standing(self, commit: Commit, last: LastWrite | None) -> Snapshot | None:
        """A merge's version, unless its rows were computed from another state of the table than the one that it met."""
        assert last is not None
        if not commit.fresh:
            return commit.snapshot if commit.snapshot.version == last.version else None
        met = commit.snapshot.version == last.version + 1 or not last_write(self.now.tables, self._name).stranger
        return commit.snapshot if met else None

    def _update(self, last: LastWrite) -> Commit | None:
        """The incremental refresh; None where the table is to be rebuilt after all."""
        zoned = isinstance(self.now.table.transform, Derived) or any(item.where is not None for item in self.now.table.aggregates)
        # `hour(at)` is another one in another zone.
        if zoned and last.details.get("zone", self._zone) != self._zone:
            return None
        try:
            update = Update(self.now, last.details, last.version)
            return update.run({**self._inputs, "zone": self._zone}, self._transaction(last.version))
        except Exception as error:
            if is_lost(error):
                return None
            raise

    def _rebuild(self, last: LastWrite | None, *, force: bool) -> Commit:
        known = last is not None and last.details.get("kind") == "refresh" and not last.stranger
        recorded: Mapping[str, Any] = last.details if last is not None and known else {}
        used, newest = self._known_bounds()
        inputs = {**self._inputs, "used_until": used}
        if recorded and not force and same_inputs(recorded, inputs):
            return Commit(self.now.tables.newest(self._name), recorded, fresh=False)
        details = {"kind": "refresh", **inputs, "complete": used == newest, "as_of": _text(self.now.as_of), "zone": self._zone}
        transaction = None if last is None else self._transaction(last.version)
        return self._overwrite(self._judged(self.now.frame(), "refresh", whole=True), details, transaction)

    def _judged(self, frame: DataFrame, unit: str, *, whole: bool, beside: DataFrame | None = None) -> Checked:
        """The rows that may land, by the table's expectations."""
        what = f"the rows of `{self.now.table.name}`"
        return checked(self.now.tables, self.now.table, frame, what=what, as_of=self.now.as_of, unit=unit, whole=whole, beside=beside)

    def _overwrite(self, made: Checked, details: Mapping[str, Any], transaction: Transaction | None) -> Commit:
        without_statistics(self.now.tables, self._name, made.rows.schema, self.now.table.pii, overwritten=True)
        written_as, once = {**details, **made.details}, made.transaction or transaction
        large = self.now.table.aggregates and may_be_large(self.now.tables, self.now.table, self.now.source)
        rows, file_rows = (Windows(self.now.table).laid(made.rows), FILE_ROWS) if large else (made.rows, None)
        return self.now.tables.overwrite(self._name, rows, transaction=once, details=written_as, file_rows=file_rows)

    @property
    def _zone(self) -> str:
        return str(self.now.tables.spark.conf.get(_ZONE))

    def _known_bounds(self) -> tuple[int | None, int | None]:
        """The last known time by `as_of` and the last of all, in microseconds: they tell whether a later `as_of` sees more."""
        made = self.now
        source = made.read()
        timed = source if made.has_times(source) else made.transformed(source)
        if not made.has_times(timed):
            return epoch_micros(self.now.as_of), None
        known = made.known()
        found = timed.agg(F.max(F.when(known <= epoch_micros(self.now.as_of), known)).alias("used"), F.max(known).alias("last")).first()
        assert found is not None
        return found["used"], found["last"]

    def _between(self, start: datetime, end: datetime) -> Column:
        event = F.unix_micros(F.col(quote(self.now.table.event_time)))
        return (event >= epoch_micros(start)) & (event < epoch_micros(end))


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
