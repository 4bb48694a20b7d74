"""The rows that a table does not hold yet."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.names import quote

__all__ = ["unlike"]


def unlike(frame: DataFrame, stored: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The rows that do not stand in the table as they are; lazy.

    Args:
        frame: Rows, all of whose columns the table has.
        stored: The table.
        keys: Columns without nulls that bring equal rows together.
    """
    fresh = frame.select(*(F.col(quote(key)) for key in keys), F.struct(*(F.col(quote(name)) for name in frame.columns)).alias("__fresh"))
    there = stored.select(*(F.col(quote(key)) for key in keys), F.struct(*(F.col(quote(name)) for name in frame.columns)).alias("__there"))
    same = [*(fresh[key] == there[key] for key in keys), F.col("__fresh").eqNullSafe(F.col("__there"))]
    return fresh.join(there, same, "left_anti").select("__fresh.*")
