"""Options of drift statistics."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from sparkml_ops.config.section import Section

__all__ = ["REFERENCES", "Correction", "DriftSection", "Thresholds", "TogetherSection"]

REFERENCES = ("training", "previous", "week", "year")

Correction = Literal["benjamini-hochberg", "benjamini-yekutieli"]


class Thresholds(Section):
    """`drift.thresholds`: the smallest effects that count as drift; null means that the statistic has no verdict."""

    ks: float | None = Field(default=0.1, ge=0, le=1, description="Kolmogorov-Smirnov distance of a numeric column")
    wasserstein: float | None = Field(default=None, ge=0, description="Wasserstein-1 distance, in the column's unit")
    psi: float | None = Field(default=0.2, ge=0, description="population stability index over the declared bins")
    jensen_shannon: float | None = Field(default=None, ge=0, le=1, description="Jensen-Shannon distance over the declared bins, base e")
    hellinger: float | None = Field(default=None, ge=0, le=1, description="Hellinger distance over the declared bins")
    kullback_leibler: float | None = Field(
        default=None, ge=0, description="Kullback-Leibler divergence of the reference from the current rows over the declared bins, base e"
    )
    l_infinity: float | None = Field(default=None, ge=0, le=1, description="greatest change of a declared bin's share")
    new_categories: float | None = Field(default=None, ge=0, le=1, description="share of current values in categories that the reference lacks")
    lost_categories: float | None = Field(default=None, ge=0, le=1, description="share of the reference's values in categories that are gone")
    total_variation: float | None = Field(
        default=0.1, ge=0, le=1, description="total variation between the categories; not judged for numbers, where ks is"
    )
    missing: float | None = Field(default=0.1, ge=0, le=1, description="rise of the share of null and NaN; beyond it the column is a fault")


class TogetherSection(Section):
    """`drift.together`: what is compared of columns together; each takes further passes, and none is on by default.

    Its rows stand in `drift_metrics` beside the others, where alert policies may watch them by their `column`; a window's verdict is about columns alone.
    """

    correlations: float | None = Field(
        default=None,
        gt=0,
        le=2,
        description="smallest change of the correlation of two numbers that counts (column `a ~ b`), and beside it the error of the reference's main "
        "directions (column `(together)`, statistic reconstruction_ratio); null: not compared",
    )
    pairs: int = Field(default=50, ge=1, description="most pairs that are stored: those whose correlation moved most")
    classifier: float | None = Field(
        default=None,
        ge=0.5,
        lt=1,
        description="smallest area under the ROC curve that counts of a model that tells the window's rows from the reference's (column `(together)`, "
        "statistic classifier_auc); the tasks need scikit-learn; null: not trained",
    )
    embeddings: dict[str, Annotated[int, Field(ge=1, le=4096)]] = Field(
        default_factory=dict, description="columns of vectors and their dimension (statistics mmd, mean_shift, covariance_shift)"
    )
    mmd: float = Field(default=0.1, gt=0, description="smallest maximum mean discrepancy of embeddings that counts")


class DriftSection(Section):
    """`drift`: what is compared, by which measure, and when it counts."""

    reference: str = Field(
        default="training",
        description="what a window is compared with: training (what the model was trained on), previous (the window before), week or year "
        "(the same window a week or a year ago), or a fixed window, as 2013-07",
    )
    columns: tuple[str, ...] | None = Field(
        default=None, description="columns to compare; null means all that the model takes, or all of a known type"
    )
    views: tuple[str, ...] = Field(
        default=(), description="columns of text or lists whose lengths, and for text patterns (`AB-12` is `a-9`), are compared beside their values"
    )
    distinct: tuple[str, ...] = Field(
        default=(),
        description="columns whose distinct values are counted by a sketch in each window, in a job of its own; the driver needs the extra `monitoring`",
    )
    segments: tuple[str, ...] = Field(default=(), description="columns each of whose values is compared beside the whole")
    blocks: str | None = Field(default=None, description="column whose rows stay together in inference (day, customer); null means independent rows")
    exact: bool = Field(
        default=False,
        description="always compute Kolmogorov-Smirnov and Wasserstein exactly, by further passes, and Cramér-von Mises where half of exact_budget holds its values",
    )
    exact_budget: int = Field(default=2_000_000, ge=1, description="most values that come to the driver to make a statistic exact")
    thresholds: Thresholds = Field(default=Thresholds(), description="minimum effects")
    together: TogetherSection = Field(default=TogetherSection(), description="columns together: correlations, a classifier, embeddings")
    level: float = Field(default=0.05, gt=0, lt=0.5, description="false discovery rate of a report, and 1 - confidence of its intervals")
    correction: Correction = Field(
        default="benjamini-hochberg",
        description="how false discovery rates count the tests; benjamini-yekutieli holds however the columns depend on each other",
    )
    sequential: bool = Field(
        default=False,
        description="make evidence hold over all windows that are ever looked at: the k-th window is judged at 6/(pi k)^2 of the level",
    )
    minimum_rows: int = Field(default=100, ge=2, description="fewest values on each side for a verdict; below it the verdict is undecided")
    minimum_blocks: int = Field(default=20, ge=2, description="fewest blocks of both sides together for inference by blocks")
    permutations: int = Field(default=999, ge=99, description="random exchanges of whole blocks")
    seed: int = Field(default=0, ge=0, description="seed of these exchanges")
    cells: int = Field(default=2000, ge=1020, le=4090, description="equally deep cells of a numeric column, a multiple of ten")
    categories: int = Field(default=10_000, ge=10, description="categories with exact counts; beyond it the most frequent ones, the rest together")
    top_categories: int = Field(default=1000, ge=1, description="categories that are declared where there are too many for exact counts")
    columns_per_job: int = Field(default=1000, ge=1, description="most columns that one job profiles; more columns are profiled by several jobs")
    max_segments: int = Field(default=200, ge=1, description="most values of a segment column")
    replay: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of a window's rows above which a column is at fault that a replay of its point-in-time join gives other values; null: "
        "no replay",
    )

    @model_serializer(mode="wrap")
    def _without_the_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Finished runs of projects without a replay keep the hash of their configuration.
        return {name: value for name, value in serialize(self).items() if name != "replay" or value is not None}

    @field_validator("reference")
    @classmethod
    def _reference_is_known(cls, value: str) -> str:
        if value not in REFERENCES and not re.fullmatch(r"\d{4}-\d{2}(-\d{2}(T\d{2})?)?", value):
            raise ValueError(f"reference must be one of {', '.join(REFERENCES)}, or a window such as 2013-07")
        return value

    @field_validator("cells")
    @classmethod
    def _deciles_are_edges(cls, value: int) -> int:
        if value % 10:
            raise ValueError("cells must be a multiple of ten")
        return value
