"""How well each single feature tells the label: exact ranks of a bounded sample, all features in one pass.

A feature that ranks the label almost perfectly by itself is most often the label in other clothes. The sample's numbers become packed
columns, each of which one task sorts; categories become cells (value, rows, sum of the label), and one running sum over a feature's cells
gives the ranks. A row for each feature reaches the driver. A value that is missing tells something too, so a feature is judged twice, with
its nulls (and NaN) below and above all values, and the stronger reading counts. A category stands with the mean label of its rows in one
half of the sample and is judged on the other half: an identifier, whose values never come again, tells nothing then.

Source: the area under the ROC curve as a rank sum: Hanley and McNeil, Radiology 143 (1982), 29-36; Spearman's rank correlation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from feature_store.names import quote

__all__ = ["Measure", "Strength", "judge", "pack", "ranked", "strengths"]

Measure = Literal["auc", "rank correlation"]
_FEWEST = 20  # rows of each class, and half of the rows of a correlation: below, chance alone comes near any threshold
_TARGET, _HALF = "__target", "__half"
_PACKED = pa.schema([("feature", pa.int32()), ("target", pa.binary()), ("value", pa.binary())])
# Rows, sum and sum of squares of the target; sums of rank times target and of squared ranks, nulls below all values; the nulls by themselves.
_SUMS = pa.schema(
    [("feature", pa.int32()), ("n", pa.int64())]
    + [(name, pa.float64()) for name in ("s", "s2", "rs", "nrr")]
    + [("nulls", pa.int64()), ("null_sum", pa.float64())]
)


@dataclass(frozen=True)
class Strength:
    """What one feature tells of the label.

    Args:
        feature: Its column.
        measure: "auc" for labels of 0 and 1 (0.5 to 1, whichever way it ranks), "rank correlation" (0 to 1, without sign) for other numbers.
        value: None where there are too few rows to say.
        rows: Rows that it was judged on.
    """

    feature: str
    measure: Measure
    value: float | None
    rows: int


def strengths(sample: DataFrame, numbers: Sequence[str], categories: Sequence[str], label: str, measure: Measure) -> tuple[Strength, ...]:
    """Judge every feature, in one job; a row for each reaches the driver.

    Args:
        sample: Labelled rows with `row_position`, few enough that one task sorts a feature.
        numbers: Features that a double holds.
        categories: Features that a text holds.
        label: Column of the label, a number.
    """
    if not (numbers or categories):
        return ()
    target = F.col(quote(label)).cast("double")
    rows = sample.withColumns({_TARGET: target if measure == "auc" else _rank(target), _HALF: F.col("row_position") % 2})
    parts = []
    if numbers:
        parts.append(_numbers(rows, numbers))
    if categories:
        parts.append(_summed(_categories(rows, categories, first=len(numbers))))
    sums = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    found = {row["feature"]: row for row in sums.collect()}
    return tuple(_strength(name, measure, found.get(index)) for index, name in enumerate([*numbers, *categories]))


def judge(found: Row, measure: Measure) -> float | None:
    """The stronger of both readings of a feature's sums; None where there are too few rows."""
    n, s, nulls, null_sum = float(found["n"]), float(found["s"]), float(found["nulls"]), float(found["null_sum"])
    # From nulls below all values to nulls above: the others move down by the number of nulls, the nulls up by the number of the others.
    below = float(found["rs"])
    above = below - nulls * (s - null_sum) + (n - nulls) * null_sum
    if measure == "auc":
        if min(s, n - s) < _FEWEST:
            return None
        areas = [(ranks - s * (s + 1) / 2) / (s * (n - s)) for ranks in (below, above)]
        return max(max(area, 1 - area) for area in areas)
    if n < 2 * _FEWEST:
        return None
    squares = float(found["nrr"])
    values, value_ranks = n - nulls, n * (n + 1) / 2 - nulls * (nulls + 1) / 2
    null_squares, value_squares = nulls * ((nulls + 1) / 2) ** 2, squares - nulls * ((nulls + 1) / 2) ** 2
    moved = value_squares - 2 * nulls * value_ranks + nulls**2 * values + nulls * (values + (nulls + 1) / 2) ** 2
    pairs = ((below, value_squares + null_squares), (above, moved))
    found_values = [_correlation(n, ranks, spread, s, float(found["s2"])) for ranks, spread in pairs]
    return max((abs(value) for value in found_values if value is not None), default=None)


def _correlation(n: float, ranks_by_target: float, rank_squares: float, target: float, target_squares: float) -> float | None:
    ranks = n * (n + 1) / 2
    spread = (n * rank_squares - ranks**2) * (n * target_squares - target**2)
    return (n * ranks_by_target - ranks * target) / math.sqrt(spread) if spread > 0 else None


