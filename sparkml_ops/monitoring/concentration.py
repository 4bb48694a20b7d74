"""How much of the predictions falls on few values: what a feedback loop shows first, since a model that chooses what it learns from repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from feature_store.names import quote
from sparkml_ops.performance.classes import PARTS, ClassErrors
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import Performance

__all__ = ["CONCENTRATION", "concentration", "concentration_by_group", "of_classes", "of_scores"]

CONCENTRATION = ("entropy", "herfindahl", "gini", "top_share")
_BINS = 10


def concentration(counts: npt.ArrayLike) -> dict[str, float]:
    """Four measures of how unevenly rows are spread over values.

    `entropy` is Shannon's over its greatest possible value: 1 where all values are alike frequent, 0 where one has all rows. `herfindahl` is the
    chance that two rows have the same value (Herfindahl, 1950), `gini` the mean difference of two values' counts over twice their mean, and
    `top_share` the share of the most frequent one.

    Args:
        counts: Rows of each value that can occur, those without a row too; empty without rows.

    >>> {name: round(value, 3) for name, value in concentration([8, 1, 1, 0]).items()}
    {'entropy': 0.461, 'herfindahl': 0.66, 'gini': 0.6, 'top_share': 0.8}
    """
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    rows, values = float(ordered.sum()), len(ordered)
    if not rows:
        return {}
    shares = ordered / rows
    some = shares[shares > 0]
    entropy = float(-(some * np.log(some)).sum()) / log(values) if values > 1 else 0.0
    gini = float((2 * np.arange(1, values + 1) - values - 1) @ shares) / values
    return {"entropy": entropy, "herfindahl": float(shares @ shares), "gini": gini, "top_share": float(shares[-1])}


def of_scores(scored: ScoreCounts, segment: str | None) -> list[Performance]:
    """The concentration of scores over ten equal bins from 0 to 1.

    Args:
        scored: Rows by score; their labels do not matter.
        segment: `name=value`, or None.
    """
    bins = np.minimum((scored.scores * _BINS).astype(np.int64), _BINS - 1)
    return _records(np.bincount(bins, weights=scored.negatives + scored.positives, minlength=_BINS), segment)


def of_classes(scored: ClassErrors, segment: str | None) -> list[Performance]:
    """The concentration of predictions over the classes, by the likeliest one of each row.

    Args:
        scored: As `ClassErrors.expected` counts rows.
        segment: `name=value`, or None.
    """
    return _records(scored.matrix.sum(axis=0) / PARTS, segment)


def _records(counts: npt.NDArray[np.float64] | npt.NDArray[np.int64], segment: str | None) -> list[Performance]:
    found, rows = concentration(counts), round(float(counts.sum()))
    return [Performance(segment, metric, "predicted", found.get(metric), None, None, rows) for metric in CONCENTRATION]


def concentration_by_group(frame: DataFrame, value: str, *, by: Sequence[str]) -> DataFrame:
    """The same of predicted classes or recommended items, by window and whatever else tells groups apart; nothing runs until the result is read.

    Only values that occur in a group count, and the counts of one group's values are sorted in one task.

    Args:
        frame: A row for each prediction or recommended item.
        value: Column of the class or item; null counts as no row.
        by: Columns of the group, as the window.

    Returns:
        Columns `by`, `rows`, `distinct` and those of `CONCENTRATION`.
    """
    groups = [quote(name) for name in by]
    counts = frame.where(F.col(quote(value)).isNotNull()).groupBy(*groups, quote(value)).agg(F.count(F.lit(1)).alias("__count"))
    placed = counts.withColumn("__place", F.row_number().over(Window.partitionBy(*groups).orderBy("__count")))
    count = F.col("__count").cast("double")
    sums = placed.groupBy(*groups).agg(
        F.sum("__count").alias("rows"),
        F.count(F.lit(1)).alias("distinct"),
        F.sum(count * F.log(count)).alias("__logs"),
        F.sum(count * count).alias("__squares"),
        F.sum(count * F.col("__place")).alias("__places"),
        F.max("__count").alias("__most"),
    )
    rows, distinct = F.col("rows"), F.col("distinct")
    entropy = F.when(distinct > 1, (F.log(rows) - F.col("__logs") / rows) / F.log(distinct)).otherwise(F.lit(0.0))
    gini = (F.lit(2) * F.col("__places") / rows - distinct - F.lit(1)) / distinct
    return sums.select(
        *groups,
        "rows",
        "distinct",
        entropy.alias("entropy"),
        (F.col("__squares") / rows / rows).alias("herfindahl"),
        gini.alias("gini"),
        (F.col("__most") / rows).alias("top_share"),
    )
