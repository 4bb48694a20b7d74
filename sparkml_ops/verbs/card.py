"""The card of a registered version, made from the project's records; with an explanation it reads some evaluation rows."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION, load
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.records import ModelVersion, TrainingSet
from sparkml_ops.release.card import Card
from sparkml_ops.release.explanation import Explanation, OneRow, explain, explain_row
from sparkml_ops.release.importance import Importance, keep_importance
from sparkml_ops.release.reports import newest_report
from sparkml_ops.tracking import OWN_LOADER, RegisteredModel
from sparkml_ops.verbs.witnesses import declared
from sparkml_ops.verbs.work import Work

__all__ = ["card_of", "explain_prediction"]


def card_of(work: Work, which: int | str, *, explained: bool = False) -> Card:
    """The card of a version.

    Args:
        work: The project's resources.
        which: Its number, or an alias.
        explained: Whether to explain it on some evaluation rows, which takes Spark, torch and the extra `explain`; the importance of its inputs
            is kept beside the version then, for `causes`.

    Raises:
        ContractError: No such version; or it cannot be explained.
    """
    settings, registered = work.sections.release, work.tracking.resolve(work.sections.release.model, which)
    record = registered.record
    bound = {"digest": record.digest, "evaluation_hash": record.training_set.content_hash, "config_hash": work.config.hash("release")}
    stored = newest_report(work.tables, model=record.name, **bound)
    told = declared(work, record.training_set)
    sensitive = tuple(sorted({*settings.card.sensitive, *told.personal}))
    metrics = {name: value for name, value in work.tracking.logged(registered.run_id).metrics.items() if math.isfinite(value)}
    spec, found = _looked_into(work, registered, sensitive, explained=explained)
    if found is not None:
        keep_importance(work.storage, record, Importance(record.digest, found.measured, found.importance, found.withheld))
    return Card(record, settings.card, spec, metrics, None if stored is None else stored.report, sensitive, told.units, found)


def _looked_into(
    work: Work, registered: RegisteredModel, sensitive: tuple[str, ...], *, explained: bool
) -> tuple[ModelSpec | None, Explanation | None]:
    if registered.loader != OWN_LOADER:
        if explained:
            raise ContractError(f"a model loaded by {registered.loader}", expected="one of this project", mend="add --no-explain")
        return None, None
    with TemporaryDirectory() as scratch:
        folder = work.tracking.fetch(registered, Path(scratch) / "model")
        spec = ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return spec, _explained(work, registered.training_set, spec, folder, sensitive) if explained else None


def _explained(work: Work, training_set: TrainingSet, spec: ModelSpec, folder: Path, sensitive: tuple[str, ...]) -> Explanation:
    withheld = tuple(name for name, _ in spec.inputs if name in sensitive)
    label = work.sections.training.label
    shown = shown_inputs(spec, withheld)
    first = first_rows(work, training_set)
    binary = spec.target.task == "binary"
    found: pa.Table = first.select(*shown, (F.col(quote(label)).cast("double") if binary else F.lit(None).cast("double")).alias("__label")).toArrow()
    truth = np.asarray(found.column("__label").to_numpy(zero_copy_only=False), np.float64) if binary else None
    return explain(load(folder), found.drop_columns("__label"), truth, withheld=withheld)


def explain_prediction(work: Work, version: ModelVersion, given: DataFrame) -> OneRow:
    """What one prediction hangs on, against some evaluation rows of its model.

    Args:
        given: The row as the model was given it.

    Raises:
        ContractError: A model of others, changed files, or shap is not installed.
    """
    registered = work.tracking.resolve(version.name, version.version)
    if registered.loader != OWN_LOADER:
        raise ContractError(f"a model loaded by {registered.loader}", expected="one of this project", mend="leave out --contributions")
    told = declared(work, version.training_set)
    sensitive = {*work.sections.release.card.sensitive, *told.personal}
    with TemporaryDirectory() as scratch:
        predictor = load(work.tracking.fetch(registered, Path(scratch) / "model"))
    withheld = tuple(name for name, _ in predictor.spec.inputs if name in sensitive)
    shown = shown_inputs(predictor.spec, withheld)
    background: pa.Table = first_rows(work, version.training_set).select(*shown).toArrow()
    row: pa.Table = given.select(*shown).limit(1).toArrow()
    return explain_row(predictor, background, row, withheld=withheld)


def shown_inputs(spec: ModelSpec, withheld: Collection[str]) -> list[Column]:
    """A model's inputs; personal columns are not even selected: what stands for them is null."""
    return [F.col(quote(name)) if name not in withheld else F.lit(None).cast(kind).alias(name) for name, kind in spec.inputs]


def first_rows(work: Work, training_set: TrainingSet) -> DataFrame:
    """Some evaluation rows, in the order of their hash."""
    rows = work.tables.read(training_set.snapshot.table, training_set.snapshot.version).where(F.col("split") == "evaluation")
    return rows.orderBy("row_position").limit(work.sections.release.card.explain_rows)
