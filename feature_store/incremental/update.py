"""One incremental refresh: what changed, what that touches, and one commit that makes just that part new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from feature_store.computation import Computation, epoch_micros
from feature_store.contract import tally_identities
from feature_store.delta import Commit, Transaction
from feature_store.delta.changes import files_between, row_count
from feature_store.incremental.changes import WEIGHT, Changes, known_after, later_than
from feature_store.incremental.part import GONE, Part, stretch_rows
from feature_store.incremental.region import FILE_ROWS, SINCE, Bounds, Reach, Rows, Windows, region_of
from feature_store.names import quote
from feature_store.scan import newest_instant

__all__ = ["DENSE", "MOST", "Update"]

#: Largest share of a table that is computed again; above it the whole table costs less.
MOST = 0.5
#: Touched parts for each file of the stretch of time they lie in, from which nearly each of these would be written again by a merge.
DENSE = 4


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
        if (rows := self._apart()) is not None:
            return self._appended(rows, inputs, transaction)
        # Read several times from here on, while a feed is read and netted once. It lives as long as this frame does.
        changed = self._changes.held
        came = F.col(WEIGHT) > 0
        region = region_of(self.now.table)
        also = {"changed": F.count("*"), "used": F.max(F.when(came, self.now.known())), **(region.reached() if isinstance(region, Windows) else {})}
        found = self.now.check(changed, came, also)
        name, tables = self.now.table.table_name, self.now.tables
        if not found["changed"] and self._changes.version == self.now.source.version:
            return Commit(tables.newest(name), self.recorded, fresh=False)
        details = self._details(inputs, found["used"])
        if not found["changed"]:
            return tables.append(name, self._stored.limit(0), transaction=transaction, details=details)
        return self._made_new(changed, region, found, details, transaction)

    def _made_new(
        self, changed: DataFrame, region: Rows | Windows, found: Row, details: Mapping[str, Any], transaction: Transaction
    ) -> Commit | None:
        """What changed rows touch, in one commit; None: that is most of the table."""
        part = None
        reach = region.reach_of(found) if isinstance(region, Windows) and not self.now.table.row_id else None
        if reach is None:
            part = self._part(changed, region)
            if part is None:
                return None
            reach = Reach(part.bounds, part.parts)
        if isinstance(region, Windows) and (share := self._dense(reach)) is not None:
            return None if share > MOST else self._replaced(region, reach.bounds, details, transaction)
        part = part or self._part(changed, region, reach.bounds)
        if part is None:
            return None
        part = replace(part, touched=part.touched.localCheckpoint())
        return self._merged(part, details, transaction, only_came=found["rows"] == found["changed"])

    def _apart(self) -> DataFrame | None:
        """The source rows that came, where nothing else happened and no other row of the source lies in their stretch of time; else None.

        In a table of single rows the rows that these make are then all that is new, and none of them can be there already.
        """
        changes, now = self._changes, self.now
        if now.table.aggregates or not changes.complete or changes.came is None or now.tables.newest(now.table.table_name).version != self.base:
            return None
        paths = now.files.added_since(changes.version) or frozenset()
        stretch = now.files.span(paths, now.table.event_time)
        return changes.came if stretch is not None and now.files.near(now.table.event_time, *stretch) == paths else None

    def _appended(self, rows: DataFrame, inputs: Mapping[str, Any], transaction: Transaction) -> Commit:
        """What source rows make, added as it is."""
        made = self.now.made(self.now.rows(rows))
        found = tally_identities(self.now.table, made, self.now.what, {"used": F.max(self.now.known())})
        return self.now.tables.append(self.now.table.table_name, made, transaction=transaction, details=self._details(inputs, found["used"]))

    def _details(self, inputs: Mapping[str, Any], used: int | None) -> dict[str, Any]:
        """What the commit says of itself."""
        return {"kind": "refresh", **inputs, **self._known(used), "base": self.base}

    def _dense(self, reach: Reach) -> float | None:
        """Share of the table in the stretch that is reached, where writing all of it anew costs less than to merge parts of it; else None.

        A merge finds and copies each row of a file of which one row changes, which costs more than to make it. Rows that a feed
        would tell of, or that have columns which are not made, are left to the merge.
        """
        tables, table, stored = self.now.tables, self.now.table, row_count(self.now.tables, self.now.table.table_name, self.base)
        if not stored or tables.keeps_feed(table.table_name) or set(tables.columns(table.table_name)) != set(table.columns):
            return None
        near = files_between(tables, table.table_name, self.base, table.event_time, *reach.bounds.stretch)
        if near is None or reach.parts < DENSE * near[0]:
            return None
        return near[1] / stored

    def _replaced(self, region: Windows, bounds: Bounds, details: Mapping[str, Any], transaction: Transaction) -> Commit:
        """All rows of a stretch of time, anew."""
        table = self.now.table
        between = (table.event_time, *bounds.stretch)
        made = stretch_rows(self.now, region, bounds)
        return self.now.tables.replace_stretch(table.table_name, made, between, transaction=transaction, details=details, file_rows=FILE_ROWS)

    def _merged(self, part: Part, details: Mapping[str, Any], transaction: Transaction, *, only_came: bool) -> Commit:
        """A part's rows, and no other.

        Args:
            only_came: Whether source rows came and none went. Then no row of the table goes, and what is made needs no comparison
                before the merge, which finds equal rows itself.
        """
        tables, table = self.now.tables, self.now.table
        if only_came and not table.aggregates and tables.newest(table.table_name).version == self.base:
            # A stored row of the same identity would have been found as a double; one that others have written is for the merge.
            return tables.append(table.table_name, part.made(), transaction=transaction, details=details)
        bounds = (table.event_time, *part.bounds.stretch)
        rows, gone = (part.made(), None) if only_came and not table.row_id else (part.difference(), GONE)
        return tables.merge(table.table_name, rows, table.merge_keys, details=details, transaction=transaction, gone=gone, between=bounds)

    @cached_property
    def _changes(self) -> Changes:
        as_of = epoch_micros(datetime.fromisoformat(self.recorded["as_of"]))
        return Changes(self.now, int(self.recorded["sources"][self.now.source.table]), as_of, bool(self.recorded.get("complete")))

    @property
    def _stored(self) -> DataFrame:
        return self.now.tables.read(self.now.table.table_name, self.base)

    def _known(self, used: int | None) -> dict[str, Any]:
        """The last known time of a row in the table (or a later one, of a row that is gone since), and whether the source has later ones."""
        before = self.recorded.get("used_until")
        return {
            "used_until": max((instant for instant in (before, used) if instant is not None), default=None),
            "complete": self._complete(),
            "as_of": self.now.as_of.isoformat(),
        }

    def _complete(self) -> bool:
        """Whether no row of the source becomes known later; by its statistics where these tell."""
        source, now = self.now.source, epoch_micros(self.now.as_of)
        timing, delay = known_after(self.now.table)
        last = newest_instant(self.now.tables, source.table, timing, source.version) if timing in self.now.tables.columns(source.table) else None
        # They are cut off to the millisecond.
        if last is not None and epoch_micros(last) + 1_000 + delay <= now:
            return True
        return self.now.transformed(self.now.read()).where(later_than(self.now, now)).isEmpty()

    def _part(self, changed: DataFrame, region: Rows | Windows, within: Bounds | None = None) -> Part | None:
        """What the changed rows touch, unless that is most of the table.

        Args:
            within: What is known of where all of it lies.
        """
        table = self.now.table
        rows = self._with_versions(changed) if table.aggregates and table.row_id else changed
        touched = region.touched(rows)
        if rows is not changed:
            # That read the whole source.
            touched = touched.localCheckpoint()
        start, end = region.bounds()
        found = touched.agg(F.count("*").alias("parts"), start.alias("start"), end.alias("end")).first()
        assert found is not None
        stored = row_count(self.now.tables, table.table_name, self.base)
        if stored is not None and region.rows_in(found["parts"]) > MOST * stored:
            return None
        bounds = within or Bounds(found["start"] or 0, found["end"] or 0)
        return Part(self.now, self._stored, region, touched, found["parts"], bounds)

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
