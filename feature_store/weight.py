"""Sample weights: how much each example counts, as one column of a training set."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType

from feature_store.errors import ContractError
from feature_store.expressions import check, columns_of
from feature_store.names import quote
from feature_store.nearest import did_you_mean

__all__ = ["WEIGHT", "is_unusable", "weight_of"]

WEIGHT = "sample_weight"


def weight_of(frame: DataFrame, weight: str, what: str) -> Column:
    """The column `sample_weight` (double) that a declared weight makes of a frame's rows.

    Args:
        weight: A column of the frame, or an SQL expression over its columns.
        what: The frame's part in the call, for the message.

    Raises:
        ContractError: The expression is not allowed, names a column that is not there, or gives no number.
    """
    if weight in frame.columns:
        value = F.col(quote(weight))
    else:
        folded = {name.lower() for name in frame.columns}
        if missing := [name for name in columns_of(check(weight)) if name.lower() not in folded]:
            hints = ", ".join(f"`{name}`{did_you_mean(name, frame.columns)}" for name in missing[:5])
            raise ContractError(f"the weight {weight!r} with {hints}", expected=f"columns of {what}: {frame.columns}", mend="correct the name")
        value = F.expr(weight)
    kind = frame.select(value.alias(WEIGHT)).schema[WEIGHT].dataType
    if not isinstance(kind, NumericType):
        raise ContractError(f"the weight {weight!r} of type {kind.simpleString()}", expected="a number", mend="cast it, or name another column")
    return value.cast("double").alias(WEIGHT)


def is_unusable() -> Column:
    """Whether a row's weight is null, NaN, infinite or below zero."""
    weight = F.col(WEIGHT)
    return weight.isNull() | F.isnan(weight) | (weight < 0) | (weight == F.lit(float("inf")))
