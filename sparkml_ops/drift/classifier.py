"""Can a model tell the current rows from the reference's? A domain classifier, cross-fitted in Spark on a bounded balanced sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.special import ndtr, ndtri

from feature_store.names import quote
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.anchors import chosen_types
from sparkml_ops.drift.inference import Verdict, effect_verdict
from sparkml_ops.drift.profile import check_types
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import kind_of
from sparkml_ops.summaries.order import Floats

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Separation", "auc_of", "tell_apart"]

_SIDE, _FOLD, _TASK = "__side", "__fold", "__task"
_SCHEMA = "task int, n long, m long, auc double, variance double, importance array<double>"


@dataclass(frozen=True)
class Separation:
    """How well a model tells the two sides apart.

    Args:
        auc: Mean area under the ROC curve over the folds; 0.5 is chance.
        lower: Lower end of its confidence interval.
        upper: Upper end.
        n: Rows of the reference in the sample.
        m: Rows of the current side in the sample.
        rows: All rows of both sides, of which the sample is.
        importance: How much of the area a column carries (its values exchanged at random), the greatest first.
        p: P-value of "the area is at most the threshold".
        threshold: The smallest area that counts.
        verdict: As for a column.
    """

    auc: float
    lower: float
    upper: float
    n: int
    m: int
    rows: tuple[int, int]
    importance: Mapping[str, float]
    p: float
    threshold: float
    verdict: Verdict


def tell_apart(
    reference: DataFrame,
    current: DataFrame,
    columns: Iterable[str] | None = None,
    *,
    sample: int = 10_000,
    folds: int = 5,
    threshold: float = 0.6,
    settings: DriftSection | None = None,
) -> Separation:
    """Train gradient-boosted trees to tell current rows from the reference's, in Spark tasks, and test them on rows they have not seen.

    It finds what no column shows alone. One job counts, one draws as many rows of either side and trains a model a fold on an
    executor, which has scikit-learn; areas and importances come to the driver.

    Args:
        reference: What is expected.
        current: What is looked at.
        columns: By default all columns of the reference whose type has statistics.
        sample: Most rows of a side; that many are drawn from each, or as many as the smaller side has.
        folds: Models, each tested on rows that the others are trained on.
        threshold: Smallest area that counts; between 0.5 and 1.
        settings: Level, fewest rows, seed.

    Raises:
        ContractError: A column is missing or has another type on the other side; a side has fewer rows than folds need.
    """
    settings = settings or DriftSection()
    types = {column.name: column.dataType.simpleString() for column in reference.schema.fields}
    chosen = chosen_types(types, None if columns is None else tuple(columns))
    check_types(chosen, {column.name: column.dataType.simpleString() for column in current.schema.fields})
    # By place: PySpark reads a dot in a name as a field's.
    kinds = {f"column_{place}": kind for place, kind in enumerate(chosen.values())}
    sides = [side.select([F.col(quote(name)).alias(place) for name, place in zip(chosen, kinds, strict=True)]) for side in (reference, current)]
    counts = [_count(side) for side in sides]
    if min(counts) < 10 * folds:
        raise ContractError(
            f"{counts[0]} and {counts[1]} rows", expected=f"at least {10 * folds} on either side", mend="compare more rows, or by columns"
        )
    drawn = [_drawn(side, number, min(1.0, min(sample, *counts) / counts[number]), settings.seed) for number, side in enumerate(sides)]
    rows = reduce(DataFrame.unionAll, drawn).withColumn(_FOLD, F.floor(F.rand(settings.seed + 2) * folds).cast("int"))
    tasks = rows.withColumn(_TASK, F.explode(F.sequence(F.lit(0), F.lit(folds - 1))))
    seed = settings.seed

    def fold(part: Any) -> Any:  # Spark infers nothing from these hints, and warns of others that it cannot read
        return _fold(part, kinds, seed)

    found = tasks.groupBy(_TASK).applyInPandas(fold, _SCHEMA).toArrow().to_pylist()
    return _together(sorted(found, key=lambda row: int(row["task"])), list(chosen), (counts[0], counts[1]), threshold, settings)


def auc_of(first: Floats, second: Floats) -> tuple[float, float]:
    """Area under the ROC curve of scores, and its variance (DeLong, DeLong and Clarke-Pearson, 1988).

    Args:
        first: Scores of the rows that should have low ones.
        second: Scores of the others.

    >>> round(auc_of(np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.25]))[0], 4)
    0.8333
    """
    one, other = np.sort(first), np.sort(second)
    above = (np.searchsorted(one, second, "left") + np.searchsorted(one, second, "right")) / (2 * len(one))
    below = 1 - (np.searchsorted(other, first, "left") + np.searchsorted(other, first, "right")) / (2 * len(other))
    variance = sum(float(np.var(part, ddof=1)) / len(part) if len(part) > 1 else 0.25 for part in (above, below))
    return float(above.mean()), variance


def _count(side: DataFrame) -> int:
    return side.count()


def _drawn(side: DataFrame, number: int, share: float, seed: int) -> DataFrame:
    drawn = side if share >= 1 else side.where(F.rand(seed + number) < share)
    return drawn.withColumn(_SIDE, F.lit(number))


def _fold(rows: pd.DataFrame, kinds: Mapping[str, str], seed: int) -> pd.DataFrame:
    """Train on all folds but one, test on that one: on an executor."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    task = int(rows[_TASK].iloc[0])
    values = np.column_stack([_numbers(rows[name], kind) for name, kind in kinds.items()])
    side, held = rows[_SIDE].to_numpy(), rows[_FOLD].to_numpy() == task
    with threadpool_limits(1):
        model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, min_samples_leaf=50, early_stopping=False, random_state=seed)
        model.fit(values[~held], side[~held])
        tested, truth = values[held], side[held] == 1

        def score(table: Floats) -> tuple[float, float]:
            scores = model.decision_function(table)
            return auc_of(scores[~truth], scores[truth])

        area, variance = score(tested)
        importance = [area - score(_exchanged(tested, number, seed))[0] for number in range(tested.shape[1])]
    found = {"task": [task], "n": [int((~truth).sum())], "m": [int(truth.sum())], "auc": [area], "variance": [variance], "importance": [importance]}
    return pd.DataFrame(found)


