"""The truth as it was known at an instant, joined with what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DoubleType, FloatType, NumericType, StructType

from feature_store.checks import require_columns, require_instant
from feature_store.declaration import TrainingSetDeclaration
from feature_store.duration import parse_duration
from feature_store.names import quote
from feature_store.timeline import micros
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.tally import COLUMNS
from sparkml_ops.window import Window

__all__ = ["CONTRADICTION", "NO_LABEL", "UNKNOWN_CLASS", "UNSCORED", "Predicted", "known_truth", "number_of", "observations"]

# What can be odd with a row.
CONTRADICTION, NO_LABEL, UNSCORED, UNKNOWN_CLASS = "contradiction", "no label", "unscored", "unknown class"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = 3_600_000_000


def known_truth(
    spine: DataFrame,
    declared: TrainingSetDeclaration,
    windows: Sequence[Window],
    as_of: datetime,
    *,
    classes: Sequence[str] = (),
    reward: str | None = None,
) -> DataFrame:
    """What was known of each key at an instant: of several rows the one that became known last.

    Where that one says nothing the label was taken back: it is pending again, as in training.

    Args:
        spine: Rows with their labels; of one key several, where the truth was corrected.
        declared: Its columns. Without `label_known_time` a label is known at the spine time plus the maturity.
        windows: Only rows with a spine time in one of them; a row counts in each that it lies in.
        as_of: Rows that became known later do not count.
        classes: Of a model of several: a label is the position of its class, or `UNKNOWN_CLASS`.
        reward: Numeric column of the spine that says what a row brought.

    Returns:
        Columns `window`, `key_0`, ..., `label` (double), `known` (microseconds, of the first label known), `reward` (double) and
        `contradicts`: whether the rows known last have different labels.

    Raises:
        ContractError: A column is missing or of a type that it cannot be.
    """
    known_column = (declared.label_known_time,) if declared.label_known_time else ()
    brought = (reward,) if reward else ()
    require_columns(spine, (*declared.row_key, declared.time, declared.label, *known_column, *brought), f"the spine `{declared.spine}`")
    for name in (declared.time, *known_column):
        require_instant(spine.schema, name, f"the spine `{declared.spine}`")
    time = F.col(quote(declared.time))
    inside = [F.when((time >= F.lit(window.start)) & (time < F.lit(window.end)), F.lit(window.label)) for window in windows]
    labels = F.filter(F.array(*inside), lambda label: label.isNotNull())
    known, label = _known(declared), _class(declared, classes) if classes else _label(spine, declared)
    worth = F.lit(None).cast("double") if reward is None else number_of(spine.schema, reward, "monitoring.value.reward")
    rows = spine if declared.where is None else spine.where(F.expr(declared.where))  # checked when the configuration was read
    some = reduce(Column.__or__, [(time >= F.lit(window.start)) & (time < F.lit(window.end)) for window in windows])
    rows = rows.where(some & (known <= F.lit(micros(as_of - _EPOCH))))
    if declared.label_known_time is None:
        rows = rows.where(label.isNotNull())
    keys = [F.col(quote(name)).alias(f"key_{index}") for index, name in enumerate(declared.row_key)]
    rows = rows.select(F.explode(labels).alias("window"), *keys, label.alias("label"), known.alias("known"), worth.alias("reward")).dropna(
        subset=_keys(declared.row_key)
    )
    # Structs compare by their fields in order: the greatest known time, and there the greatest and the least label,
    # before a null in both.
    last = rows.groupBy("window", *_keys(declared.row_key)).agg(
        F.max(F.struct("known", "label", "reward")).alias("most"),
        F.max(F.struct(F.col("known"), (-F.col("label")).alias("label"))).alias("least"),
        F.min(F.when(F.col("label").isNotNull(), F.col("known"))).alias("known"),
    )
    last = last.where(F.col("most.label").isNotNull())
    contradicts = F.col("most.label") != -F.col("least.label")
    return last.select(
        "window",
        *_keys(declared.row_key),
        F.col("most.label").alias("label"),
        "known",
        F.col("most.reward").alias("reward"),
        contradicts.alias("contradicts"),
    )


class Predicted:
    """What was predicted in some windows of a slot.

    Args:
        scored: Columns `window`, the row key, the spine time, `score` (double) and one for each segment.
        quarantined: Columns `window` and the row key.
        row_key: Columns that identify a row.
        time: Column (timestamp) of the spine time.
        segments: Columns whose values are segments.
        amount: Numeric column that says how much a row is about; None: there is none.
    """

    def __init__(
        self,
        scored: DataFrame,
        quarantined: DataFrame,
        *,
        row_key: Sequence[str],
        time: str,
        segments: Sequence[str] = (),
        amount: str | None = None,
    ) -> None:
        keys = [F.col(quote(name)).alias(f"key_{index}") for index, name in enumerate(row_key)]
        values = [F.col(quote(name)).alias(f"segment_{index}") for index, name in enumerate(segments)]
        about = F.lit(None).cast("double") if amount is None else number_of(scored.schema, amount, "monitoring.value.amount")
        self.row_key, self.segments = tuple(row_key), tuple(segments)
        at = F.unix_micros(F.col(quote(time))).alias("time")
        self.rows = scored.select("window", *keys, at, "score", *values, about.alias("amount"), F.lit(True).alias("there"))
        # Rows that share a key are all in quarantine: each key once, so that a join doubles nothing.
        self.others = quarantined.select("window", *keys, F.lit(True).alias("there")).distinct()


def observations(predicted: Predicted, truth: DataFrame, wrong: tuple[str, Column] | None = None) -> DataFrame:
    """Every scored row with its label, and every key whose truth is odd; the input of `tallies`.

    Args:
        predicted: Scored and quarantined rows.
        truth: As of `known_truth`.
        wrong: What is odd with a label that cannot be, and whether a label is one. None: of a binary model, neither 0 nor 1.
    """
    kind, is_wrong = wrong or (NO_LABEL, ~F.col("label").isin(0.0, 1.0))
    keys = _keys(predicted.row_key)
    joined = predicted.rows.unionByName(predicted.others, allowMissingColumns=True).join(truth, ["window", *keys], "full_outer")
    odd = F.when(F.col("contradicts"), F.lit(CONTRADICTION)).when(is_wrong, F.lit(kind)).when(F.col("there").isNull(), F.lit(UNSCORED))
    joined = joined.withColumn("odd", odd).where(F.col("score").isNotNull() | F.col("odd").isNotNull())
    label = F.when(F.col("odd").isNull(), F.col("label"))
    columns = {
        "window": F.col("window"),
        "score": F.col("score"),
        "label": label,
        "lag": F.when(label.isNotNull(), (F.col("known") - F.col("time")) / F.lit(_HOUR)),
        "odd": F.col("odd"),
        "key": F.when(F.col("odd").isNotNull(), F.concat_ws(" ", *(F.col(name).cast("string") for name in keys))),
        "amount": F.col("amount"),
        "reward": F.col("reward"),
    }
    return joined.select(*(columns[name].alias(name) for name in COLUMNS), *(f"segment_{index}" for index in range(len(predicted.segments))))


def _keys(row_key: Sequence[str]) -> list[str]:
    return [f"key_{index}" for index in range(len(row_key))]


def _known(declared: TrainingSetDeclaration) -> Column:
    if declared.label_known_time is not None:
        return F.unix_micros(F.col(quote(declared.label_known_time)))
    return F.unix_micros(F.col(quote(declared.time))) + F.lit(micros(parse_duration(declared.maturity)))


def number_of(schema: StructType, name: str, setting: str) -> Column:
    """A numeric column as a double.

    Raises:
        ContractError: It is not there, or no number.
    """
    require_columns(schema, [name], f"what {setting} reads")
    if not isinstance(kind := schema[name].dataType, NumericType):
        raise ContractError(f"{setting} `{name}` of type {kind.simpleString()}", expected="a number", mend="cast it, or name another column")
    return F.col(quote(name)).cast("double")


def _class(declared: TrainingSetDeclaration, classes: Sequence[str]) -> Column:
    """The position of a label's class; -1 where the model knows none such, null where the label is pending."""
    place = F.array_position(F.array(*map(F.lit, classes)), F.col(quote(declared.label)).cast("string"))
    return (place - 1).cast("double")


def _label(spine: DataFrame, declared: TrainingSetDeclaration) -> Column:
    """The label as a double; null and NaN are pending."""
    kind, column = spine.schema[declared.label].dataType, F.col(quote(declared.label))
    if not isinstance(kind, NumericType | BooleanType):
        raise ContractError(
            f"the label `{declared.label}` of type {kind.simpleString()}", expected="a number or boolean: 0 or 1", mend="cast it in the spine"
        )
    return F.when(~F.isnan(column), column.cast("double")) if isinstance(kind, DoubleType | FloatType) else column.cast("double")
