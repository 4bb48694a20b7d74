"""Fitting a model's inputs to the train split in one pass over the rows.

Each task summarises its rows column by column, Spark adds up counts and picks vocabularies, and the driver finishes a few numbers per column.
Statistics are rounded to nine digits: their last bits depend on how the rows were cut into tasks, and the model must not.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from feature_store.arrow_pass import in_arrow
from feature_store.names import quote
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import numbers, texts
from sparkml_ops.model.spec import DEEP, SUPPORTED_TYPES, ArrayInput, CategoricalInput, Cross, ModelSpec, NumericInput
from sparkml_ops.model.target import MOST_CLASSES, MOST_ITEMS
from sparkml_ops.training.array_columns import ArrayMoments, array_length
from sparkml_ops.training.growth import grow
from sparkml_ops.training.labels import Counts, LabelRule, SplitCounts, judge
from sparkml_ops.training.plan import POSITION, SPLIT, WEIGHT
from sparkml_ops.training.towers import divided, refuse_unfit_start
from sparkml_ops.training.unfit import mends
from sparkml_ops.training.warm import WarmStart, continued

__all__ = ["Fitted", "features", "fit", "shaped"]

_log = logging.getLogger(__name__)
_SCHEMA = "kind string, name string, value string, rows bigint, mean double, squares double"
_LABEL, _WEIGHT = "__label", "__weight"
# Distinct values that a task counts before it hands them on.
_DISTINCT = 200_000


@dataclass(frozen=True)
class Fitted:
    """A model's description, fitted, and what was counted on the way.

    Args:
        spec: The description.
        splits: Rows of each split.
        weights: Mean `sample_weight` of the train rows of label 0 and 1, or of each class; one number where labels are no classes; None without
            such a column.
    """

    spec: ModelSpec
    splits: Mapping[str, SplitCounts]
    weights: tuple[float, ...] | None = None

    @property
    def class_rows(self) -> tuple[int, ...]:
        """Rows of the train split of each class whose weight is its own, as in `weights`."""
        rows = self.splits["train"]
        return {"binary": (rows.rows - rows.positives, rows.positives), "multiclass": rows.classes}.get(self.spec.target.task, (rows.rows,))


def fit(frame: DataFrame, settings: TrainingSection, start: WarmStart | None = None, *, own: bool = False) -> Fitted:
    """Fit feature order, imputation, scaling and vocabularies to the labelled rows of the train split.

    Args:
        frame: The training set, all splits.
        settings: Features, label, model.
        start: A model whose preprocessing is taken as it is; only the rows are counted and checked then.
        own: Whether an object makes the network, whatever the settings say.

    Raises:
        ContractError: A label outside the task's range or constant, a class that only other splits have, a split without rows, a feature of an
            unsupported type, without any value, with infinite values or arrays of different lengths, or a category none of whose values is
            frequent; a weight that is null, infinite or below 0; a model that does not fit; features that are neither the query's nor the item's.
    """
    numeric, categorical = features(frame, settings)
    if settings.task == "retrieval":
        refuse_unfit_start(start, own=own)
    towers = divided((*numeric, *categorical), settings)
    warm = None if start is None else continued(start, numeric, categorical, settings)
    rule = LabelRule(settings.task, settings.label, frame.schema[settings.label].dataType.simpleString())
    found = _summarise(frame, numeric, categorical, settings, rule)
    labels = {kind: [(row["name"], row["value"], row["rows"]) for row in found[kind]] for kind in ("label", "class")}
    target, splits = judge(rule, labels, _label_moments(found["target"]), settings, None if warm is None else warm.target)
    weights = _mean_weights(found, target.classes if target.task == "multiclass" else ("0", "1") if target.task == "binary" else ("",))
    if warm is not None:
        _refuse_infinite(found["infinite"])
        frequent = {name: [row["value"] for row in found["category"] if row["name"] == name] for name in categorical}
        return Fitted(grow(warm, frequent, settings.vocabulary) if settings.grow_vocabulary else warm, splits, weights)
    kind = "module" if own else settings.model.kind
    spec = ModelSpec(
        kind,
        tuple(_numeric_inputs(found, numeric)),
        tuple(_categorical_inputs(found["category"], categorical, settings)),
        settings.model.hidden if kind in DEEP else (),
        settings.model.dropout if kind in DEEP else 0.0,
        target=target,
        module=settings.model.module if not own else None,
        crosses=_crosses(settings) if not own else (),
        arrays=tuple(_array_inputs(found, numeric)),
        towers=towers,
    )
    return Fitted(spec, splits, weights)


def features(frame: DataFrame, settings: TrainingSection) -> tuple[dict[str, str], dict[str, str]]:
    """Name to type of the numeric features, dates and arrays of numbers among them, and of the categorical ones, in order.

    Dates and arrays are features only where they are listed: the day of a row says little of the days to come, and arrays may differ in length.

    Raises:
        ContractError: A listed column is missing or of an unsupported type, the weight is no number, or there is no feature at all.
    """
    types = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    wanted = [SPLIT, POSITION, settings.label, *(settings.numeric or ()), *(settings.categorical or ())]
    if missing := [name for name in (*wanted, *settings.slices) if name not in types]:
        raise ContractError(
            f"a training set without {missing[:5]}",
            expected=f"these columns beside {sorted(types)[:20]}",
            mend="correct training.numeric, .categorical, .slices or .label",
        )
    if (kind := types.get(WEIGHT, "double")) not in SUPPORTED_TYPES["numeric"] - {"boolean", "date"}:
        raise ContractError(f"`{WEIGHT}` of type {kind}", expected="a number, how much a row counts", mend="cast it to double, or rename the column")
    taken = {*wanted, WEIGHT, *settings.exclude}
    free = {name: kind for name, kind in types.items() if name not in taken}
    numeric = _typed("numeric", types, settings.numeric) if settings.numeric is not None else _numbers(free)
    texts = {name: kind for name, kind in free.items() if kind in ("string", "boolean") and name not in numeric}
    if settings.categorical is None and settings.label in settings.model.item:
        texts[settings.label] = types[settings.label]  # an item's own weights
    categorical = _typed("categorical", types, settings.categorical) if settings.categorical is not None else texts
    if unfit := [f"{name} ({kind})" for name, kind in free.items() if name not in {**numeric, **categorical}]:
        _log.info("no features, as neither listed nor numbers or strings: %s", ", ".join(unfit))
    if not numeric and not categorical:
        raise ContractError(
            "a training set without features", expected="numeric or string columns", mend="list them in training.numeric and training.categorical"
        )
    return numeric, categorical


def _numbers(types: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for name, kind in types.items() if kind in SUPPORTED_TYPES["numeric"] - {"boolean", "date"}}


def _typed(role: str, types: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    fitting = SUPPORTED_TYPES[role] | (SUPPORTED_TYPES["array"] if role == "numeric" else frozenset())
    if wrong := {name: types[name] for name in names if types[name] not in fitting}:
        shown = dict(list(wrong.items())[:5])
        raise ContractError(
            f"{role} features {[f'`{name}` ({kind})' for name, kind in shown.items()]}",
            expected=f"types {sorted(fitting)}",
            mend=f"in the feature table, {mends(shown)}" if role == "numeric" else "cast them to string in the feature table, or leave them out",
        )
    return {name: types[name] for name in names}


def _summarise(
    frame: DataFrame, numeric: Mapping[str, str], categorical: Mapping[str, str], settings: TrainingSection, rule: LabelRule
) -> dict[str, list[Row]]:
    """Counts and moments by kind: label, class, target (moments), number, element and length (of arrays), missing, infinite, category, weight (by class), unusable (weights)."""
    weight = [F.col(WEIGHT).cast("double").alias(_WEIGHT)] if WEIGHT in frame.columns else []
    columns = [quote(name) for name in dict.fromkeys([*numeric, *categorical])]
    rows = frame.select(F.col(SPLIT).alias(SPLIT), F.col(quote(settings.label)).cast(rule.cast).alias(_LABEL), *weight, *columns)
    counted_by_value = {name: kind for name, kind in categorical.items() if name not in settings.hashed}
    states = in_arrow(rows, _summarising(numeric, counted_by_value, rule), _SCHEMA)
    parts = F.collect_list(F.when(F.col("kind").isin("number", "element", "weight", "target"), F.struct("rows", "mean", "squares"))).alias("parts")
    counted = states.groupBy("kind", "name", "value").agg(F.sum("rows").alias("rows"), parts)
    frequent = counted.where((F.col("kind") != "category") | (F.col("rows") >= settings.minimum_count))
    place = F.row_number().over(Window.partitionBy("kind", "name").orderBy(F.desc("rows"), F.asc("value")))
    # Of classes and items one more than there may be: enough to see that there are too many.
    classes = (MOST_ITEMS if rule.task == "retrieval" else MOST_CLASSES) + 1
    most = F.when(F.col("kind") == "category", settings.vocabulary).when(F.col("kind") == "class", classes)
    kept = frequent.withColumn("place", place).where(most.isNull() | (F.col("place") <= most))
    kinds = ("label", "class", "target", "number", "element", "length", "missing", "infinite", "category", "weight", "unusable")
    found: dict[str, list[Row]] = {kind: [] for kind in kinds}
    for row in sorted(kept.collect(), key=lambda row: row["place"]):
        found[row["kind"]].append(row)
    return found


def _summarising(
    numeric: Mapping[str, str], categorical: Mapping[str, str], rule: LabelRule
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def summarise(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counts: Counts = Counter()
        labels = _Moments()
        moments: dict[str, _Moments] = {name: _Moments() for name, kind in numeric.items() if kind not in SUPPORTED_TYPES["array"]}
        arrays = ArrayMoments({name: kind for name, kind in numeric.items() if name not in moments})
        weights: dict[str, _Moments] = {}
        for batch in batches:
            trained, groups = rule.count(batch.column(_LABEL), batch.column(SPLIT), counts)
            if rule.cast == "double":
                known = batch.column(_LABEL).to_numpy(zero_copy_only=False)[trained]
                labels = labels.merge(_Moments.of(known[np.isfinite(known)]))
            if _WEIGHT in batch.schema.names:
                _add_weights(batch, groups.filter(pa.array(trained)), trained, counts, weights)
            arrays.add(batch, trained, counts)
            for name, before in moments.items():
                values = numbers(batch, name, numeric[name])
                mine = values[trained]
                counts["infinite", name, None] += int(np.isinf(values).sum())
                counts["missing", name, None] += int(np.isnan(mine).sum())
                moments[name] = before.merge(_Moments.of(mine[np.isfinite(mine)]))
            for name, kind in categorical.items():
                for pair in pc.value_counts(texts(batch, name, kind).filter(pa.array(trained))).to_pylist():
                    if pair["values"] is not None:
                        counts["category", name, pair["values"]] += pair["counts"]
            if len(counts) > _DISTINCT:
                yield from _states(counts)
                counts.clear()
        yield from _states(counts, arrays.states(), number=moments, weight=weights, target={rule.name: labels})

    return summarise


def _add_weights(batch: pa.RecordBatch, groups: pa.Array, trained: npt.NDArray[np.bool_], counts: Counts, weights: dict[str, _Moments]) -> None:
    """The weights of the rows that are trained on, by class."""
    values = batch.column(_WEIGHT).to_numpy(zero_copy_only=False)[trained]
    usable = np.isfinite(values) & (values >= 0)
    counts["unusable", WEIGHT, None] += int((~usable).sum())
    for group in groups.unique().to_pylist():
        inside = pc.equal(groups, group).to_numpy(zero_copy_only=False)
        weights[group] = weights.get(group, _Moments()).merge(_Moments.of(values[usable & inside]))


@dataclass(frozen=True)
class _Moments:
    """Number, mean and sum of squared deviations of values; parts merge (Chan et al. 1983)."""

    rows: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> _Moments:
        if not len(values):
            return cls()
        mean = float(values.mean())
        return cls(len(values), mean, float(((values - mean) ** 2).sum()))

    def merge(self, *others: _Moments) -> _Moments:
        """The whole of all parts; sums are exact, so the order of the parts does not matter."""
        parts = [part for part in (self, *others) if part.rows]
        rows = sum(part.rows for part in parts)
        if not rows:
            return self
        mean = math.fsum(part.rows * part.mean for part in parts) / rows
        return _Moments(rows, mean, math.fsum(part.squares + part.rows * (part.mean - mean) ** 2 for part in parts))


def _states(
    counts: Mapping[tuple[str, str | None, str | None], int], elements: Iterable[tuple[Any, ...]] = (), **moments: Mapping[str, _Moments]
) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = [(kind, name, value, count, None, None) for (kind, name, value), count in counts.items()]
    rows += elements
    for kind, of_kind in moments.items():
        rows += [(kind, name, None, found.rows, found.mean, found.squares) for name, found in of_kind.items()]
    types = (pa.string(), pa.string(), pa.string(), pa.int64(), pa.float64(), pa.float64())
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)] if rows else []
    if columns:
        yield pa.RecordBatch.from_arrays(columns, ["kind", "name", "value", "rows", "mean", "squares"])


def _label_moments(rows: Iterable[Row]) -> tuple[float, float] | None:
    """Mean and deviation of the train split's labels that are numbers; a constant has deviation 0."""
    merged = _Moments().merge(*(_Moments(*part) for row in rows for part in row["parts"]))
    if not merged.rows:
        return None
    mean, scale = _rounded(merged)
    return mean, 0.0 if _constant(merged) else scale


