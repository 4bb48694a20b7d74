"""How many rows satisfy each of many conditions, in one pass.

An aggregate for each condition falls off a cliff: beyond some hundred expressions Spark gives up compiling them. So ten conditions make a word of
ten bits, and equal words are counted: at most 1,024 groups for each ten conditions, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

__all__ = ["Flags", "count_flags"]

_BITS = 10
# Conditions in one generated method: of some more Java's compiler makes no machine code (8,000 bytes), and each costs 120 ns instead of 25.
# Further ones pass over the columns that they read once more, in the same job.
_COMPILED = 20


@dataclass(frozen=True)
class Flags:
    """What one pass found.

    Args:
        rows: Rows in all.
        counts: Rows that satisfy each condition, in their order.
        latest: The greatest instant, in microseconds; None without one.
    """

    rows: int
    counts: tuple[int, ...]
    latest: int | None = None


def count_flags(frame: DataFrame, flags: Sequence[Column], latest: Column | None = None) -> Flags:
    """Count in one job.

    Args:
        frame: The rows.
        flags: Conditions, never null.
        latest: An instant (timestamp) of each row.
    """
    instant = F.lit(None).cast("bigint") if latest is None else F.unix_micros(latest)
    branches = [_words(frame, flags[start : start + _COMPILED], start // _BITS, instant) for start in range(0, max(len(flags), 1), _COMPILED)]
    rows = reduce(DataFrame.unionAll, branches)
    found = rows.groupBy("place", "word").agg(F.count(F.lit(1)).alias("rows"), F.max("instant").alias("instant")).collect()
    counts = [0] * len(flags)
    for row in found:
        for bit in range(_BITS):
            if row["word"] >> bit & 1:
                counts[row["place"] * _BITS + bit] += row["rows"]
    instants = [row["instant"] for row in found if row["instant"] is not None]
    return Flags(sum(row["rows"] for row in found if row["place"] == 0), tuple(counts), max(instants, default=None))


def _words(frame: DataFrame, flags: Sequence[Column], first: int, instant: Column) -> DataFrame:
    """A row for each ten conditions and row of the frame: the number of the word, counted from the first, and its bits."""
    parts = [flags[start : start + _BITS] for start in range(0, len(flags), _BITS)] or [[]]
    words = [reduce(add, (F.when(flag, 1 << bit).otherwise(0) for bit, flag in enumerate(part)), F.lit(0)) for part in parts]
    if len(words) == 1:
        return frame.select(instant.alias("instant"), F.lit(first).alias("place"), words[0].alias("word"))
    each = F.explode(F.array(*(F.struct(F.lit(first + place).alias("place"), word.alias("word")) for place, word in enumerate(words))))
    return frame.select(instant.alias("instant"), each.alias("part")).select("instant", "part.*")
