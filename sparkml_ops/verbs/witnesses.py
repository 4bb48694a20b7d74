"""Whom a release asks: the ledger, the records of trainings, and the function that scoring uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pydantic import TypeAdapter
from pyspark.sql import DataFrame

from feature_store.assembly import lookup_of
from feature_store.pii import personal_columns
from feature_store.registry import Registry
from feature_store.training_set import TrainingSets
from feature_store.units import declared_units
from sparkml_ops import release, scoring
from sparkml_ops.errors import ContractError, TableNotFound
from sparkml_ops.records import ModelVersion, Reproduction, TrainingResult, TrainingSet
from sparkml_ops.release.card import Declared
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.verbs.ancestry import Ancestry
from sparkml_ops.verbs.work import Work

__all__ = ["WorkProbe", "absent", "declared", "witnesses"]


def witnesses(work: Work, chosen: TrainingResult) -> release.Witnesses:
    """Everybody that a project can ask about a training.

    Args:
        work: The project's resources.
        chosen: The training, which may not stand in the ledger yet.
    """
    ancestry = Ancestry(work, chosen)

    def lineage(run_id: str) -> tuple[TrainingSet, ...] | None:
        # A warm one was trained on the rows of all models before it too.
        found = ancestry.of(run_id)
        return None if found is None else tuple(result.training_set for result in found)

    return release.Witnesses(
        lineage=lineage,
        absent=lambda result: absent(work, result),
        reproduction=lambda run_id: _reproduction(work, run_id),
        probe=WorkProbe(work),
        declared=lambda training_set: declared(work, training_set),
    )


@dataclass(frozen=True)
class WorkProbe:
    """The function that scoring uses, with a project's registry and storage."""

    work: Work

    def sample(self, version: ModelVersion, rows: DataFrame, position: str, count: int) -> tuple[pa.Table, pa.Table]:
        """As `release.evidence.Probe` says."""
        from sparkml_ops.scoring.probe import sample

        return sample(self._published(version), rows, position, count)

    def measure(self, version: ModelVersion, rows: DataFrame) -> Mapping[str, float]:
        """As `release.evidence.Probe` says."""
        from sparkml_ops.scoring.probe import measure

        return measure(self._published(version), rows)

    def _published(self, version: ModelVersion) -> PublishedModel:
        work = self.work
        return scoring.load(work.tracking, work.storage, version.name, version.version, work.sections.scoring).published


def absent(work: Work, result: TrainingResult) -> tuple[str, ...]:
    """What the records of a training lack, in words; empty where its lineage is complete."""
    from sparkml_ops.training.conditions import Conditions

    found, chosen = [], result.training_set
    if TrainingSets(work.tables).definition(chosen.id) is None:
        found.append(f"the definition of training set {chosen.id}")
    try:
        work.tables.read(chosen.snapshot.table, chosen.snapshot.version)
    except TableNotFound:
        found.append(f"the rows of training set {chosen.id}")
    try:
        conditions = Conditions.of(work.storage, result.checkpoint)
    except ContractError as error:
        found.append(f"settings and environment of the training ({error.found})")
    else:
        found += [f"the {part} of its environment" for part in ("packages", "code") if not conditions.environment.get(part)]
    if not work.tracking.logged(result.run_id).params:
        found.append(f"the parameters of run {result.run_id}")
    return tuple(found)


def declared(work: Work, training_set: TrainingSet) -> Declared:
    """What feature tables say of the columns of a training set; needs no Spark where the warehouse is a folder."""
    definition = TrainingSets(work.tables).definition(training_set.id)
    # Of a lookup that was a frame nothing is kept.
    lookups = [lookup_of(document) for document in (definition or {}).get("lookups", ()) if "content" not in document]
    registry = Registry(work.tables)
    return Declared(personal_columns(registry, lookups), declared_units(registry, lookups))


def _reproduction(work: Work, run_id: str) -> Reproduction | None:
    done = work.ledger.runs({"verb": "reproduce", "project": work.config.project, "target": run_id})
    return TypeAdapter(Reproduction).validate_python(done[-1].record) if done else None