def _mean_weights(found: Mapping[str, Sequence[Row]], groups: Sequence[str]) -> tuple[float, ...] | None:
    """Mean weight of each class, to nine digits; None without weights."""
    if unusable := sum(row["rows"] for row in found["unusable"]):
        raise ContractError(
            f"{unusable} rows of the train split whose `{WEIGHT}` is null, infinite or below 0", expected="0 or more", mend="correct the weights"
        )
    moments = {row["name"]: _Moments().merge(*(_Moments(*part) for part in row["parts"])) for row in found["weight"]}
    return tuple(float(f"{moments[group].mean:.9g}") for group in groups) if moments else None


def _numeric_inputs(found: Mapping[str, Sequence[Row]], types: Mapping[str, str]) -> Iterator[NumericInput]:
    """Statistics of the train split; infinite values are counted in all splits, where the model is to work too."""
    _refuse_infinite(found["infinite"])
    missing = {row["name"]: row["rows"] for row in found["missing"]}
    moments = {row["name"]: _Moments().merge(*(_Moments(*part) for part in row["parts"])) for row in found["number"]}
    types = {name: kind for name, kind in types.items() if kind not in SUPPORTED_TYPES["array"]}
    if empty := [name for name in types if not moments[name].rows]:
        raise ContractError(
            f"no value at all in {empty[:5]} in the train split", expected="at least one", mend="mend the feature, or put it under training.exclude"
        )
    for name, kind in types.items():
        mean, scale = _rounded(moments[name])
        yield NumericInput(name, kind, fill=mean, mean=mean, scale=scale, indicator=bool(missing[name]))


