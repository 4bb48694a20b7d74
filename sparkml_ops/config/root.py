"""The whole configuration of a project, closed and frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from feature_store.declaration import FeatureTableDeclaration, LookupDeclaration, SourceDeclaration, TrainingSetDeclaration
from sparkml_ops.config.alerts import AlertsSection
from sparkml_ops.config.costs import CostsSection
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.config.merge import leaves
from sparkml_ops.config.metrics import MetricsSection
from sparkml_ops.config.monitoring import MonitoringSection
from sparkml_ops.config.places import MlflowSection, StorageSection, WarehouseSection
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.config.retraining import RetrainingSection
from sparkml_ops.config.rollout import RolloutSection
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.config.section import Section
from sparkml_ops.config.spark import SparkSection
from sparkml_ops.config.training import OPERATIONAL, TrainingSection
from sparkml_ops.config.tuning import TuningSection, check_space

__all__ = ["Config", "Sections"]

# How work is run and watched, not what it computes: its result does not depend on these.
_OPERATIONAL: dict[str, Any] = {
    "training": OPERATIONAL,
    "scoring": {"engine", "chunk_rows", "window", "freshness", "longest_call", "trusted_pickles"},
    "features": {"__all__": {"freshness", "deprecated"}},
}
# Options that came later, with the value that means what was done without them: finished runs keep their hash.
_AS_BEFORE: dict[str, dict[str, Any]] = {"scoring": {"unseen_nulls": "score"}}


class Sections(Section):
    """Every section that a configuration file may hold."""

    spark: SparkSection = Field(default_factory=SparkSection)
    storage: StorageSection = Field(default_factory=StorageSection)
    warehouse: WarehouseSection
    mlflow: MlflowSection = Field(default_factory=MlflowSection)
    sources: dict[str, SourceDeclaration] = Field(default_factory=dict)
    features: dict[str, FeatureTableDeclaration] = Field(default_factory=dict)
    training_set: TrainingSetDeclaration | None = None
    training: TrainingSection = Field(default_factory=TrainingSection)
    tuning: TuningSection = Field(default_factory=TuningSection)
    release: ReleaseSection = Field(default_factory=ReleaseSection)
    scoring: ScoringSection = Field(default_factory=ScoringSection)
    rollout: RolloutSection = Field(default_factory=RolloutSection)
    drift: DriftSection = Field(default_factory=DriftSection)
    monitoring: MonitoringSection = Field(default_factory=MonitoringSection)
    retraining: RetrainingSection = Field(default_factory=RetrainingSection)
    alerts: AlertsSection = Field(default_factory=AlertsSection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    costs: CostsSection = Field(default_factory=CostsSection)

    @field_validator("training")
    @classmethod
    def _at_home(cls, training: TrainingSection, info: ValidationInfo) -> TrainingSection:
        examples = info.data.get("training_set")
        if training.sites and examples is not None and examples.site is None:
            raise ValueError("training.sites without training_set.site: name the column that says where a row is at home")
        return training

    @field_validator("tuning")
    @classmethod
    def _searchable(cls, tuning: TuningSection, info: ValidationInfo) -> TuningSection:
        if "training" in info.data:  # else its own faults are told
            check_space(info.data["training"], tuning.searched)
            if tuning.automl and (task := info.data["training"].task) != "binary":
                raise ValueError(f"automl with training.task {task}: its candidates are binary models; search training.model.kind in the space")
            if info.data["training"].sites and (tuning.automl or tuning.parallel > 1):
                found = "automl" if tuning.automl else f"parallel={tuning.parallel}"
                raise ValueError(f"{found} with training.sites: rows of all sites would be read in one place; take trials one after the other")
        return tuning

    @field_validator("retraining")
    @classmethod
    def _enough_columns(cls, retraining: RetrainingSection, info: ValidationInfo) -> RetrainingSection:
        trigger, most = retraining.policy.drift, _compared(info.data)
        if trigger is not None and most is not None and trigger.columns > most:
            raise ValueError(f"policy.drift.columns {trigger.columns} of {most} columns that are compared: it could never fire")
        return retraining


def _compared(data: Mapping[str, Any]) -> int | None:
    """Most columns that `drift` can compare; None where the configuration alone does not tell."""
    drift, examples, tables = data.get("drift"), data.get("training_set"), data.get("features")
    if drift is not None and drift.columns is not None:
        return len(drift.columns)
    if examples is None or tables is None:
        return None
    taken = [_taken(lookup, tables.get(lookup.table)) for lookup in examples.lookups]
    return None if None in taken else len(examples.columns) + sum(count for count in taken if count is not None)


def _taken(lookup: LookupDeclaration, table: FeatureTableDeclaration | None) -> int | None:
    """Columns that a lookup adds; None of all those of a table that is declared elsewhere."""
    if lookup.features is not None:
        return len(lookup.features)
    return None if table is None else len(table.features) + len(table.aggregates)


@dataclass(frozen=True)
class Config:
    """A project's configuration and where each key came from.

    Args:
        sections: The checked values.
        project: Name of the project.
        env: Name of the environment.
        base: Folder that holds `conf/`; relative folders are relative to it.
        origins: Dotted key to file or `--set`; a key that is not there is a default.
    """

    sections: Sections
    project: str
    env: str
    base: Path
    origins: Mapping[str, str] = field(default_factory=dict)

    def hash(self, *names: str) -> str:
        """Digest of what some sections declare, 16 hexadecimal digits; how a verb is run does not count."""
        declared = {name: self.sections.model_dump(mode="json", include={name}, exclude={name: _OPERATIONAL.get(name, set())}) for name in names}
        for name, values in _AS_BEFORE.items():
            section = declared.get(name, {}).get(name, {})
            for key in [key for key, value in values.items() if section.get(key) == value]:
                del section[key]
        return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:16]

    def rows(self) -> list[tuple[str, Any, str]]:
        """Every key with its value and origin."""
        values = self.sections.model_dump(mode="json", by_alias=True)
        return [(".".join(path), value, self._origin(path)) for path, value in leaves(values)]

    def _origin(self, path: tuple[str, ...]) -> str:
        found = (self.origins.get(".".join(path[:length])) for length in range(len(path), 0, -1))
        return next((origin for origin in found if origin), "default")
