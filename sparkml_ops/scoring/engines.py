"""Two ways of rows to a model, with identical predictions: `mapInArrow`, and a pandas UDF on a struct.

Both end in the same code on Arrow tables (features.py, batch.py). What Spark ships to a worker are small
closures that name module functions; the model itself is loaded there once a process (loading.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import StringType, StructField, StructType

from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.batch import Budget, score_rows
from sparkml_ops.scoring.features import from_arrow, from_pandas
from sparkml_ops.scoring.kinds import spark_kind
from sparkml_ops.scoring.loading import loaded
from sparkml_ops.scoring.matching import Match
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.scoring.reason import RowReasons
from sparkml_ops.scoring.signature import Field

__all__ = ["REASON", "RowPass", "bounded_batches", "score_arrow", "score_pandas", "struct_udf"]

REASON = "reason"
_REFUSAL = "__refusal"
_MOST_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_BATCH_BYTES = {"arrow": 1 << 25, "pandas": 1 << 22}


@dataclass(frozen=True)
class RowPass:
    """One pass of a model over a frame.

    Args:
        model: The model.
        matches: Columns that feed it.
        identity: Columns that go with each row, as fields of the frame.
        budget: Failed rows of one task at which the pass will be refused; None: never.
    """

    model: PublishedModel
    matches: tuple[Match, ...]
    identity: tuple[StructField, ...]
    budget: int | None

    @property
    def schema(self) -> StructType:
        """Columns of the result: `identity_0`, ..., `output_0`, ..., `reason`."""
        identity = [StructField(f"identity_{index}", field.dataType) for index, field in enumerate(self.identity)]
        outputs = [StructField(f"output_{index}", spark_kind(field.type)) for index, field in enumerate(self.model.outputs)]
        return StructType([*identity, *outputs, StructField(REASON, StringType())])

    def run(self, frame: DataFrame, refusal: Column, engine: Literal["arrow", "pandas"]) -> DataFrame:
        """Each row of the frame once, with outputs or a reason; lazy.

        Args:
            refusal: Reason found in Spark, or null.
        """
        return self._arrow(frame, refusal) if engine == "arrow" else self._pandas(frame, refusal)

    def _identity(self) -> list[Column]:
        return [F.col(quote(field.name)).alias(f"identity_{index}") for index, field in enumerate(self.identity)]

    def shipped(self, frame: DataFrame, refusal: Column) -> DataFrame:
        """The columns that a task of the `arrow` engine gets: identity, refusal, inputs."""
        features = [match.value(text_integers=False).alias(f"feature_{index}") for index, match in enumerate(self.matches)]
        return frame.select(*self._identity(), refusal.alias(_REFUSAL), *features)

    def _arrow(self, frame: DataFrame, refusal: Column) -> DataFrame:
        model, fields, kept, budget = self.model, tuple(match.field for match in self.matches), len(self.identity), self.budget

        def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return score_arrow(batches, model, fields, kept, Budget(budget))

        return self.shipped(frame, refusal).mapInArrow(work, self.schema)

    def _pandas(self, frame: DataFrame, refusal: Column) -> DataFrame:
        features = [match.value(text_integers=True).alias(match.field.name) for match in self.matches]
        udf = struct_udf(self.model, tuple(match.field for match in self.matches), cast=True, budget=self.budget)
        names = [field.name for field in self.model.outputs]
        scored = frame.select(*self._identity(), udf(F.struct(*features, refusal.alias(_REFUSAL))).alias("scored"))
        outputs = [F.col(f"scored.{quote(name)}").alias(f"output_{index}") for index, name in enumerate(names)]
        return scored.select(*(f"identity_{index}" for index in range(len(self.identity))), *outputs, f"scored.{REASON}")


@contextmanager
def bounded_batches(spark: SparkSession, engine: str) -> Iterator[None]:
    """Let Spark send batches of fewer bytes than its default, meanwhile: a worker makes copies of them, for pandas several.

    Where a session takes no such setting its own stays.
    """
    wanted, before = _BATCH_BYTES[engine], spark.conf.get(_MOST_BYTES, None)
    if before is not None and _bytes(before) <= wanted:
        yield
        return
    try:
        spark.conf.set(_MOST_BYTES, str(wanted))
    except PySparkException:
        yield
        return
    try:
        yield
    finally:
        spark.conf.unset(_MOST_BYTES) if before is None else spark.conf.set(_MOST_BYTES, before)


def _bytes(text: str) -> float:
    """A number of bytes as Spark shows it; what it shows otherwise is taken for large.

    >>> _bytes("67108864b"), _bytes("1m")
    (67108864.0, inf)
    """
    number = text.removesuffix("b")
    return float(number) if number.isdecimal() else float("inf")


def struct_udf(model: PublishedModel, fields: Sequence[Field], *, cast: bool, budget: int | None = None) -> Any:
    """An iterator pandas UDF: struct of inputs in, struct of outputs and a reason out.

    Args:
        model: The model.
        fields: Inputs that the struct holds, by name.
        cast: Whether Spark casts them before; a user's own struct is checked in the worker.
        budget: As of `RowPass`.

    Raises:
        ContractError: The model has an output `reason`.
    """
    if REASON in (field.name for field in model.outputs):
        raise ContractError(f"a model with an output `{REASON}`", expected="that name free", mend="rename the model's output")
    result = StructType([*(StructField(field.name, spark_kind(field.type)) for field in model.outputs), StructField(REASON, StringType())])
    read = tuple(fields)

    def predict(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        return score_pandas(batches, model, read, Budget(budget), cast=cast)

    as_udf: Any = pandas_udf  # its stubs know no iterator of frames without the deprecated function type
    return as_udf(predict, result)


def score_arrow(
    batches: Iterable[pa.RecordBatch], model: PublishedModel, fields: Sequence[Field], kept: int, budget: Budget
) -> Iterator[pa.RecordBatch]:
    """Work of a task of the `arrow` engine: identity, refusal, features in; identity, outputs, reason out."""
    for batch in batches:
        columns = batch.columns
        scored = score_rows(loaded(model), from_arrow(columns[kept + 1 :], fields), RowReasons(columns[kept]), budget)
        arrays = [*columns[:kept], *scored.outputs, scored.reasons]
        outputs = [f"output_{index}" for index in range(len(scored.outputs))]
        yield pa.RecordBatch.from_arrays(arrays, names=[*batch.schema.names[:kept], *outputs, REASON])


def score_pandas(
    batches: Iterable[pd.DataFrame | pd.Series], model: PublishedModel, fields: Sequence[Field], budget: Budget, *, cast: bool
) -> Iterator[pd.DataFrame]:
    """Work of a task of the `pandas` engine."""
    for frame in batches:
        if not isinstance(frame, pd.DataFrame):  # PySpark hands on what the caller gave
            raise ContractError("a column that is no struct", expected="the model's inputs in one struct", mend='predict(F.struct("a", "b"))')
        refused = pa.array(frame[_REFUSAL], pa.string(), from_pandas=True) if _REFUSAL in frame.columns else pa.nulls(len(frame), pa.string())
        reasons = RowReasons(refused)
        scored = score_rows(loaded(model), from_pandas(frame, fields, reasons, cast=cast), reasons, budget)
        columns = {field.name: array for field, array in zip(model.outputs, scored.outputs, strict=True)}
        plain = {name: array for name, array in columns.items() if not pa.types.is_struct(array.type)}
        told = pa.table({**plain, REASON: scored.reasons}).to_pandas(types_mapper=_NULLABLE.get)
        # Maps by themselves: in a table's frame a whole number in one of them would go through a double, where another row has none.
        parts = {name: pd.Series(array.to_pylist(), dtype=object) for name, array in columns.items() if name not in plain}
        yield told.assign(**parts)[[*columns, REASON]]


# A whole number with gaps would go through a double on its way back.
_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
