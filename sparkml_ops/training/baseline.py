"""A logistic regression (of numbers least squares, of counts Poisson) on the same rows and features, to know what the network adds.

Its coefficients become a model of kind `linear`, so that both are applied by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.names import quote
from sparkml_ops.model.encoder import Encoded, Encoder
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.model.target import Target
from sparkml_ops.training.group_reader import GroupReader
from sparkml_ops.training.labels import SplitCounts
from sparkml_ops.training.newton import Slopes, minimise
from sparkml_ops.training.plan import WEIGHT, Group
from sparkml_ops.training.weighting import RowWeights

if TYPE_CHECKING:  # executors import this module to count rows
    import torch

__all__ = ["TrainRows", "best_constant", "fit_linear", "fit_logistic", "linear_fits"]

Weights = npt.NDArray[np.float64]
# Enough to give a category that never occurs with its label a finite weight, too little to move any other.
_RIDGE = 1e-5
_ITERATIONS = 100
# A matrix of so many columns is 8 MiB. A wider model is fitted by its gradient alone, in ten times as many passes.
_WIDEST = 1024
# So many matrices come to the driver at once.
_TASKS = 64
# Rows whose numbers lie beside each other in memory once more.
_CHUNK = 1 << 14


@dataclass(frozen=True)
class TrainRows:
    """The labelled rows of the train split, in both forms in which they are read.

    Args:
        frame: As Spark reads them.
        groups: Row groups that hold them, read by Python on the executors.
        label: Column of the label, 0 or 1.
        weights: How much a row counts; None: all the same.
    """

    frame: DataFrame
    groups: Sequence[Group]
    label: str
    weights: RowWeights | None = None

    def weight(self) -> Column:
        """How much a row counts, as Spark reads it."""
        if self.weights is None:
            return F.lit(1.0)
        below, above = (F.lit(factor) for factor in self.weights.by_label)
        factor = F.when(F.col(quote(self.label)).cast("double") == 1, above).otherwise(below)
        return factor * F.col(WEIGHT) if self.weights.column else factor


def fit_logistic(rows: TrainRows, spec: ModelSpec, *, widest: int = _WIDEST) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """Fit a logistic regression on Spark: by Newton's method in a few passes, or by L-BFGS where the matrix for that would be large.

    Args:
        rows: Rows with the inputs of `spec`.
        spec: Preprocessing: standardised numbers, missing-indicators, one column for each category and the unknown one.
        widest: Most columns, the intercept included, for Newton's method.

    Returns:
        A model of kind `linear` and its weights, in float64.
    """
    linear = _linear(spec)
    weights = _by_curvature(rows, linear) if _width(linear) <= widest else _by_gradient(rows, linear)
    return linear, _state(linear, weights)


def linear_fits(spec: ModelSpec) -> bool:
    """Whether `fit_linear` has a method: for numbers and counts, and no more columns than Newton's method bears."""
    return spec.target.task in ("regression", "count") and _width(_linear(spec)) <= _WIDEST


def fit_linear(rows: TrainRows, spec: ModelSpec) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """Fit least squares (one step of Newton's method is the solution) or a Poisson regression on Spark.

    Args:
        rows: Rows with the inputs of `spec`.
        spec: Preprocessing and target, of which `linear_fits` is true.

    Returns:
        A model of kind `linear` and its weights, in float64.
    """
    linear = _linear(spec)
    curvature = spec.target.mean if spec.target.task == "count" else 1.0
    return linear, _state(linear, _by_curvature(rows, linear, curvature))


def best_constant(rows: TrainRows, target: Target, counts: SplitCounts) -> tuple[float, ...]:
    """The predictions of a model that knows the labels of the train split and no feature.

    Args:
        rows: Of the train split.
        target: Not `binary`.
        counts: Of the train split.

    Returns:
        [outputs]: the mean, quantiles (to 1/10,000 of the rows), or the share of each class.
    """
    if target.task == "quantile":
        found = rows.frame.agg(F.percentile_approx(F.col(quote(rows.label)).cast("double"), list(target.quantiles), 10_000)).first()
        return tuple(found[0]) if found is not None else ()
    return tuple(count / counts.rows for count in counts.classes) if target.classes else (target.mean,)


def _linear(spec: ModelSpec) -> ModelSpec:
    return replace(
        spec, kind="linear", hidden=(), dropout=0.0, module=None, categorical=tuple(replace(column, dimension=1) for column in spec.categorical)
    )


