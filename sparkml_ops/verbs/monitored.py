"""How the predictions of a model are read to be measured: by what its task predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.names import quote
from feature_store.nearest import did_you_mean
from sparkml_ops import monitoring, scoring
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.records import ModelVersion
from sparkml_ops.scoring.engines import RowPass
from sparkml_ops.scoring.matching import match
from sparkml_ops.tracking import OWN_LOADER
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.work import Work

__all__ = ["TASKS", "calibration_of", "classes_of", "output_of", "score_of"]

TASKS = ("binary", "multiclass")


def classes_of(work: Work, model: ModelVersion) -> tuple[str, ...]:
    """The classes of a version in the order of its scores; empty for a binary model.

    Raises:
        ContractError: It was not made by this project, and only its file says which classes it knows.
    """
    if work.sections.training.task != "multiclass":
        return ()
    registered = work.tracking.resolve(model.name, model.version)
    if registered.loader != OWN_LOADER:
        raise ContractError(
            f"{model.name} version {model.version}, loaded by {registered.loader}",
            expected="a model of several classes that this project trained",
            mend="compare its predictions with `sparkml-ops drift`",
        )
    with TemporaryDirectory() as scratch:
        text = (work.tracking.fetch(registered, Path(scratch) / "model") / DESCRIPTION).read_text(encoding="utf-8")
    target = ModelSpec.from_json(text).target
    if target.task != "multiclass":
        raise ContractError(
            f"{model.name} version {model.version}, a model of the task {target.task}",
            expected="training.task of the model",
            mend="monitor it with that",
        )
    return target.classes


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
    if not classes:
        return column(list(names).index(output_of(names, wanted))).cast("double")
    # Class and confidence come before the probabilities.
    places = [place for place, name in enumerate(names) if name.startswith("probability_")]
    if len(places) != len(classes):
        raise ContractError(f"{len(places)} probabilities in the predictions", expected=f"{len(classes)}, one of each class", mend="score it anew")
    return F.array(*(column(place).cast("double") for place in places))


def calibration_of(work: Work, model: ModelVersion, classes: Sequence[str]) -> monitoring.Calibration | monitoring.ClassCalibration | None:
    """A version's calibration, fitted on its labelled evaluation rows where nobody has yet; None without any."""
    if classes:
        return monitoring.class_calibration_of(
            work.storage, model, classes, lambda: monitoring.class_counts(_evaluation(work, model, classes), len(classes))
        )
    return monitoring.calibration_of(work.storage, model, lambda: monitoring.label_counts(_evaluation(work, model, ())))


def _evaluation(work: Work, model: ModelVersion, classes: Sequence[str]) -> DataFrame:
    """The labelled evaluation rows of a version by its score, through the engine that scores windows."""
    declared, snapshot = training_set.declaration(work), model.training_set.snapshot
    table = work.tables.read(snapshot.table, snapshot.version)
    label = F.col(quote(declared.label))
    rows = table.where((F.col("split") == F.lit("evaluation")) & label.isNotNull())
    published = scoring.load(work.tracking, work.storage, model.name, model.version, work.sections.scoring).published
    types = {field.name: field.dataType.simpleString() for field in table.schema.fields}
    matches = match(types, published.inputs, where=f"table `{snapshot.table}` at version {snapshot.version}")
    row_pass = RowPass(published, matches, (table.schema[declared.label],), None)
    names = [field.name for field in published.outputs]
    score = score_of(names, work.sections.monitoring.probability, classes, lambda place: F.col(f"output_{place}"))
    found = F.col("identity_0")
    truth = (F.array_position(F.array(*map(F.lit, classes)), found.cast("string")) - 1).cast("double") if classes else found.cast("double")
    values = {"window": F.lit(""), "score": score, "label": F.when(truth >= 0, truth)}
    kinds = dict.fromkeys(("lag", "amount", "reward"), "double")
    columns = [values.get(name, F.lit(None).cast(kinds.get(name, "string"))).alias(name) for name in monitoring.COLUMNS]
    return row_pass.run(rows, F.lit(None).cast("string"), "arrow").select(*columns)
