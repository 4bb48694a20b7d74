"""Fitting a model's inputs to the train split: three Spark jobs, whatever the number of rows.

Statistics are rounded to nine digits: Spark adds partial sums in the order in which they arrive, and the last bits
of a mean would otherwise differ between two fits to the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from feature_store.names import quote
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.spec import SUPPORTED_TYPES, CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.training.plan import POSITION, SPLIT

__all__ = ["Fitted", "SplitCounts", "features", "fit"]

# 250 expressions in one aggregate cost five times the same work in jobs of 10 columns.
_COLUMNS = 10


@dataclass(frozen=True)
class SplitCounts:
    """Rows of one split.

    Args:
        rows: Rows with a label.
        positives: Rows with label 1.
        pending: Rows without a label, which are left out.
    """

    rows: int
    positives: int
    pending: int

    @property
    def rate(self) -> float:
        """Share of label 1."""
        return self.positives / self.rows


@dataclass(frozen=True)
class Fitted:
    """A model's description, fitted, and what was counted on the way."""

    spec: ModelSpec
    splits: Mapping[str, SplitCounts]


def fit(frame: DataFrame, settings: TrainingSection) -> Fitted:
    """Fit feature order, imputation, scaling and vocabularies to the labelled rows of the train split.

    Args:
        frame: The training set, all splits.
        settings: Features, label, model.

    Raises:
        ContractError: A label outside {0, 1} or constant, a split without rows, a feature of an unsupported type,
            without any value, with infinite values, or a category none of whose values is frequent.
    """
    numeric, categorical = features(frame, settings)
    splits = _count(frame, settings.label)
    train = frame.where((F.col(SPLIT) == "train") & F.col(quote(settings.label)).isNotNull())
    numbers = tuple(_numeric_inputs(frame, numeric, settings.label))
    categories = tuple(_categorical_inputs(train, categorical, settings))
    hidden = settings.model.hidden if settings.model.kind == "mlp" else ()
    dropout = settings.model.dropout if hidden else 0.0
    return Fitted(ModelSpec(settings.model.kind, numbers, categories, hidden, dropout), splits)


def features(frame: DataFrame, settings: TrainingSection) -> tuple[dict[str, str], dict[str, str]]:
    """Name to type of the numeric and of the categorical features, in order.

    Raises:
        ContractError: A listed column is missing or of an unsupported type, or there is no feature at all.
    """
    types = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    wanted = [SPLIT, POSITION, settings.label, *(settings.numeric or ()), *(settings.categorical or ())]
    if missing := [name for name in wanted if name not in types]:
        raise ContractError(
            f"a training set without {missing[:5]}",
            expected=f"these columns beside {sorted(types)[:20]}",
            mend="correct training.numeric, .categorical or .label",
        )
    taken = {*wanted, *settings.exclude}
    free = {name: kind for name, kind in types.items() if name not in taken}
    numeric = _typed("numeric", types, settings.numeric) if settings.numeric is not None else _numbers(free)
    texts = {name: kind for name, kind in free.items() if kind in ("string", "boolean") and name not in numeric}
    categorical = _typed("categorical", types, settings.categorical) if settings.categorical is not None else texts
    if not numeric and not categorical:
        raise ContractError(
            "a training set without features", expected="numeric or string columns", mend="list them in training.numeric and training.categorical"
        )
    return numeric, categorical


def _numbers(types: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for name, kind in types.items() if kind in SUPPORTED_TYPES["numeric"] - {"boolean"}}


