"""How the rows of a feature table follow from those of its source, as of an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import TimestampType

from feature_store.checks import require_columns
from feature_store.contract import check_rows, check_schema, check_times, tally_rows
from feature_store.delta import Tables
from feature_store.delta.direct import Files
from feature_store.erasure import without_forgotten
from feature_store.names import quote
from feature_store.records import Snapshot
from feature_store.table import FeatureTable
from feature_store.timeline import known_micros, micros
from feature_store.windows import windows_every

__all__ = ["Computation", "epoch_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_micros(instant: datetime) -> int:
    """Microseconds since 1970, UTC.

    >>> epoch_micros(datetime(1970, 1, 2, tzinfo=UTC))
    86400000000
    """
    return micros(instant - _EPOCH)


@dataclass(frozen=True)
class Computation:
    """A declared table over one pinned version of its source.

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

    @property
    def what(self) -> str:
        """Its rows, in messages."""
        return f"the rows of `{self.table.name}` from `{self.source.table}` at version {self.source.version}"

    def frame(self) -> DataFrame:
        """All rows of the table; runs the checks of its contract, and is lazy otherwise."""
        rows = self.rows(self.read())
        if self.table.aggregates:
            self.check(rows)
            return self.made(rows)
        made = self.made(rows)
        check_rows(self.table, made, self.what)
        return made

    def read(self, near: tuple[int, int] | None = None) -> DataFrame:
        """The source's rows, those of forgotten entities left out.

        Args:
            near: Of a half-open stretch of event times in microseconds; rows outside of it may be there too, and are not where the
                files' statistics say so.
        """
        rows = None
        if near is not None and self.tables.warehouse.catalog is None and (paths := self.files.near(self.table.event_time, *near)) is not None:
            rows = self.files.rows(paths)
        return without_forgotten(self.tables, self.tables.read(self.source.table, self.source.version) if rows is None else rows)

    @cached_property
    def files(self) -> Files:
        """The source's files."""
        return Files(self.tables, self.source)

    def rows(self, source: DataFrame) -> DataFrame:
        """What the transform makes of source rows that were known; lazy.

        Raises:
            ContractError: A key or a time is missing, or of a type that cannot be one.
        """
        rows = self.known_rows(self.transformed(self.known_rows(source)))
        times = (self.table.known_time,) if isinstance(self.table.known_time, str) else ()
        require_columns(rows, (*self.table.keys, self.table.event_time, *times, *(self.table.row_id or ())), self.what)
        check_times(self.table, rows.schema, self.what, self.table.known_time)
        return rows

    def check(self, rows: DataFrame, only: Column | None = None, beside: Mapping[str, Column] | None = None) -> Row:
        """Refuse rows without identity or with impossible times, in one job; as `tally_rows`."""
        return tally_rows(self.table, rows, self.what, only, beside)

    def made(self, rows: DataFrame, between: tuple[int, int] | None = None) -> DataFrame:
        """The table's columns: of the rows themselves, or of the windows over them; lazy.

        Args:
            between: Of windows, the half-open stretch of grid instants in microseconds; None: all.
        """
        made = self._windows(rows, between) if self.table.aggregates else rows
        require_columns(made, self.table.columns, self.what)
        # A transform may have given the key its name only now.
        made = without_forgotten(self.tables, made.select(*(F.col(quote(name)) for name in self.table.columns)))
        check_schema(self.table, made, self.what)
        return made

    def transformed(self, frame: DataFrame) -> DataFrame:
        """What the transform makes of a frame."""
        transform = self.table.transform
        return frame if transform is None else transform(frame)  # type: ignore[operator]

    def known_rows(self, frame: DataFrame) -> DataFrame:
        """The rows known by `as_of`; all of them where the frame has no times yet."""
        if not self.has_times(frame):
            return frame
        # A row without a time is kept here, so that the check of the contract counts it.
        return frame.where(F.coalesce(self.known() <= epoch_micros(self.as_of), F.lit(True)))

    def has_times(self, frame: DataFrame) -> bool:
        """Whether a frame has the table's event time, and its known time where that is a column."""
        names = (self.table.event_time, *((self.table.known_time,) if isinstance(self.table.known_time, str) else ()))
        return all(name in frame.columns and isinstance(frame.schema[name].dataType, TimestampType) for name in names)

    def known(self) -> Column:
        """Microseconds at which a row became known."""
        return known_micros(F.unix_micros(F.col(quote(self.table.event_time))), self.table.known_time)

    def _windows(self, rows: DataFrame, between: tuple[int, int] | None) -> DataFrame:
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
            between=between,
        )
