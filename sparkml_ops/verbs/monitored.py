"""How the predictions of a model are read to be measured: by what its task predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

from feature_store.names import quote
from feature_store.nearest import did_you_mean
from sparkml_ops import monitoring, scoring
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.monitoring.losses import Expecting, Learning, LossModel, loss_name, need_lightgbm
from sparkml_ops.monitoring.numbers import Unit
from sparkml_ops.monitoring.truth import INFINITE, UNKNOWN_CLASS
from sparkml_ops.records import ModelVersion
from sparkml_ops.scoring.engines import RowPass
from sparkml_ops.scoring.matching import match
from sparkml_ops.tracking import OWN_LOADER
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.work import Work

__all__ = ["TASKS", "Monitored", "calibration_of", "expecting", "monitored", "output_of", "score_of"]

TASKS = ("binary", "multiclass", "regression", "count")
_MOST_WORDS = 200


@dataclass(frozen=True)
class Monitored:
    """How predictions of a version are read.

    Args:
        shape: What it predicts.
        spec: Its description; None of a binary model, which needs none.
    """

    shape: monitoring.Shape
    spec: ModelSpec | None = None

    @property
    def wrong(self) -> tuple[str, Column] | None:
        """What is odd with a label that cannot be; None: of a binary model, neither 0 nor 1."""
        label = F.col("label")
        if self.shape.task == "binary":
            return None
        return (UNKNOWN_CLASS, label < 0) if self.shape.classes else (INFINITE, F.abs(label) == F.lit(math.inf))

    @property
    def encoded(self) -> dict[str, Column]:
        """The inputs by which errors differ, as numbers; of a category its place in the vocabulary."""
        if self.spec is None:
            return {}
        # A category's number is what LightGBM takes for one: some hundred tell enough.
        of_words = {
            item.name: F.array_position(F.array(*map(F.lit, item.vocabulary[:_MOST_WORDS])), F.col(quote(item.name)).cast("string")).cast("double")
            for item in self.spec.categorical
            if item.vocabulary
        }
        of_numbers = {item.name: F.col(quote(item.name)).cast("double") for item in self.spec.numeric if item.type != "date"}
        return of_numbers | of_words

    def inputs(self, score: Column) -> Column:
        """Array of the inputs and, last, the prediction."""
        return F.array(*(F.coalesce(column, F.lit(math.nan)) for column in self.encoded.values()), score)

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the categories among the inputs."""
        words = {item.name for item in self.spec.categorical} if self.spec else set()
        numbers = {item.name for item in self.spec.numeric} if self.spec else set()
        return tuple(place for place, name in enumerate(self.encoded) if name in words - numbers)


def monitored(work: Work, model: ModelVersion) -> Monitored:
    """How the predictions of a version are read.

    Raises:
        ContractError: It was not made by this project, and only its file says what it predicts.
    """
    if (task := work.sections.training.task) == "binary":
        return Monitored(monitoring.Shape())
    registered = work.tracking.resolve(model.name, model.version)
    if registered.loader != OWN_LOADER:
        raise ContractError(
            f"{model.name} version {model.version}, loaded by {registered.loader}",
            expected=f"a model of the task {task} that this project trained",
            mend="compare its predictions with `sparkml-ops drift`",
        )
    with TemporaryDirectory() as scratch:
        text = (work.tracking.fetch(registered, Path(scratch) / "model") / DESCRIPTION).read_text(encoding="utf-8")
    spec = ModelSpec.from_json(text)
    if spec.target.task != task:
        raise ContractError(
            f"{model.name} version {model.version}, a model of the task {spec.target.task}",
            expected="training.task of the model",
            mend="monitor it with that",
        )
    unit = Unit(spec.target.mean, spec.target.scale if task == "regression" else max(spec.target.mean, 1e-9))
    return Monitored(monitoring.Shape(task, spec.target.classes, unit), spec)


def output_of(names: Sequence[str], wanted: str | None) -> str:
    """The output that is the probability of label 1.

    Raises:
        ContractError: There is none of that name.
    """
    chosen = wanted or (names[0] if len(names) == 1 else "probability")
    if chosen not in names:
        raise ContractError(
            f"no output `{chosen}`{did_you_mean(chosen, names)} in the predictions",
            expected=f"one of {sorted(names)}",
            mend="set monitoring.probability",
        )
    return chosen


def score_of(names: Sequence[str], wanted: str | None, classes: Sequence[str], column: Callable[[int], Column]) -> Column:
    """What is counted of a prediction: the probability of label 1, or those of all classes as an array.

    Args:
        names: Of the outputs.
        wanted: `monitoring.probability`.
        classes: Of a model of several.
        column: The output at a position.
    """
    if not classes and "value" in names:
        return column(list(names).index("value")).cast("double")
    if not classes:
        return column(list(names).index(output_of(names, wanted))).cast("double")
    # Class and confidence come before the probabilities.
    places = [place for place, name in enumerate(names) if name.startswith("probability_")]
    if len(places) != len(classes):
        raise ContractError(f"{len(places)} probabilities in the predictions", expected=f"{len(classes)}, one of each class", mend="score it anew")
    return F.array(*(column(place).cast("double") for place in places))