def _array_inputs(found: Mapping[str, Sequence[Row]], types: Mapping[str, str]) -> Iterator[ArrayInput]:
    """Statistics of each element; an element that the train split never has is 0 everywhere."""
    missing = {row["name"]: row["rows"] for row in found["missing"]}
    parts = {(row["name"], int(row["value"])): _Moments().merge(*(_Moments(*part) for part in row["parts"])) for row in found["element"]}
    for name, kind in types.items():
        if kind in SUPPORTED_TYPES["array"]:
            moments = [parts.get((name, index), _Moments()) for index in range(array_length(name, found["length"]))]
            if not any(part.rows for part in moments):
                raise ContractError(
                    f"no value at all in `{name}` in the train split", expected="at least one", mend="mend the feature, or leave it out"
                )
            means, scales = zip(*(_rounded(part) if part.rows else (0.0, 1.0) for part in moments), strict=True)
            yield ArrayInput(name, kind, means, scales, indicator=bool(missing[name]))


def _refuse_infinite(rows: Iterable[Row]) -> None:
    if infinite := [f"`{row['name']}` ({row['rows']} rows)" for row in rows if row["rows"]]:
        raise ContractError(
            f"infinite values in {sorted(infinite)[:5]}", expected="finite numbers or null", mend="make them null where the feature is built"
        )


