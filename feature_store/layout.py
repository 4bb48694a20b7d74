"""Order of a training set's rows: by a seeded hash of the row's key, cut into files of one row group.

No global sort: a row's hash alone says in which file it lies, the files' row counts say where each
begins, and every file sorts its own rows. The number of files does not change a row's position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

__all__ = ["ROW_GROUP", "Layout", "cell_of"]

ROW_GROUP = 256_000  # most rows of a Parquet row group
_FILE = 100_000  # fewest rows of a file, where there are that many; hashes spread them evenly up to twice as many
_BITS = 14
_CELLS = 16_384
_FILE_COLUMN, _ORDER, _TIE = "__file", "__order", "__tie"


def cell_of(order: Column) -> Column:
    """One of 16,384 equal ranges of a signed 64-bit hash, in the hash's own order."""
    return (F.shiftright(order, 64 - _BITS) + F.lit(_CELLS // 2)).cast("bigint")


@dataclass(frozen=True)
class Layout:
    """Where rows lie.

    Args:
        cells: Number of rows in each cell of the hash; cells without rows may be missing.
    """

    cells: Mapping[int, int]

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return sum(self.cells.values())

    @property
    def files(self) -> int:
        """Number of files."""
        return max(1, min(self.rows // _FILE, _CELLS))

    @property
    def offsets(self) -> tuple[int, ...]:
        """Rows before each file.

        >>> Layout({0: 3, 16_383: 4}).offsets
        (0,)
        """
        files = self.files
        sizes = [0] * files
        for cell, rows in self.cells.items():
            sizes[(cell * files) >> _BITS] += rows
        return (0, *accumulate(sizes[:-1]))

    def arrange(self, frame: DataFrame, order: Column, tie: Column) -> DataFrame:
        """Add `row_position`, 0 to n − 1, and lay the rows into files in that order.

        Args:
            order: 64-bit hash of the row's key.
            tie: A second hash, over the whole row, for rows of equal keys; rows equal in both are interchangeable.
        """
        files = self.files
        file = F.shiftright(cell_of(F.col(_ORDER)) * F.lit(files), _BITS).cast("int")
        placed = frame.withColumns({_ORDER: order, _TIE: tie}).withColumn(_FILE_COLUMN, file).repartitionById(files, F.col(_FILE_COLUMN))
        number = F.row_number().over(Window.partitionBy(_FILE_COLUMN).orderBy(_ORDER, _TIE))
        position = (self._offset(F.col(_FILE_COLUMN)) + number - 1).cast("bigint")
        return placed.withColumn("row_position", position).sortWithinPartitions("row_position").drop(_ORDER, _TIE, _FILE_COLUMN)

    def _offset(self, file: Column) -> Column:
        if self.files == 1:
            return F.lit(0)
        # One literal that Spark folds into an array: a literal for each of thousands of files would swell the plan.
        listed = F.split(F.lit(",".join(map(str, self.offsets))), ",").cast("array<bigint>")
        return F.element_at(listed, file + 1)
