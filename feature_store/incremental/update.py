"""One incremental refresh: what changed, what that touches, and one merge that makes just that part new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.computation import Computation, epoch_micros
from feature_store.delta import Commit, Transaction
from feature_store.delta.changes import row_count
from feature_store.incremental.changes import WEIGHT, Changes, later_than
from feature_store.incremental.part import GONE, Part
from feature_store.incremental.region import SINCE, Bounds, region_of
from feature_store.names import quote

__all__ = ["MOST", "Update"]

#: Largest share of a table that is computed again; above it the whole table costs less.
MOST = 0.5


@dataclass(frozen=True)
class Update:
    """An incremental refresh of one table.

    Args:
        now: The table as it shall be.
        recorded: What the last refresh says of itself.
        base: The table's version that this one starts from.
    """

    now: Computation
    recorded: Mapping[str, Any]
    base: int

    def run(self, inputs: Mapping[str, Any], transaction: Transaction) -> Commit | None:
        """Merge what differs, in one commit, which records the source's version whether or not a row differs.

        Args:
            inputs: What decides the table's rows now, for the record.
            transaction: Lands once for each version that a refresh starts from.

        Returns:
            The commit; not a fresh one where nothing was to be done or another driver did it. None: so much is touched that
            the whole table costs less.

        Raises:
            ContractError: A changed row breaks the table's contract; nothing was written.
        """
        # Read several times from here on, while the feed is read and netted once. It lives as long as this frame does.
        changed = self._changes.frame().localCheckpoint()
        self.now.check(changed.where(F.col(WEIGHT) > 0))
        known = F.when(F.col(WEIGHT) > 0, self.now.known())
        found = changed.agg(F.count("*").alias("rows"), F.max(known).alias("used")).first()
        assert found is not None
        name, tables = self.now.table.table_name, self.now.tables
        if not found["rows"] and self._changes.version == self.now.source.version:
            return Commit(tables.newest(name), self.recorded, fresh=False)
        details = {"kind": "refresh", **inputs, **self._known(found["used"]), "base": self.base}
        if not found["rows"]:
            return tables.append(name, self._stored.limit(0), transaction=transaction, details=details)
        part = self._part(changed)
        if part is None:
            return None
        bounds = (self.now.table.event_time, part.bounds.start, part.bounds.end)
        return tables.merge(name, part.difference(), self.now.table.merge_keys, details=details, transaction=transaction, gone=GONE, between=bounds)

    @property
    def _changes(self) -> Changes:
        as_of = epoch_micros(datetime.fromisoformat(self.recorded["as_of"]))
        return Changes(self.now, int(self.recorded["sources"][self.now.source.table]), as_of, bool(self.recorded.get("complete")))

    @property
    def _stored(self) -> DataFrame:
        return self.now.tables.read(self.now.table.table_name, self.base)

    def _known(self, used: int | None) -> dict[str, Any]:
        """The last known time of a row in the table (or a later one, of a row that is gone since), and whether the source has later ones."""
        before = self.recorded.get("used_until")
        later = self.now.transformed(self.now.read()).where(later_than(self.now, epoch_micros(self.now.as_of)))
        return {
            "used_until": max((instant for instant in (before, used) if instant is not None), default=None),
            "complete": later.isEmpty(),
            "as_of": self.now.as_of.isoformat(),
        }

    def _part(self, changed: DataFrame) -> Part | None:
        """What the changed rows touch, unless that is most of the table."""
        table, region = self.now.table, region_of(self.now.table)
        rows = self._with_versions(changed) if table.aggregates and table.row_id else changed
        touched = region.touched(rows).localCheckpoint()
        start, end = region.bounds()
        found = touched.agg(F.count("*").alias("parts"), start.alias("start"), end.alias("end")).first()
        assert found is not None
        stored = row_count(self.now.tables, table.table_name, self.base)
        if stored is not None and region.rows_in(found["parts"]) > MOST * stored:
            return None
        return Part(self.now, self._stored, region, touched, found["parts"], Bounds(found["start"] or 0, found["end"] or 0))

    def _with_versions(self, changed: DataFrame) -> DataFrame:
        """Beside the changed rows all versions of the same source rows: which of them count may have changed, wherever they belong."""
        row_id = self.now.table.row_id or ()
        named = [F.col(quote(name)).alias(f"__row_{index}") for index, name in enumerate(row_id)]
        ids = changed.dropna(subset=list(row_id)).groupBy(*named).agg(F.min(self.now.known()).alias(SINCE))
        rows = self.now.rows(self.now.read())
        same = [F.col(quote(name)) == F.col(f"__row_{index}") for index, name in enumerate(row_id)]
        columns = [name for name in changed.columns if name != WEIGHT]
        others = rows.join(ids, same, "inner").select(*map(quote, columns), SINCE)
        return others.unionByName(changed.select(*map(quote, columns), F.lit(None).cast("long").alias(SINCE)))