def _exchanged(table: Floats, number: int, seed: int) -> Floats:
    """The table with one column's values in another order."""
    other = table.copy()
    other[:, number] = np.random.default_rng(seed + number).permutation(other[:, number])
    return other


def _numbers(column: pd.Series[Any], kind: str) -> Floats:
    """Values as floats: categories by their rank in the sample, which all folds have whole; missing is NaN."""
    if kind_of(kind) == "category":
        codes = column.astype("category").cat.codes.to_numpy().astype(np.float64)
        return np.where(codes < 0, np.nan, codes)
    if kind.startswith(("date", "timestamp")):
        import pandas as pd

        moments = pd.to_datetime(column, utc=True)
        return np.where(moments.isna(), np.nan, moments.astype("int64").to_numpy().astype(np.float64))
    return np.asarray(column.astype(np.float64).to_numpy(), dtype=np.float64)


def _together(found: list[dict[str, Any]], columns: list[str], rows: tuple[int, int], threshold: float, settings: DriftSection) -> Separation:
    areas = np.array([row["auc"] for row in found])
    auc = float(areas.mean())
    # Folds share rows they are trained on, not rows they are tested on.
    deviation = sqrt(sum(row["variance"] for row in found)) / len(found)
    half = float(ndtri(1 - settings.level / 2)) * deviation
    importance = dict(zip(columns, np.mean([row["importance"] for row in found], axis=0).tolist(), strict=True))
    n, m = sum(row["n"] for row in found), sum(row["m"] for row in found)
    p = float(ndtr(-(auc - threshold) / max(deviation, 1e-12)))
    verdict: Verdict = effect_verdict(auc, auc, threshold, p, settings.level) if min(n, m) >= settings.minimum_rows else "undecided"
    ordered = dict(sorted(importance.items(), key=lambda item: (-item[1], item[0])))
    return Separation(auc, max(0.0, auc - half), min(1.0, auc + half), n, m, rows, ordered, p, threshold, verdict)
