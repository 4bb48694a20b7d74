"""The notebook's handle on a project: one method a verb."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from pyspark.sql import DataFrame, SparkSession

from feature_store import FeatureStore
from sparkml_ops import release, scoring
from sparkml_ops.alerts import Alert
from sparkml_ops.catalog import Catalog
from sparkml_ops.config.load import load
from sparkml_ops.config.root import Config
from sparkml_ops.drift import DriftReport
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.model.module import MakeModule
from sparkml_ops.monitoring.year import Year
from sparkml_ops.records import (
    ModelVersion,
    MonitorReport,
    Reproduction,
    RetrainDecision,
    ScoredWindow,
    Snapshot,
    TrainingResult,
    TrainingSet,
    TuningResult,
)
from sparkml_ops.verbs import (
    alerts,
    build_features,
    catalog,
    drift,
    due,
    history,
    monitor,
    promote,
    register,
    reproduce,
    retrain,
    score,
    status,
    train,
    training_set,
    tune,
)
from sparkml_ops.verbs.alerts import AlertCheck
from sparkml_ops.verbs.outcome import Generation
from sparkml_ops.verbs.status import ProjectStatus
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
        work = Work(load(conf, project, env=env, overrides=overrides), spark)
        if spark is not None:
            _ = work.spark  # from here on `predict_udf` finds the project's models in it
        return cls(work)

    @property
    def config(self) -> Config:
        """The configuration."""
        return self._work.config

    @property
    def spark(self) -> SparkSession:
        """The session, built when it is first needed."""
        return self._work.spark

    @property
    def store(self) -> FeatureStore:
        """The feature store over the project's tables."""
        return self._work.store

    @property
    def champion(self) -> ModelVersion | None:
        """The version that scores, or None before the first promotion."""
        model = self._work.sections.release.model
        return self._work.tracking.resolve(model, release.CHAMPION).record if release.history(self._work.tables, model) else None

    def build_features(self, *, as_of: datetime | str | None = None) -> tuple[Snapshot, ...]:
        """Bring raw and feature tables up to date."""
        return build_features.perform(self._work, as_of=as_of).record

    def training_set(
        self,
        *,
        until: datetime | str,
        since: datetime | str | None = None,
        replay: float = 0.0,
        as_of: datetime | str | None = None,
        generation: Generation = 0,
    ) -> TrainingSet:
        """Materialise the training set whose training rows end before `until`, and begin at `since` where it is given.

        With `replay` it takes that share of the earlier keys' rows as well.
        """
        return training_set.perform(self._work, until=until, since=since, replay=replay, as_of=as_of, generation=generation).record

    def train(
        self,
        training_set: TrainingSet | None = None,
        *,
        warm_start: ModelVersion | None = None,
        stateful: bool = False,
        model: MakeModule | None = None,
        as_of: datetime | str | None = None,
        generation: Generation = 0,
    ) -> TrainingResult:
        """Train on a training set, by default the newest.

        Args:
            training_set: What to train on.
            warm_start: A version whose weights and preprocessing the training goes on from.
            stateful: Whether with its optimiser's state too.
            model: What makes a network of one's own from a `FeatureDescription`, in place of `training.model`.
        """
        begun = train.perform(
            self._work, training_set=training_set, warm_start=warm_start, stateful=stateful, model=model, as_of=as_of, generation=generation
        )
        return begun.record

    def reproduce(self, run: str | TrainingResult, *, as_of: datetime | str | None = None, generation: Generation = 0) -> Reproduction:
        """Train again what an earlier run trained, from its record, and compare; `.equal` says whether the same came out."""
        name = run if isinstance(run, str) else run.run_id
        return reproduce.perform(self._work, run=name, as_of=as_of, generation=generation).record

    def tune(self, training_set: TrainingSet | None = None, *, as_of: datetime | str | None = None, generation: Generation = 0) -> TuningResult:
        """Search `tuning.space` for a better training on a training set, by default the newest; the evaluation split is not touched."""
        return tune.perform(self._work, training_set=training_set, as_of=as_of, generation=generation).record

    def register(
        self, result: TrainingResult | None = None, *, as_of: datetime | str | None = None, generation: Generation = 0, actor: str = ""
    ) -> ModelVersion:
        """Register a training result, by default the newest, and judge it by the gates, against the champion of this moment."""
        return register.perform(self._work, result=result, as_of=as_of, generation=generation, actor=actor).record

    def promote(self, version: ModelVersion | None = None, *, as_of: datetime | str | None = None, actor: str = "") -> ModelVersion:
        """Make a version the champion; GateRefused without a passed gate report."""
        return promote.perform(self._work, version=version, as_of=as_of, actor=actor).record

    def rollback(self, *, as_of: datetime | str | None = None, actor: str = "") -> ModelVersion:
        """Make the champion before this one the champion again."""
        return promote.perform_rollback(self._work, as_of=as_of, actor=actor).record

    def score(
        self,
        window: str,
        *,
        slot: str = "champion",
        generation: Generation = 0,
        version: int | None = None,
        changed: bool = False,
        as_of: datetime | str | None = None,
    ) -> ScoredWindow:
        """Score a window into a slot, exactly once; with `changed` only the rows that came, were corrected or set aside since."""
        done = score.perform(self._work, window=window, slot=slot, generation=generation, version=version, changed=changed, as_of=as_of)
        return done.record

    def score_due(self, *, slot: str = "champion", since: str | None = None, as_of: datetime | str | None = None) -> tuple[ScoredWindow, ...]:
        """Score the windows that have ended by `as_of` and were missed, oldest first; none of them where nothing is due."""
        return tuple(item.record for item in due.perform(self._work, slot=slot, since=since, as_of=as_of))

    def status(self, *, as_of: datetime | str | None = None) -> ProjectStatus:
        """How old each output is against its promise, who is champion, and what should be looked at."""
        return status.perform(self._work, as_of=as_of)

    def check_alerts(self, *, as_of: datetime | str | None = None) -> AlertCheck:
        """Judge the stored figures by the policies of `alerts`, and tell the channels; a repeat finds nothing new."""
        return alerts.check(self._work, as_of=as_of)

    def alerts(self, *, every: bool = False) -> tuple[Alert, ...]:
        """Open alerts, the gravest first; with `every` resolved ones too."""
        return alerts.open_alerts(self._work, every=every)

    def retrain(self, window: str, *, on_demand: bool = False, generation: Generation = 0, as_of: datetime | str | None = None) -> RetrainDecision:
        """Decide whether a new model is due after a window, and train, judge and promote it if so."""
        return retrain.perform(self._work, window=window, on_demand=on_demand, generation=generation, as_of=as_of).record

    def drift(self, window: str, *, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None) -> DriftReport:
        """Compare a scored window with the training set of the model that scored it."""
        return drift.perform(self._work, window=window, slot=slot, generation=generation, as_of=as_of).record

    def monitor(self, window: str, *, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None) -> MonitorReport:
        """Measure a scored window against the truth that is known, and estimate it where it is not."""
        return monitor.perform(self._work, window=window, slot=slot, generation=generation, as_of=as_of).record

    def predictions(self, window: str | None = None, *, slot: str | None = None) -> DataFrame:
        """Scored rows."""
        return scoring.predictions(self._work.tables, self._work.sections.scoring.target, window=window, slot=slot)

    def served(self, window: str | None = None) -> DataFrame:
        """The predictions to act on, one a row, of the published table: that of its arm where `rollout.canary` deals some, else the champion's."""
        work = self._work
        target = scoring.published(work.tables, work.config.project, work.sections.scoring.target)
        return scoring.served(work.tables, target, training_set.declaration(work).row_key, window=window)

    def quarantine(self, window: str | None = None, *, slot: str | None = None) -> DataFrame:
        """Rows set aside, each with its reason."""
        return scoring.quarantine(self._work.tables, self._work.sections.scoring.target, window=window, slot=slot)

    def index_items(self, items: DataFrame, *, item: str, name: str, slot: str = "champion") -> Snapshot:
        """Write the vectors of items that came after a retrieval model was trained as a table; see `scoring.build_index`."""
        return scoring.build_index(self._work.tables, self._retrieval(slot), items, item=item, name=name)

    def recommend(self, queries: DataFrame, index: Snapshot, *, keep: Sequence[str], most: int | None = None, slot: str = "champion") -> DataFrame:
        """The best items of an index for each query, lazy; see `scoring.recommend`."""
        return scoring.recommend(self._work.tables, self._retrieval(slot), queries, index, keep=keep, most=most)

    def _retrieval(self, slot: str) -> scoring.ScoringModel:
        sections = self._work.sections
        return scoring.load(self._work.tracking, self._work.storage, sections.release.model, slot, sections.scoring)

    def report(self, path: str | Path | None = None, *, slot: str = "champion", as_of: datetime | str | None = None) -> Year:
        """The year: rows, drift, performance and decision of each window; with a path, as a page too."""
        year = history.months(self._work, as_of=as_of, slot=slot, pictures=path is not None)
        if path is not None:
            year.to_html(path)
        return year

    def catalog(self, path: str | Path | None = None, *, as_of: datetime | str | None = None) -> Catalog:
        """The feature tables with their freshness and who uses them; with a path, as a page too, with the values of each feature."""
        found = catalog.perform(self._work, as_of=as_of, pictures="none" if path is None else "newest")
        if path is not None:
            found.to_html(path)
        return found

    def runs(self) -> list[FinishedRun]:
        """Finished runs of this project, oldest first."""
        return self._work.ledger.runs({"project": self.config.project})