def _width(spec: ModelSpec) -> int:
    """Weights of a linear model, the intercept included."""
    return spec.numeric_width + sum(_sizes(spec)) + 1


def _by_curvature(rows: TrainRows, spec: ModelSpec, curvature: float = 0.25) -> Weights:
    spark, tasks, width = rows.frame.sparkSession, min(len(rows.groups), _TASKS), _width(spec)
    shares = [tuple(rows.groups[index::tasks]) for index in range(tasks)]

    def measure(point: Weights) -> Slopes:
        work = _measuring(spec, rows, shares, point)
        found = spark.range(0, tasks, 1, tasks).mapInArrow(work, "slopes binary").collect()
        return sum((Slopes.from_bytes(bytes(row["slopes"]), width) for row in found), Slopes.empty(width))

    return minimise(measure, width, _RIDGE, curvature)


def _measuring(
    spec: ModelSpec, rows: TrainRows, shares: Sequence[tuple[Group, ...]], point: Weights
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    label, weights = rows.label, rows.weights

    def measure(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        reader = GroupReader(spec, label=label, split="train", dtype=np.float64, weights=weights)
        sizes, total = _sizes(spec), Slopes.empty(len(point))
        for group in (group for batch in batches for share in batch.column("id").to_pylist() for group in shares[share]):
            rows = reader.decode(group)
            for part in (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)):
                total += Slopes.of(Encoded(part.numeric, part.categories), part.label, part.weight, point, sizes, spec.target)
        yield pa.RecordBatch.from_pydict({"slopes": pa.array([total.to_bytes()], pa.binary())})

    return measure


def _by_gradient(rows: TrainRows, spec: ModelSpec) -> Weights:
    from pyspark.ml.classification import LogisticRegression  # a second that other trainings need not wait for
    from pyspark.ml.feature import OneHotEncoder, VectorAssembler

    numbers = [f"n{index}" for index in range(spec.numeric_width)]
    categories = [f"c{index}" for index in range(len(spec.categorical))]
    schema = ", ".join(f"{name} double" for name in [*numbers, *categories, "label", "weight"])
    inputs = [quote(name) for name, _ in spec.inputs]
    encoded = rows.frame.select(*inputs, F.col(quote(rows.label)).cast("double").alias("label"), rows.weight().alias("weight")).mapInArrow(
        _encoding(spec), schema
    )
    # Sizes as metadata spare the encoder a pass over the rows.
    for name, size in zip(categories, _sizes(spec), strict=True):
        encoded = encoded.withMetadata(name, {"ml_attr": {"type": "nominal", "num_vals": size}})
    hot = [f"{name}_hot" for name in categories]
    if categories:
        encoded = OneHotEncoder(inputCols=categories, outputCols=hot, dropLast=False).fit(encoded).transform(encoded)
    vectors = VectorAssembler(inputCols=[*numbers, *hot], outputCol="features").transform(encoded).select("features", "label", "weight")
    model = LogisticRegression(maxIter=_ITERATIONS, regParam=_RIDGE, weightCol="weight").fit(vectors)
    return np.array([*model.coefficients.toArray(), model.intercept], np.float64)


def _encoding(spec: ModelSpec) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        encoder = Encoder(spec)
        for batch in batches:
            rows = encoder.encode(batch)
            columns = [*rows.numeric.T, *rows.categories.T.astype(np.float64), batch.column("label"), batch.column("weight")]
            names = [f"n{index}" for index in range(spec.numeric_width)] + [f"c{index}" for index in range(len(spec.categorical))]
            names += ["label", "weight"]
            yield pa.RecordBatch.from_arrays([pa.array(column, pa.float64()) for column in columns], names)

    return encode


def _sizes(spec: ModelSpec) -> list[int]:
    """Number of values of each category, with the unknown one."""
    return [len(column.vocabulary) + 1 for column in spec.categorical]


def _state(spec: ModelSpec, weights: Weights) -> dict[str, torch.Tensor]:
    """The weights of a linear network: of the numbers, of the categories, the intercept last."""
    import torch

    numeric, *categories, bias = torch.split(torch.from_numpy(weights.copy()), [spec.numeric_width, *_sizes(spec), 1])
    embeddings = {f"embeddings.{index}.weight": column.reshape(-1, 1).clone() for index, column in enumerate(categories)}
    return {**embeddings, "output.weight": numeric.reshape(1, -1).clone(), "output.bias": bias.clone()}
