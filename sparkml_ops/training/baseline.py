"""A logistic regression on the same rows and features, to know what the network adds.

Its coefficients become a model of kind `linear`, so that both are applied by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import OneHotEncoder, VectorAssembler
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.names import quote
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.spec import ModelSpec

__all__ = ["fit_logistic"]

# Enough to give a category that never occurs with its label a finite weight, too little to move any other.
_RIDGE = 1e-5
_ITERATIONS = 100


def fit_logistic(train: DataFrame, spec: ModelSpec, label: str) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """Fit a logistic regression by L-BFGS on Spark.

    Args:
        train: Rows with the inputs of `spec` and a label.
        spec: Preprocessing: standardised numbers, missing-indicators, one column for each category and the unknown one.
        label: Column of the label, 0 or 1.

    Returns:
        A model of kind `linear` and its weights, in float64.
    """
    linear = replace(spec, kind="linear", hidden=(), dropout=0.0, categorical=tuple(replace(column, dimension=1) for column in spec.categorical))
    numbers = [f"n{index}" for index in range(linear.numeric_width)]
    categories = [f"c{index}" for index in range(len(linear.categorical))]
    schema = ", ".join(f"{name} double" for name in [*numbers, *categories, "label"])
    columns = [quote(name) for name, _ in linear.inputs]
    encoded = train.select(*columns, F.col(quote(label)).cast("double").alias("label")).mapInArrow(_encoding(linear), schema)
    # Sizes as metadata spare the encoder a pass over the rows.
    for name, column in zip(categories, linear.categorical, strict=True):
        attribute = {"ml_attr": {"type": "nominal", "num_vals": len(column.vocabulary) + 1}}
        encoded = encoded.withMetadata(name, attribute)
    hot = [f"{name}_hot" for name in categories]
    if categories:
        encoded = OneHotEncoder(inputCols=categories, outputCols=hot, dropLast=False).fit(encoded).transform(encoded)
    vectors = VectorAssembler(inputCols=[*numbers, *hot], outputCol="features").transform(encoded).select("features", "label")
    model = LogisticRegression(maxIter=_ITERATIONS, regParam=_RIDGE).fit(vectors)
    return linear, _state(linear, np.asarray(model.coefficients.toArray(), np.float64), float(model.intercept))


def _encoding(spec: ModelSpec) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        encoder = Encoder(spec)
        for batch in batches:
            rows = encoder.encode(batch)
            columns = [*rows.numeric.T, *rows.categories.T.astype(np.float64), batch.column("label")]
            names = [f"n{index}" for index in range(spec.numeric_width)] + [f"c{index}" for index in range(len(spec.categorical))] + ["label"]
            yield pa.RecordBatch.from_arrays([pa.array(column, pa.float64()) for column in columns], names)

    return encode


def _state(spec: ModelSpec, coefficients: npt.NDArray[np.float64], intercept: float) -> dict[str, torch.Tensor]:
    """The weights of a linear network from the coefficients in the order in which they were assembled."""
    sizes = [spec.numeric_width, *(len(column.vocabulary) + 1 for column in spec.categorical)]
    numeric, *categories = torch.split(torch.from_numpy(coefficients.copy()), sizes)
    embeddings = {f"embeddings.{index}.weight": weights.reshape(-1, 1).clone() for index, weights in enumerate(categories)}
    return {**embeddings, "output.weight": numeric.reshape(1, -1).clone(), "output.bias": torch.tensor([intercept], dtype=torch.float64)}
