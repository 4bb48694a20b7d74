"""Options of training: workers, data order, model, optimiser."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from sparkml_ops.config.collectives import CollectivesSection
from sparkml_ops.config.optimizer import OptimizerSection
from sparkml_ops.config.section import Section

__all__ = ["OPERATIONAL", "CrossSection", "ModelSection", "TrainingSection"]

#: How ranks are run, not what comes out but for rounding: what is left out where settings are compared, in the form that pydantic takes.
OPERATIONAL: dict[str, Any] = {
    **dict.fromkeys(("workers", "backend", "device", "threads", "interface", "start_timeout", "hang_timeout", "attempts", "checkpoint_every"), True),
    "collectives": {"fusion_mib", "cycle_ms", "timeline"},
}


class CrossSection(Section):
    """An element of `training.model.crosses`: pairs of values of two categories."""

    columns: tuple[str, str] = Field(description="two categorical features")
    buckets: int = Field(default=1000, ge=1, lt=2**31, description="number of weights that pairs are hashed into")


_TOWERS = {"item", "query", "dimension", "normalised", "temperature", "top"}


class ModelSection(Section):
    """`training.model`: the network."""

    kind: Literal["mlp", "linear", "wide_deep", "two_tower", "module"] = Field(
        default="mlp",
        description="mlp, linear (for each output a weight for each input), wide_deep (the sum of both, with crosses), two_tower (task retrieval: a"
        " vector of the query and a vector of the item), or module: a team's own network",
    )
    item: tuple[str, ...] = Field(
        default=(), description="kind two_tower only: features of the item, training.label among them where each item is to have weights of its own"
    )
    query: tuple[str, ...] | None = Field(default=None, description="kind two_tower only: features of the query; null: all that are not the item's")
    dimension: int = Field(default=32, ge=2, le=1024, description="kind two_tower only: numbers of a vector")
    normalised: bool = Field(default=True, description="kind two_tower only: whether vectors have length 1, so that scores are cosines")
    temperature: PositiveFloat = Field(
        default=0.1, description="kind two_tower only: what scores are divided by in the softmax; 1 without normalised"
    )
    top: int = Field(default=10, ge=1, le=1000, description="kind two_tower only: items that are recommended for a query")
    crosses: tuple[CrossSection, ...] = Field(default=(), description="kind wide_deep only: pairs of categories with weights of their own")
    module: str | None = Field(
        default=None, min_length=1, description="kind module only: name of an entry point of the group sparkml_ops.models that makes the network"
    )
    hidden: tuple[int, ...] = Field(default=(128, 64), description="widths of the hidden layers of an mlp")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of hidden units left out in training")
    embedding: int | None = Field(
        default=None, ge=1, description="width of each category's embedding; null: by the size of its vocabulary, at most 16"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "module") != (self.module is not None):
            raise ValueError(f"training.model.module={self.module} with kind {self.kind}: name an entry point with kind module, and with it alone")
        if self.kind == "module" and (idle := sorted({"hidden", "dropout", "embedding"} & self.model_fields_set)):
            raise ValueError(f"training.model.{idle[0]} has no meaning with kind module: the module makes its own layers")
        if self.crosses and self.kind != "wide_deep":
            raise ValueError(f"training.model.crosses has no meaning with kind {self.kind}: leave it out, or take kind wide_deep")
        return self

    @model_validator(mode="after")
    def _has_two_sides(self) -> Self:
        if self.kind != "two_tower" and (idle := sorted(_TOWERS & self.model_fields_set)):
            raise ValueError(f"training.model.{idle[0]} has no meaning with kind {self.kind}: leave it out, or take kind two_tower")
        if self.kind == "two_tower" and not self.item:
            raise ValueError("training.model.item is empty: list the item's features; training.label may be one of them")
        if both := sorted(set(self.item) & set(self.query or ())):
            raise ValueError(f"training.model: {both[0]} in item and in query: a feature belongs to one of them")
        return self


class TrainingSection(Section):
    """`training`: one run of data-parallel training."""

    workers: int = Field(default=2, ge=1, description="ranks; each takes one Spark task slot")
    backend: Literal["horovod", "ddp", "local"] = Field(default="horovod", description="all-reduce; local is one rank in this process")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="where ranks compute: gpu, cpu, or auto: on GPUs where Spark gives its tasks any, a rank on each"
    )
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = Field(
        default="float32",
        description="of weights and gradients; bfloat16 and float16: of products only, weights are float32 (float16: losses scaled)",
    )
    epochs: int = Field(default=8, ge=1, description="passes over the train split")
    batch_size: int = Field(default=1024, ge=1, description="rows of a global batch, all workers together")
    accumulate: int = Field(
        default=1, ge=1, description="parts of a rank's batch that are computed one after the other, for less memory; the same step but for rounding"
    )
    seed: int = Field(default=7, ge=0, lt=2**63, description="of first weights, row order and dropout")
    shards: int = Field(default=24, ge=1, description="logical parts of the data, whatever the number of workers; part of the result")
    threads: int | None = Field(default=None, ge=1, description="compute threads of a rank; null: spark.task.cpus (local: torch's choice)")
    interface: str = Field(
        default="", description="network interface that ranks listen on (eth0); empty: loopback where all share a host, else that of Spark's address"
    )
    start_timeout: float = Field(default=120.0, gt=0, description="seconds until all ranks have met")
    hang_timeout: float = Field(default=300.0, gt=0, description="seconds without a sign of life after which a rank counts as hanging")
    attempts: int = Field(default=3, ge=1, description="launches in all before a lost rank ends the run")
    checkpoint_every: int = Field(default=0, ge=0, description="steps between checkpoints inside an epoch; 0: only at the end of each epoch")
    keep: Literal["best", "last"] = Field(
        default="best", description="epoch whose weights are kept: lowest validation loss (last without validation rows), or last"
    )
    patience: int | None = Field(default=None, ge=1, description="epochs without a lower validation loss before training ends; null: never early")
    task: Literal["binary", "regression", "count", "quantile", "multiclass", "multilabel", "retrieval"] = Field(
        default="binary",
        description="what is predicted: binary (label 0 or 1), regression (a number), count (whole numbers from 0, Poisson), quantile (levels of a "
        "number's distribution), multiclass (one of several strings or whole numbers), multilabel (an array of those that apply), "
        "retrieval (which items fit a query; each row is an item, the label, that was seen with a query)",
    )
    quantiles: tuple[float, ...] = Field(default=(0.1, 0.5, 0.9), min_length=1, description="task quantile only: levels, rising, between 0 and 1")
    label: str = Field(
        default="label",
        min_length=1,
        description="column of the label, in the task's range, or null (pending, left out); of retrieval what identifies the item, never null",
    )
    class_weights: Literal["balanced"] | tuple[PositiveFloat, PositiveFloat] | None = Field(
        default=None,
        description="how much a row of a class counts in training: balanced (all classes as much; binary and multiclass), two numbers (label 0 and "
        "label 1 of a binary one), or null",
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
    grow_vocabulary: bool = Field(
        default=True, description="whether a training that goes on from a model adds values that are frequent now and were not known then"
    )
    rare_bucket: bool = Field(default=False, description="whether values outside a vocabulary, rare or new, have a bucket apart from null's")
    hashed: dict[str, Annotated[int, Field(ge=1, lt=2**31 - 1)]] = Field(
        default={}, description="categories with too many values for a vocabulary: column to the number of buckets that its values are hashed into"
    )
    model: ModelSection = ModelSection()
    optimizer: OptimizerSection = OptimizerSection()
    collectives: CollectivesSection = CollectivesSection()
    sites: bool = Field(
        default=False,
        description="federated averaging: each rank holds whole sites of training_set.site and opens no file of another one; between ranks go models"
        " (collectives.local_steps above 1), losses and counts, while Spark's own passes (preprocessing, baselines, evaluation) read all sites and"
        " give aggregates",
    )
    slices: tuple[str, ...] = Field(
        default=(), description="columns by whose values the evaluation is cut too, and what a training that goes on from a model has forgotten"
    )
    replicates: int = Field(default=400, ge=200, multiple_of=4, description="replicates of the paired bootstrap on the evaluation split")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="level of the bootstrap's intervals")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.workers > self.shards:
            raise ValueError(f"training.workers={self.workers} above training.shards={self.shards}: a worker would have no rows")
        if self.backend == "local" and self.workers != 1 and "workers" in self.model_fields_set:
            raise ValueError(f"training.workers={self.workers} with backend local: it is one rank")
        if (local := self.collectives.local_steps) > 1 and self.checkpoint_every % local:
            raise ValueError(
                f"training.checkpoint_every={self.checkpoint_every} is no multiple of collectives.local_steps={local}: ranks differ then"
            )
        if local > 1 and self.collectives.compression != "none":
            raise ValueError(f"training.collectives.compression with local_steps={local}: it is of gradients, and none are sent")
        if local > 1 and self.dtype == "float16":
            raise ValueError(f"training.dtype=float16 with collectives.local_steps={local}: ranks would scale their losses apart; take bfloat16")
        if self.device == "gpu" and self.model.kind == "two_tower":
            raise ValueError("training.device=gpu with model.kind two_tower: it trains on processors; leave device out")
        if self.collectives.timeline and self.backend != "horovod":
            raise ValueError(f"training.collectives.timeline with backend {self.backend}: the timeline is Horovod's")
        return self

    @property
    def ranks(self) -> int:
        """How many ranks there are."""
        return 1 if self.backend == "local" else self.workers

    @model_validator(mode="after")
    def _fits_sites(self) -> Self:
        if self.sites and self.collectives.local_steps == 1:
            raise ValueError("training.sites with collectives.local_steps=1: gradients would be summed at each step; set it to 2 or more")
        if self.sites and self.batch_size % self.ranks:
            raise ValueError(
                f"training.batch_size={self.batch_size} with sites on {self.ranks} workers: each takes as much of a batch; take a multiple"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_task(self) -> Self:
        if self.task != "quantile" and "quantiles" in self.model_fields_set:
            raise ValueError(f"training.quantiles has no meaning with task {self.task}: leave it out")
        if not all(low < high for low, high in pairwise((0.0, *self.quantiles, 1.0))):
            raise ValueError(f"training.quantiles={list(self.quantiles)}: expected levels that rise, above 0 and below 1")
        if self.class_weights is not None and self.task not in (("binary", "multiclass") if self.class_weights == "balanced" else ("binary",)):
            raise ValueError(f"training.class_weights={self.class_weights} has no meaning with task {self.task}: leave it out")
        return self

    @model_validator(mode="after")
    def _fits_retrieval(self) -> Self:
        if (self.task == "retrieval") != (self.model.kind == "two_tower"):
            raise ValueError(f"training.task={self.task} with training.model.kind={self.model.kind}: retrieval needs two_tower, and it alone")
        if self.task != "retrieval":
            return self
        if self.label in (self.model.query or ()):
            raise ValueError(f"training.model.query with training.label ({self.label}): the item would be known beforehand; take it out")
        if self.batch_size < 2:
            raise ValueError("training.batch_size=1 with task retrieval: a row has the other rows' items to be told from; take 2 or more")
        if self.accumulate > 1:
            raise ValueError(f"training.accumulate={self.accumulate} with task retrieval: the rows of a batch are each other's examples; set it to 1")
        if self.collectives.local_steps > 1:
            raise ValueError(f"training.collectives.local_steps={self.collectives.local_steps} with task retrieval: ranks share items at each step")
        return self