def _rounded(moments: _Moments) -> tuple[float, float]:
    """Mean and standard deviation to nine digits of the deviation; a constant has deviation 1."""
    if _constant(moments):
        return float(f"{moments.mean:.9g}"), 1.0
    deviation = math.sqrt(moments.squares / moments.rows)
    return round(moments.mean, 9 - math.floor(math.log10(deviation))), float(f"{deviation:.9g}")


def _constant(moments: _Moments) -> bool:
    return math.sqrt(moments.squares / moments.rows) <= 1e-12 * abs(moments.mean)  # what summing leaves of a constant


def _categorical_inputs(rows: Iterable[Row], types: Mapping[str, str], settings: TrainingSection) -> Iterator[CategoricalInput]:
    """Vocabularies: frequent values, the most frequent first, equal ones by value; hashed values have none."""
    if strange := sorted(settings.hashed.keys() - types.keys()):
        raise ContractError(f"training.hashed.{strange[0]}, which is no category", expected=f"some of {sorted(types)[:20]}", mend="correct it")
    vocabularies: dict[str, list[str]] = {name: [] for name in types if name not in settings.hashed}
    for row in rows:
        vocabularies[row["name"]].append(row["value"])
    if rare := [name for name, vocabulary in vocabularies.items() if not vocabulary]:
        raise ContractError(
            f"no value of {rare[:5]} on {settings.minimum_count} rows of the train split",
            expected="a category with frequent values",
            mend="put an identifier or an empty column under training.exclude, lower training.minimum_count, or hash it (training.hashed)",
        )
    for name, kind in types.items():
        if buckets := settings.hashed.get(name, 0):
            yield CategoricalInput(name, kind, (), _dimension(buckets, settings), buckets=buckets)
        else:
            found = vocabularies[name]
            yield CategoricalInput(name, kind, tuple(found), _dimension(len(found), settings), rare=settings.rare_bucket)