def _typed(role: str, types: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    if wrong := [f"`{name}` ({types[name]})" for name in names if types[name] not in SUPPORTED_TYPES[role]]:
        raise ContractError(
            f"{role} features {wrong[:5]}",
            expected=f"types {sorted(SUPPORTED_TYPES[role])}",
            mend="cast them in the feature table, or leave them out",
        )
    return {name: types[name] for name in names}


def _count(frame: DataFrame, label: str) -> dict[str, SplitCounts]:
    value = F.col(quote(label)).cast("double")
    counted = frame.groupBy(SPLIT).agg(
        F.count(value).alias("rows"),
        F.count_if(value == 1).alias("positives"),
        F.count_if(value.isNull()).alias("pending"),
        F.count_if(value.isNotNull() & ~value.isin(0.0, 1.0)).alias("wrong"),
    )
    rows = {row[SPLIT]: row for row in counted.collect()}
    if wrong := sum(row["wrong"] for row in rows.values()):
        raise ContractError(f"{wrong} labels other than 0 and 1 in `{label}`", expected="0, 1 or null (pending)", mend="make the label binary")
    splits = {name: SplitCounts(row["rows"], row["positives"], row["pending"]) for name, row in rows.items() if name is not None}
    for name in ("train", "evaluation"):
        if name not in splits or not splits[name].rows:
            raise ContractError(
                f"no labelled rows in split {name} (there are {sorted(splits)})", expected="at least one", mend="widen the split, or wait for labels"
            )
    if splits["train"].positives in (0, splits["train"].rows):
        raise ContractError(
            f"one label only in the train split ({splits['train'].rows} rows)", expected="rows of both labels", mend="widen the split"
        )
    return splits


def _numeric_inputs(frame: DataFrame, types: Mapping[str, str], label: str) -> Iterator[NumericInput]:
    """Statistics of the train split; infinite values are counted in all splits, where the model is to work too."""
    names = list(types)
    trained = (F.col(SPLIT) == "train") & F.col(quote(label)).isNotNull()
    parts = [
        frame.agg(*(_statistics(name, types[name], trained) for name in names[start : start + _COLUMNS])) for start in range(0, len(names), _COLUMNS)
    ]
    if not parts:
        return
    tall = [part.select(F.explode(F.array(*map(quote, part.columns))).alias("column")).select("column.*") for part in parts]
    found = {row["name"]: row for row in reduce(DataFrame.unionByName, tall).collect()}
    if infinite := [f"`{name}` ({found[name]['infinite']} rows)" for name in names if found[name]["infinite"]]:
        raise ContractError(f"infinite values in {infinite[:5]}", expected="finite numbers or null", mend="make them null where the feature is built")
    if empty := [name for name in names if not found[name]["present"]]:
        raise ContractError(
            f"no value at all in {empty[:5]} in the train split", expected="at least one", mend="mend the feature, or put it under training.exclude"
        )
    for name in names:
        mean, deviation = (float(f"{found[name][part]:.9g}") for part in ("mean", "deviation"))
        yield NumericInput(name, types[name], fill=mean, mean=mean, scale=deviation or 1.0, indicator=bool(found[name]["absent"]))


def _statistics(name: str, kind: str, trained: Column) -> Column:
    """One struct for a column, so that a part of them is one row."""
    value = F.col(quote(name)).cast("double")
    finite = F.when(~F.isnan(value) & (F.abs(value) != float("inf")), value) if kind in ("float", "double") else value
    mine = F.when(trained, finite)
    return F.struct(
        F.lit(name).alias("name"),
        F.count_if(F.abs(value) == float("inf")).alias("infinite"),
        F.count(mine).alias("present"),
        F.count_if(trained & finite.isNull()).alias("absent"),
        F.avg(mine).alias("mean"),
        F.stddev_pop(mine).alias("deviation"),
    ).alias(name)


def _categorical_inputs(train: DataFrame, types: Mapping[str, str], settings: TrainingSection) -> Iterator[CategoricalInput]:
    """Vocabularies: frequent values, the most frequent first, equal ones by value."""
    if not types:
        return
    pairs = F.array(*(F.struct(F.lit(name).alias("name"), F.col(quote(name)).cast("string").alias("value")) for name in types))
    counts = train.select(F.explode(pairs).alias("pair")).select("pair.*").where(F.col("value").isNotNull()).groupBy("name", "value").count()
    place = F.row_number().over(Window.partitionBy("name").orderBy(F.desc("count"), F.asc("value")))
    kept = counts.where(F.col("count") >= settings.minimum_count).withColumn("place", place).where(F.col("place") <= settings.vocabulary)
    vocabularies: dict[str, list[str]] = {name: [] for name in types}
    for row in sorted(kept.collect(), key=lambda row: row["place"]):
        vocabularies[row["name"]].append(row["value"])
    if rare := [name for name, vocabulary in vocabularies.items() if not vocabulary]:
        raise ContractError(
            f"no value of {rare[:5]} on {settings.minimum_count} rows of the train split",
            expected="a category with frequent values",
            mend="put an identifier or an empty column under training.exclude, or lower training.minimum_count",
        )
    for name, vocabulary in vocabularies.items():
        yield CategoricalInput(name, types[name], tuple(vocabulary), _dimension(len(vocabulary), settings))


def _dimension(size: int, settings: TrainingSection) -> int:
    if settings.model.kind == "linear":
        return 1
    # A usual rule of thumb (fastai's), held narrow: most categories here have few rows each.
    return settings.model.embedding or min(16, round(1.6 * (size + 1) ** 0.56))
