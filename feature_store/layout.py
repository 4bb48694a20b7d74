"""Order of a training set's rows: by a seeded hash of the row's key, cut into files of one row group.

No global sort: a row's hash alone says in which file it lies, the files' row counts say where each
begins, and every file sorts its own rows. The number of files does not change a row's position.
Rows of sites come a site after the other, each in this order, so that no file holds rows of two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from feature_store.names import quote

__all__ = ["MOST_SITES", "ROW_GROUP", "SITE_BITS", "Layout", "SiteLayout", "cell_of", "site_text"]

ROW_GROUP = 256_000  # most rows of a Parquet row group
_FILE = 100_000  # fewest rows of a file, where there are that many; hashes spread them evenly up to twice as many
_BITS = 14
#: Sites of a training set, and bits of the cells of each: together they are counted on the driver.
MOST_SITES = 256
SITE_BITS = 8
_FILE_COLUMN, _ORDER, _TIE = "__file", "__order", "__tie"


def cell_of(order: Column, bits: int = _BITS) -> Column:
    """One of 2^bits equal ranges of a signed 64-bit hash, in the hash's own order; 16,384 of them unless it is said."""
    return (F.shiftright(order, 64 - bits) + F.lit((1 << bits) // 2)).cast("bigint")


def site_text(column: str) -> Column:
    """A site as text: what the log keeps of it."""
    return F.col(quote(column)).cast("string")


@dataclass(frozen=True)
class Layout:
    """Where rows lie.

    Args:
        cells: Number of rows in each cell of the hash; cells without rows may be missing.
        bits: There are 2^bits cells.
    """

    cells: Mapping[int, int]
    bits: int = _BITS

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return sum(self.cells.values())

    @property
    def files(self) -> int:
        """Number of files."""
        return max(1, min(self.rows // _FILE, 1 << self.bits))

    @property
    def offsets(self) -> tuple[int, ...]:
        """Rows before each file.

        >>> Layout({0: 3, 16_383: 4}).offsets
        (0,)
        """
        files = self.files
        sizes = [0] * files
        for cell, rows in self.cells.items():
            sizes[(cell * files) >> self.bits] += rows
        return (0, *accumulate(sizes[:-1]))

    def arrange(self, frame: DataFrame, order: Column, tie: Column) -> DataFrame:
        """Add `row_position`, 0 to n − 1, and lay the rows into files in that order.

        Args:
            order: 64-bit hash of the row's key.
            tie: A second hash, over the whole row, for rows of equal keys; rows equal in both are interchangeable.
        """
        file = F.shiftright(cell_of(F.col(_ORDER), self.bits) * F.lit(self.files), self.bits)
        return _placed(frame.withColumns({_ORDER: order, _TIE: tie}), file, self.offsets).drop(_ORDER, _TIE)


@dataclass(frozen=True)
class SiteLayout:
    """Where rows lie of which each belongs to a site.

    Args:
        column: The site's.
        sites: Where the rows of each site lie among its own, by the site as text, in the order in which sites follow each other.
    """

    column: str
    sites: Mapping[str, Layout]

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return sum(layout.rows for layout in self.sites.values())

    @property
    def offsets(self) -> tuple[int, ...]:
        """Rows before each file, the files of a site together.

        >>> SiteLayout("clinic", {"north": Layout({0: 3}, 8), "south": Layout({9: 4}, 8)}).offsets
        (0, 3)
        """
        before = [0, *accumulate(layout.rows for layout in self.sites.values())]
        return tuple(first + offset for first, layout in zip(before, self.sites.values(), strict=False) for offset in layout.offsets)

    def arrange(self, frame: DataFrame, order: Column, tie: Column) -> DataFrame:
        """As `Layout.arrange`; `row_position` goes on from site to site."""
        files = [layout.files for layout in self.sites.values()]
        firsts = [0, *accumulate(files)]
        site = F.array_position(F.from_json(F.lit(json.dumps(list(self.sites))), "array<string>"), site_text(self.column)).cast("int")
        first, count = F.element_at(_numbers(firsts[:-1]), site), F.element_at(_numbers(files), site)
        file = first + F.shiftright(cell_of(F.col(_ORDER), SITE_BITS) * count, SITE_BITS)
        return _placed(frame.withColumns({_ORDER: order, _TIE: tie}), file, self.offsets, self.column).drop(_ORDER, _TIE)


def _placed(frame: DataFrame, file: Column, offsets: Sequence[int], *partitions: str) -> DataFrame:
    """Rows in their files, each file in order; partitions are constant in a file, and named so that their writer does not sort again."""
    placed = frame.withColumn(_FILE_COLUMN, file.cast("int")).repartitionById(len(offsets), F.col(_FILE_COLUMN))
    number = F.row_number().over(Window.partitionBy(_FILE_COLUMN).orderBy(_ORDER, _TIE))
    offset = F.lit(0) if len(offsets) == 1 else F.element_at(_numbers(offsets), F.col(_FILE_COLUMN) + 1)
    position = (offset + number - 1).cast("bigint")
    return placed.withColumn("row_position", position).sortWithinPartitions(*map(quote, partitions), "row_position").drop(_FILE_COLUMN)


def _numbers(values: Sequence[int]) -> Column:
    """An array of the same numbers in each row."""
    # One literal that Spark folds into an array: a literal for each of thousands of files would swell the plan.
    return F.split(F.lit(",".join(map(str, values))), ",").cast("array<bigint>")
