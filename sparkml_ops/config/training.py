"""Options of training: workers, data order, model, optimiser."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from sparkml_ops.config.optimizer import OptimizerSection
from sparkml_ops.config.section import Section

__all__ = ["ModelSection", "TrainingSection"]


class ModelSection(Section):
    """`training.model`: the network."""

    kind: Literal["mlp", "linear"] = Field(default="mlp", description="mlp, or linear: logistic regression by gradient descent")
    hidden: tuple[int, ...] = Field(default=(128, 64), description="widths of the hidden layers of an mlp")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of hidden units left out in training")
    embedding: int | None = Field(
        default=None, ge=1, description="width of each category's embedding; null: by the size of its vocabulary, at most 16"
    )


class TrainingSection(Section):
    """`training`: one run of data-parallel training."""

    workers: int = Field(default=2, ge=1, description="ranks; each takes one Spark task slot")
    backend: Literal["horovod", "ddp", "local"] = Field(default="horovod", description="all-reduce; local is one rank in this process")
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        default="float32", description="of weights and gradients; bfloat16: products only, weights float32"
    )
    epochs: int = Field(default=8, ge=1, description="passes over the train split")
    batch_size: int = Field(default=1024, ge=1, description="rows of a global batch, all workers together")
    accumulate: int = Field(
        default=1, ge=1, description="parts of a rank's batch that are computed one after the other, for less memory; the same step but for rounding"
    )
    seed: int = Field(default=7, ge=0, lt=2**63, description="of first weights, row order and dropout")
    shards: int = Field(default=24, ge=1, description="logical parts of the data, whatever the number of workers; part of the result")
    threads: int | None = Field(default=None, ge=1, description="compute threads of a rank; null: spark.task.cpus (local: torch's choice)")
    start_timeout: float = Field(default=120.0, gt=0, description="seconds until all ranks have met")
    hang_timeout: float = Field(default=300.0, gt=0, description="seconds without a sign of life after which a rank counts as hanging")
    attempts: int = Field(default=3, ge=1, description="launches in all before a lost rank ends the run")
    checkpoint_every: int = Field(default=0, ge=0, description="steps between checkpoints inside an epoch; 0: only at the end of each epoch")
    keep: Literal["best", "last"] = Field(
        default="best", description="epoch whose weights are kept: lowest validation loss (last without validation rows), or last"
    )
    patience: int | None = Field(default=None, ge=1, description="epochs without a lower validation loss before training ends; null: never early")
    label: str = Field(default="label", min_length=1, description="column of the label: 0, 1 or null (pending, left out)")
    class_weights: Literal["balanced"] | tuple[PositiveFloat, PositiveFloat] | None = Field(
        default=None, description="how much a row of label 0 and of label 1 counts in training: balanced (both classes as much), two numbers, or null"
    )
    numeric: tuple[str, ...] | None = Field(
        default=None,
        description="numeric features; null: all columns of a numeric type that are not listed elsewhere. Dates (as days) and arrays of float or"
        " double of one length are features only where they are listed",
    )
    categorical: tuple[str, ...] | None = Field(
        default=None, description="categorical features; null: all string and boolean columns that are not listed elsewhere"
    )
    exclude: tuple[str, ...] = Field(default=(), description="columns that are no features although their type would fit (identifiers)")
    vocabulary: int = Field(default=1000, ge=1, description="most values of a category that are kept; the rest share the unknown bucket")
    minimum_count: int = Field(default=20, ge=1, description="rows of the train split that a value needs to be kept")
    model: ModelSection = ModelSection()
    optimizer: OptimizerSection = OptimizerSection()
    replicates: int = Field(default=400, ge=200, multiple_of=4, description="replicates of the paired bootstrap on the evaluation split")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="level of the bootstrap's intervals")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.workers > self.shards:
            raise ValueError(f"training.workers={self.workers} above training.shards={self.shards}: a worker would have no rows")
        if self.backend == "local" and self.workers != 1 and "workers" in self.model_fields_set:
            raise ValueError(f"training.workers={self.workers} with backend local: it is one rank")
        return self