def calibration_of(work: Work, model: ModelVersion, read: Monitored) -> monitoring.Calibration | monitoring.ClassCalibration | LossModel | None:
    """A version's calibration, or what its task has in its place, learnt from its labelled evaluation rows where nobody has yet; None without any."""
    classes = read.shape.classes
    if classes:
        return monitoring.class_calibration_of(
            work.storage, model, classes, lambda: monitoring.class_counts(_evaluation(work, model, classes), len(classes))
        )
    if read.shape.task != "binary":
        return _losses_of(work, model, read)
    return monitoring.calibration_of(work.storage, model, lambda: monitoring.label_counts(_evaluation(work, model, ())))


def _losses_of(work: Work, model: ModelVersion, read: Monitored) -> LossModel | None:
    """A version's loss model, learnt once and kept, in one task: no row reaches the driver."""
    most, name = work.sections.monitoring.loss_rows, loss_name(model)
    if not most:
        return None
    need_lightgbm()
    if work.storage.exists(name) and (kept := LossModel.from_json(work.storage.read(name))).digest == model.digest:
        return kept
    names = list(read.encoded)
    rows, outputs = _passed(work, model, names)
    fields = {name: F.col(f"identity_{place + 1}") for place, name in enumerate(names)}
    score = F.col(f"output_{outputs.index('value')}")
    shown = rows.where(score.isNotNull()).select(
        score.alias("__score"), F.col("identity_0").cast("double").alias("__label"), *(c.alias(n) for n, c in fields.items())
    )
    learnt = shown.select(read.inputs(F.col("__score")).alias("inputs"), (F.col("__score") - F.col("__label")).alias("error"))
    # By a hash, so that fewer rows are some by chance; and in one order, for the same model each time.
    ordered = learnt.where(F.abs("error") < F.lit(math.inf)).orderBy(F.xxhash64("inputs", "error"), "error").limit(most)
    job = Learning(model.digest, read.categorical, read.shape.unit.scale)
    found = ordered.coalesce(1).mapInArrow(job, "model string").first()
    if found is None:
        return None
    work.storage.publish(name, found["model"].encode(), kind="calibration")
    return LossModel.from_json(found["model"].encode())


def expecting(rows: DataFrame, models: Mapping[str, LossModel | None], read: Monitored) -> DataFrame:
    """Scored rows with the error to expect of each.

    Args:
        rows: Columns `window`, `score` and the inputs.
        models: By window.
    """
    given = rows.select(*(F.col(quote(name)) for name in rows.columns), read.inputs(F.col("score")).alias("inputs"))
    schema = StructType([StructField("expected", ArrayType(DoubleType())) if item.name == "inputs" else item for item in given.schema.fields])
    return given.mapInArrow(Expecting(dict(models)), schema)


def _evaluation(work: Work, model: ModelVersion, classes: Sequence[str]) -> DataFrame:
    """The labelled evaluation rows of a version by its score."""
    rows, outputs = _passed(work, model, [])
    score = score_of(outputs, work.sections.monitoring.probability, classes, lambda place: F.col(f"output_{place}"))
    found = F.col("identity_0")
    truth = (F.array_position(F.array(*map(F.lit, classes)), found.cast("string")) - 1).cast("double") if classes else found.cast("double")
    values = {"window": F.lit(""), "score": score, "label": F.when(truth >= 0, truth)}
    kinds = {**dict.fromkeys(("lag", "amount", "reward"), "double"), "expected": "array<double>"}
    return rows.select(*(values.get(name, F.lit(None).cast(kinds.get(name, "string"))).alias(name) for name in monitoring.COLUMNS))


def _passed(work: Work, model: ModelVersion, beside: Sequence[str]) -> tuple[DataFrame, list[str]]:
    """The labelled evaluation rows of a version through the engine that scores windows, and the names of its outputs.

    Args:
        beside: Columns that go with each row, as `identity_1`, ... after the label.
    """
    declared, snapshot = training_set.declaration(work), model.training_set.snapshot
    table = work.tables.read(snapshot.table, snapshot.version)
    rows = table.where((F.col("split") == F.lit("evaluation")) & F.col(quote(declared.label)).isNotNull())
    published = scoring.load(work.tracking, work.storage, model.name, model.version, work.sections.scoring).published
    types = {field.name: field.dataType.simpleString() for field in table.schema.fields}
    matches = match(types, published.inputs, where=f"table `{snapshot.table}` at version {snapshot.version}")
    row_pass = RowPass(published, matches, tuple(table.schema[name] for name in (declared.label, *beside)), None)
    return row_pass.run(rows, F.lit(None).cast("string"), "arrow"), [field.name for field in published.outputs]
