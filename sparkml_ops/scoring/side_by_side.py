"""Two sets of predictions of the same rows: who has which row, and how far the predictions lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, NumericType, StructType

from feature_store.names import quote
from sparkml_ops.scoring.target import OUTCOME, PREDICTION, SCORED

__all__ = ["OutputDifference", "SideBySide", "compare_sides"]

_SIDES = ("left", "right")


@dataclass(frozen=True)
class OutputDifference:
    """One output of the rows that both sides have scored.

    Args:
        changed: Share of these rows with another value, 0 to 1; None where there are none.
        left: Mean on the left, in the output's unit; None where it is no number.
        right: Mean on the right.
        mean_change: Mean absolute difference.
        largest_change: Greatest absolute difference.
        correlation: Pearson's; None where one side is constant.
        crossed: Share of rows on different sides of one half; None where the values leave 0 to 1.
    """

    changed: float | None
    left: float | None = None
    right: float | None = None
    mean_change: float | None = None
    largest_change: float | None = None
    correlation: float | None = None
    crossed: float | None = None


@dataclass(frozen=True)
class SideBySide:
    """Two sets of predictions.

    Args:
        rows: Rows that both have scored.
        only_left: Rows that the left has scored and the right does not know.
        only_right: The other way round.
        quarantined_left: Rows in quarantine on the left, whatever they are on the right.
        quarantined_right: The other way round.
        outputs: By name, of the rows that both have scored.
    """

    rows: int
    only_left: int
    only_right: int
    quarantined_left: int
    quarantined_right: int
    outputs: Mapping[str, OutputDifference]


def compare_sides(left: DataFrame, right: DataFrame, row_key: Sequence[str]) -> SideBySide:
    """Compare two sets of rows of a target: one job, of which one row comes back.

    Rows that share their key are in quarantine on each side and are counted there; a null key matches nothing.

    Args:
        left: Rows of the target's table, scored and quarantined; not more than one window and slot.
        right: The same.
        row_key: Columns that identify a row.
    """
    kinds = {name: kind for name, kind in _outputs(left).items() if _outputs(right).get(name) == kind}
    sides = [_side(frame, row_key, name) for frame, name in zip((left, right), _SIDES, strict=True)]
    joined = sides[0].join(sides[1], on=[f"key_{index}" for index in range(len(row_key))], how="full")
    scored, aside = ([F.col(f"{side}_scored") for side in _SIDES], [F.col(f"{side}_aside") for side in _SIDES])
    both = scored[0].isNotNull() & scored[1].isNotNull()
    counts = {
        "rows": F.count_if(both),
        "only_left": F.count_if(scored[0].isNotNull() & scored[1].isNull() & aside[1].isNull()),
        "only_right": F.count_if(scored[1].isNotNull() & scored[0].isNull() & aside[0].isNull()),
        "quarantined_left": F.coalesce(F.sum(aside[0]), F.lit(0)),
        "quarantined_right": F.coalesce(F.sum(aside[1]), F.lit(0)),
    }
    figures = {
        f"{index}_{name}": figure
        for index, (output, kind) in enumerate(kinds.items())
        for name, figure in _figures(scored, both, output, kind).items()
    }
    row = joined.agg(*(column.alias(name) for name, column in {**counts, **figures}.items())).first()
    assert row is not None
    found = row.asDict()
    outputs = {
        output: OutputDifference(**{name: found[f"{index}_{name}"] for name in _figures(scored, both, output, kind)})
        for index, (output, kind) in enumerate(kinds.items())
    }
    return SideBySide(**{name: int(found[name]) for name in counts}, outputs=outputs)


def _outputs(frame: DataFrame) -> dict[str, DataType]:
    kind = frame.schema[PREDICTION].dataType
    assert isinstance(kind, StructType)
    return {field.name: field.dataType for field in kind.fields}


def _side(frame: DataFrame, row_key: Sequence[str], name: str) -> DataFrame:
    """One row a key: its prediction, or how many rows of it are in quarantine."""
    keys = [F.col(quote(column)).alias(f"key_{index}") for index, column in enumerate(row_key)]
    scored = F.col(OUTCOME) == F.lit(SCORED)
    return frame.groupBy(*keys).agg(
        F.first(F.when(scored, F.col(PREDICTION)), ignorenulls=True).alias(f"{name}_scored"),
        F.nullif(F.count_if(~scored), F.lit(0)).alias(f"{name}_aside"),
    )


def _figures(scored: Sequence[Column], both: Column, output: str, kind: DataType) -> dict[str, Column]:
    left, right = (F.when(both, side.getField(output)) for side in scored)
    changed = {"changed": F.avg(F.when(both, (~left.eqNullSafe(right)).cast("double")))}
    if not isinstance(kind, NumericType):
        return changed
    left, right = left.cast("double"), right.cast("double")
    apart = F.abs(left - right)
    share = F.when(
        (F.min(F.least(left, right)) >= 0) & (F.max(F.greatest(left, right)) <= 1), F.avg(((left >= 0.5) != (right >= 0.5)).cast("double"))
    )
    # In the definition, as 0/0 is an error in ANSI mode where a side is constant.
    varies = (F.stddev_pop(left) > 0) & (F.stddev_pop(right) > 0)
    return {
        **changed,
        "left": F.avg(left),
        "right": F.avg(right),
        "mean_change": F.avg(apart),
        "largest_change": F.max(apart),
        "correlation": F.when(varies, F.corr(left, right)),
        "crossed": share,
    }
