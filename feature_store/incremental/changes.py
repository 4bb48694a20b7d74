"""The rows of a source that differ between two of its versions and instants, as the table's transform makes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.checks import is_plain
from feature_store.computation import Computation
from feature_store.content import row_hash
from feature_store.delta.changes import KIND, feed
from feature_store.erasure import without_forgotten
from feature_store.expressions import columns_of
from feature_store.names import quote
from feature_store.table import FeatureTable
from feature_store.timeline import micros

__all__ = ["WEIGHT", "Changes", "known_after", "later_than"]

#: How many more rows of this kind there are than before; below zero: fewer.
WEIGHT = "__weight"
_HASH = "__hash"


@dataclass(frozen=True)
class Changes:
    """Changes since what a refresh has recorded.

    Args:
        now: The table as it shall be.
        version: The source's version that was read then.
        as_of: The instant as of which it was read, in microseconds.
        complete: Whether all rows of that version were known by then.
    """

    now: Computation
    version: int
    as_of: int
    complete: bool

    @cached_property
    def came(self) -> DataFrame | None:
        """The source rows of the changes, where these are nothing else than rows that came, read from their files; else None."""
        if self.version == self.now.source.version or self.now.tables.warehouse.catalog is not None:
            return None
        paths = self.now.files.added_since(self.version)
        rows = None if paths is None else self.now.files.rows(paths)
        return None if rows is None else without_forgotten(self.now.tables, rows)

    @property
    def held(self) -> DataFrame:
        """`frame`, cheap to read more than once."""
        return self.frame() if self.complete and self.came is not None else self.frame().localCheckpoint()

    def frame(self) -> DataFrame:
        """Identity, times and weight of the rows that came or went and of those that have become known; lazy.

        A row may stand in it though nothing is different in the end, never the other way round.
        """
        parts = [] if self.version == self.now.source.version else [self._net() if self.came is None else self._of(self.came)]
        if not self.complete:
            parts.append(self._known_since())
        return parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])

    @property
    def _identity(self) -> list[str]:
        table = self.now.table
        known = (table.known_time,) if isinstance(table.known_time, str) else ()
        return list(dict.fromkeys((*table.keys, table.event_time, *known, *(table.row_id or ()))))

    def _net(self) -> DataFrame:
        """The feed's rows, those that cancel out left aside: a row that was written again as it was is no change."""
        now = self.now
        rows = now.rows(feed(now.tables, now.source.table, self.version, now.source.version))
        weight = F.when(F.col(KIND).isin("insert", "update_postimage"), F.lit(1)).otherwise(F.lit(-1))
        keyed = rows.select(*map(quote, self._identity), self._hash(rows).alias(_HASH), weight.alias(WEIGHT))
        # Only rows of one identity are compared by their hash, so that a million changes are a million comparisons, not their square.
        net = keyed.groupBy(*map(quote, self._identity), _HASH).agg(F.sum(WEIGHT).alias(WEIGHT))
        return net.where(F.col(WEIGHT) != 0).drop(_HASH)

    def _known_since(self) -> DataFrame:
        return self._of(self.now.read(), later_than(self.now, self.as_of))

    def _of(self, source: DataFrame, where: Column | None = None) -> DataFrame:
        """Source rows that are there now."""
        rows = self.now.rows(source)
        return (rows if where is None else rows.where(where)).select(*map(quote, self._identity), F.lit(1).cast("long").alias(WEIGHT))

    def _hash(self, rows: DataFrame) -> Column:
        """Of the values that the table reads."""
        table = self.now.table
        if table.aggregates:
            conditions = [item.where for item in table.aggregates if isinstance(item.where, str)]
            read = [*(item.column for item in table.aggregates if item.column), *(name for text in conditions for name in columns_of(text))]
        else:
            read = [feature.name for feature in table.features]
        # In a condition Spark tells no `A` from `a`.
        wanted = {name.lower() for name in read}
        names = [name for name in rows.columns if name.lower() in wanted]
        unlike = {name: F.to_json(F.struct(F.col(quote(name)))) for name in names if not is_plain(rows.schema[name].dataType)}
        return row_hash(rows.withColumns(unlike) if unlike else rows, columns=tuple(names)) if names else F.lit(0).cast("long")


def later_than(now: Computation, instant: int) -> Column:
    """Whether a row became known after an instant, in a form that skips files by their statistics."""
    column, delay = known_after(now.table)
    return F.col(quote(column)) > F.timestamp_micros(F.lit(instant - delay))


def known_after(table: FeatureTable) -> tuple[str, int]:
    """The column that says when a row became known, and how many microseconds after it that was."""
    known = table.known_time
    return (known, 0) if isinstance(known, str) else (table.event_time, 0 if known is None else micros(known))
