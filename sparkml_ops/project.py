"""The notebook's handle on a project: one method a verb."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from pyspark.sql import DataFrame, SparkSession

from sparkml_ops import scoring
from sparkml_ops.config.load import load
from sparkml_ops.config.root import Config
from sparkml_ops.drift import DriftReport
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.records import ModelVersion, ScoredWindow, Snapshot, TrainingResult, TrainingSet
from sparkml_ops.verbs import build_features, drift, promote, register, score, train, training_set
from sparkml_ops.verbs.outcome import Generation
from sparkml_ops.verbs.work import Work

__all__ = ["Project"]


class Project:
    """A project under its configuration: raw tables to monitored predictions, verb by verb.

    Example:
        ```python
        project = Project.open("conf", "flights")
        project.build_features()
        result = project.train(project.training_set(until="2013-07-01"))
        project.promote(project.register(result))
        scored = project.score("2013-07")
        project.drift("2013-07").to_html("july.html")
        ```
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    @classmethod
    def open(cls, conf: str | Path, project: str, *, env: str = "local", overrides: Sequence[str] = (), spark: SparkSession | None = None) -> Self:
        """Read a project's configuration.

        Args:
            conf: Folder with `base.yaml`, `env/` and `projects/`.
            project: Folder under `conf/projects`.
            env: File under `conf/env`.
            overrides: `key=value` pairs, as `training.workers=2`.
            spark: Session to use; otherwise the active one, spark-submit's, or one that is built.

        Raises:
            ConfigurationError: With file, key and the nearest known key.
        """
        return cls(Work(load(conf, project, env=env, overrides=overrides), spark))

    @property
    def config(self) -> Config:
        """The configuration."""
        return self._work.config

    @property
    def spark(self) -> SparkSession:
        """The session, built when it is first needed."""
        return self._work.spark

    def build_features(self, *, as_of: datetime | str | None = None) -> tuple[Snapshot, ...]:
        """Bring raw and feature tables up to date."""
        return build_features.perform(self._work, as_of=as_of).record

    def training_set(self, *, until: datetime | str, as_of: datetime | str | None = None, generation: Generation = 0) -> TrainingSet:
        """Materialise the training set whose training rows end before `until`."""
        return training_set.perform(self._work, until=until, as_of=as_of, generation=generation).record

    def train(self, training_set: TrainingSet | None = None, *, as_of: datetime | str | None = None, generation: Generation = 0) -> TrainingResult:
        """Train on a training set, by default the newest."""
        return train.perform(self._work, training_set=training_set, as_of=as_of, generation=generation).record

    def register(self, result: TrainingResult | None = None, *, as_of: datetime | str | None = None) -> ModelVersion:
        """Register a training result, by default the newest, and judge it by the gates."""
        return register.perform(self._work, result=result, as_of=as_of).record

    def promote(self, version: ModelVersion | None = None, *, as_of: datetime | str | None = None, actor: str = "") -> ModelVersion:
        """Make a version the champion; GateRefused without a passed gate report."""
        return promote.perform(self._work, version=version, as_of=as_of, actor=actor).record

    def rollback(self, *, as_of: datetime | str | None = None, actor: str = "") -> ModelVersion:
        """Make the champion before this one the champion again."""
        return promote.perform_rollback(self._work, as_of=as_of, actor=actor).record

    def score(self, window: str, *, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None) -> ScoredWindow:
        """Score a window into a slot, exactly once."""
        return score.perform(self._work, window=window, slot=slot, generation=generation, as_of=as_of).record

    def drift(self, window: str, *, generation: Generation = 0, as_of: datetime | str | None = None) -> DriftReport:
        """Compare a scored window with the champion's training set."""
        return drift.perform(self._work, window=window, generation=generation, as_of=as_of).record

    def predictions(self, window: str | None = None, *, slot: str | None = None) -> DataFrame:
        """Scored rows."""
        return scoring.predictions(self._work.tables, self._work.sections.scoring.target, window=window, slot=slot)

    def quarantine(self, window: str | None = None, *, slot: str | None = None) -> DataFrame:
        """Rows set aside, each with its reason."""
        return scoring.quarantine(self._work.tables, self._work.sections.scoring.target, window=window, slot=slot)

    def runs(self) -> list[FinishedRun]:
        """Finished runs of this project, oldest first."""
        return self._work.ledger.runs({"project": self.config.project})