def _dimension(size: int, settings: TrainingSection) -> int:
    if settings.model.kind == "linear":
        return 1
    # A usual rule of thumb (fastai's), held narrow: most categories here have few rows each.
    return settings.model.embedding or min(16, round(1.6 * (size + 1) ** 0.56))


def shaped(spec: ModelSpec, settings: TrainingSection) -> ModelSpec:
    """The same fitted inputs under another model."""
    network = settings.model.kind in DEEP
    categorical = tuple(replace(column, dimension=_dimension(column.buckets or len(column.vocabulary), settings)) for column in spec.categorical)
    hidden, dropout = (settings.model.hidden, settings.model.dropout) if network else ((), 0.0)
    towers, target = spec.towers, spec.target
    if towers is not None:
        towers = replace(towers, temperature=settings.model.temperature, normalised=settings.model.normalised)
        target = replace(target, dimension=settings.model.dimension, top=settings.model.top)
    return replace(
        spec,
        kind=settings.model.kind,
        towers=towers,
        target=target,
        categorical=categorical,
        hidden=hidden,
        dropout=dropout,
        module=settings.model.module,
        crosses=_crosses(settings),
    )


def _crosses(settings: TrainingSection) -> tuple[Cross, ...]:
    return tuple(Cross(*cross.columns, cross.buckets) for cross in settings.model.crosses)
