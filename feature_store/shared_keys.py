"""Rows of one part of a training set that have a twin in another: by key, by group, or by all their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

__all__ = ["Shared", "shared_rows"]


@dataclass(frozen=True)
class Shared:
    """Rows of a part whose key stands in the first part as well.

    Args:
        key: What was compared.
        part: The part whose rows are counted.
        rows: Its rows that have a key.
        shared: Those of them whose key stands in the first part.
    """

    key: str
    part: str
    rows: int
    shared: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.shared / self.rows if self.rows else 0.0


def shared_rows(frame: DataFrame, keys: Mapping[str, Sequence[Column]], parts: Sequence[str]) -> tuple[Shared, ...]:
    """Compare each part with the first one, in one job with a shuffle a key; a row for each key reaches the driver.

    Args:
        frame: Rows with `split`.
        keys: Name of a key to its columns; rows with a null in one of them have none.
        parts: All parts, the one that is trained on first.
    """
    if len(parts) < 2 or not keys:
        return ()
    found = reduce(DataFrame.union, [_counted(frame, name, columns, parts) for name, columns in keys.items()]).collect()
    return tuple(_shared(row, number, part) for row in found for number, part in enumerate(parts) if number)


def _shared(row: Row, number: int, part: str) -> Shared:
    return Shared(row["key"], part, int(row[f"rows_{number}"] or 0), int(row[f"shared_{number}"] or 0))


def _counted(frame: DataFrame, name: str, columns: Sequence[Column], parts: Sequence[str]) -> DataFrame:
    named = [column.alias(f"key_{index}") for index, column in enumerate(columns)]
    counts = [F.count_if(F.col("split") == part).alias(f"part_{number}") for number, part in enumerate(parts)]
    aliases = [f"key_{index}" for index in range(len(columns))]
    each = frame.select("split", *named).dropna(subset=aliases).groupBy(*aliases).agg(*counts)
    sums = [
        column
        for number in range(1, len(parts))
        for column in (
            F.sum(f"part_{number}").alias(f"rows_{number}"),
            F.sum(F.when(F.col("part_0") > 0, F.col(f"part_{number}"))).alias(f"shared_{number}"),
        )
    ]
    return each.agg(*sums).select(F.lit(name).alias("key"), "*")
