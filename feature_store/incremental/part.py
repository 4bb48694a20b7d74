"""The touched part of a feature table: computed again from its source, and compared with what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.computation import Computation
from feature_store.contract import check_rows
from feature_store.incremental.region import Bounds, Rows, Windows, within
from feature_store.names import quote
from feature_store.table import FeatureTable
from feature_store.timeline import orderable

__all__ = ["GONE", "Part", "difference", "stretch_rows"]

#: Marks a stored row that is no longer made.
GONE = "__gone"
_BROADCAST = 300_000  # most parts that are sent to every task: some 30 MB


@dataclass(frozen=True)
class Part:
    """Some parts of a table.

    Args:
        now: The table as it shall be.
        stored: The rows that it has.
        region: How it is cut into parts.
        touched: The parts.
        parts: Their number.
        bounds: Event times between which their rows lie.
    """

    now: Computation
    stored: DataFrame
    region: Rows | Windows
    touched: DataFrame
    parts: int
    bounds: Bounds

    def difference(self) -> DataFrame:
        """What is to be merged, as `difference` says; lazy but for the check for doubled rows."""
        return difference(self.now.table, self.made(), self._inside(self.stored))

    def made(self) -> DataFrame:
        """Their rows as they shall be; lazy but for the check for doubled rows."""
        made = self.now.made(self._needed(), self.bounds.stretch)
        if not self.now.table.aggregates:
            check_rows(self.now.table, made, self.now.what)
        return self._inside(made)

    def _inside(self, frame: DataFrame) -> DataFrame:
        near = frame.where(self.bounds.holds(self.now.table.event_time))
        return self.region.inside(near, self.touched, small=self._small)

    def _needed(self) -> DataFrame:
        """The source's rows from which the parts are computed."""
        near = _near(self.now, self.region.source_bounds(self.bounds))
        return _with_versions(self.now, self.region.inside(near, self.region.sources(self.touched), small=self._small))

    @property
    def _small(self) -> bool:
        return self.parts <= _BROADCAST


def stretch_rows(now: Computation, region: Windows, bounds: Bounds) -> DataFrame:
    """All rows of a stretch of time, of every entity, as they shall be and as a table of windows is laid; lazy."""
    return region.laid(now.made(_with_versions(now, _near(now, region.source_bounds(bounds))), bounds.stretch))


def difference(table: FeatureTable, made: DataFrame, stored: DataFrame) -> DataFrame:
    """The stored rows that are no longer made, marked in `__gone`, and the made ones that are not stored as they are; lazy.

    Args:
        table: The feature table.
        made: Rows as they shall be, each identity once.
        stored: Rows as they are.
    """

    def keyed(frame: DataFrame, side: str) -> DataFrame:
        keys = (F.col(quote(name)).alias(f"__{side}_{index}") for index, name in enumerate(table.merge_keys))
        return frame.select(*keys, F.struct(*(F.col(quote(name)) for name in table.columns)).alias(f"__{side}"))

    same = [F.col(f"__new_{index}") == F.col(f"__old_{index}") for index in range(len(table.merge_keys))]
    new, old = F.col("__new"), F.col("__old")
    kinds = {name: made.schema[name].dataType for name in table.columns}
    equal: Column = reduce(
        Column.__and__,
        (orderable(new.getField(name), kind).eqNullSafe(orderable(old.getField(name), kind)) for name, kind in kinds.items()),
        new.isNotNull() & old.isNotNull(),
    )
    either = [
        (F.coalesce(new.getField(name), old.getField(name)) if name in table.merge_keys else new.getField(name)).alias(name) for name in table.columns
    ]
    return keyed(made, "new").join(keyed(stored, "old"), same, "full_outer").where(~equal).select(*either, new.isNull().alias(GONE))


def _near(now: Computation, bounds: Bounds) -> DataFrame:
    """The source's rows of a stretch of time."""
    return now.rows(now.read(bounds.stretch)).where(bounds.holds(now.table.event_time))


def _with_versions(now: Computation, needed: DataFrame) -> DataFrame:
    """Source rows, and beside them all versions of the same ones."""
    table = now.table
    if not (table.aggregates and table.row_id):
        return needed
    # Whether a row counts at an instant is said by its later versions, which may lie anywhere.
    columns = [F.col(quote(name)) for name in table.row_id]
    identified = reduce(Column.__and__, (column.isNotNull() for column in columns))
    ids = needed.where(identified).select(*columns).distinct()
    return within(now.rows(now.read()), ids, columns, table.row_id, small=False).unionByName(needed.where(~identified))