def _rank(value: Column) -> Column:
    """Ranks with ties at their middle; over one partition, which the sample's size bounds."""
    alike = Window.partitionBy(value)
    return F.rank().over(Window.partitionBy(F.lit(0)).orderBy(value)) + (F.count("*").over(alike) - 1) / 2


def _numbers(rows: DataFrame, names: Sequence[str]) -> DataFrame:
    """A row of sums for each number. Packed, a million values are a thousand rows of a shuffle, and numpy sorts them."""
    values = [F.col(quote(name)).cast("double").alias(f"value_{index}") for index, name in enumerate(names)]
    packed = rows.where(F.col(_TARGET).isNotNull()).select(F.col(_TARGET).cast("double"), *values).mapInArrow(pack, from_arrow_schema(_PACKED))
    return packed.groupBy("feature").applyInArrow(ranked, from_arrow_schema(_SUMS))


def pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each feature's values of a batch, with the targets beside them, as bytes of doubles; a null becomes NaN.

    Args:
        batches: The target, then a column for each feature, all of doubles.
    """
    for batch in batches:
        target, *columns = (column.to_numpy(zero_copy_only=False).astype(np.float64).tobytes() for column in batch.columns)
        rows = {"feature": range(len(columns)), "target": [target] * len(columns), "value": columns}
        yield pa.RecordBatch.from_pydict(rows, schema=_PACKED)


def ranked(packed: pa.Table) -> pa.Table:
    """One row: the sums of the feature whose packed values these are, as `judge` takes them."""
    target, value = (np.frombuffer(b"".join(packed[name].to_pylist())) for name in ("target", "value"))
    null = np.isnan(value)
    nulls = int(null.sum())
    _, place, alike = np.unique(value[~null], return_inverse=True, return_counts=True)
    # Ties, and nulls among themselves, share the middle of their ranks.
    ranks = np.full(len(value), (nulls + 1) / 2)
    ranks[~null] = nulls + (np.cumsum(alike) - (alike - 1) / 2)[place]
    sums = [target.sum(), target @ target, ranks @ target, ranks @ ranks]
    row = [packed["feature"][0].as_py(), len(value), *map(float, sums), nulls, float(target[null].sum())]
    return pa.table([[item] for item in row], schema=_SUMS)


def _categories(rows: DataFrame, names: Sequence[str], *, first: int) -> DataFrame:
    texts = F.array(*(F.col(quote(name)).cast("string") for name in names))
    long = rows.select(_TARGET, _HALF, F.posexplode(texts).alias("feature", "text"))
    judged, fitted = F.col(_HALF) == 1, F.col(_HALF) == 0
    mean = F.avg(F.when(fitted, F.col(_TARGET))).alias("value")
    means = long.groupBy("feature", "text").agg(mean, *_sums(judged)).where(F.col("n") > 0)
    sums = [F.sum(name).alias(name) for name in ("n", "s", "s2")]
    return means.groupBy((F.col("feature") + F.lit(first)).alias("feature"), "value").agg(*sums)


def _sums(counted: Column) -> list[Column]:
    target = F.when(counted, F.col(_TARGET))
    return [F.count(target).alias("n"), F.coalesce(F.sum(target), F.lit(0.0)).alias("s"), F.coalesce(F.sum(target * target), F.lit(0.0)).alias("s2")]


def _summed(cells: DataFrame) -> DataFrame:
    """A row for each feature: its sums over cells, ranked with nulls below all values."""
    before = Window.partitionBy("feature").orderBy(F.col("value").asc_nulls_first()).rowsBetween(Window.unboundedPreceding, -1)
    rank = F.coalesce(F.sum("n").over(before), F.lit(0)) + (F.col("n") + 1) / 2
    null = F.col("value").isNull()
    return (
        cells.withColumn("rank", rank)
        .groupBy("feature")
        .agg(
            F.sum("n").alias("n"),
            F.sum("s").alias("s"),
            F.sum("s2").alias("s2"),
            F.sum(F.col("rank") * F.col("s")).alias("rs"),
            F.sum(F.col("n") * F.col("rank") * F.col("rank")).alias("nrr"),
            F.coalesce(F.sum(F.when(null, F.col("n"))), F.lit(0)).alias("nulls"),
            F.coalesce(F.sum(F.when(null, F.col("s"))), F.lit(0.0)).alias("null_sum"),
        )
    )


def _strength(name: str, measure: Measure, found: Row | None) -> Strength:
    if found is None:
        return Strength(name, measure, None, 0)
    return Strength(name, measure, judge(found, measure), int(found["n"]))
