"""What a verb works with, opened from the configuration when it is first needed."""

from __future__ import annotations

import os
import time
from functools import cached_property
from pathlib import Path

from pyspark.sql import SparkSession

import feature_store as fs
from feature_store.address import for_python
from feature_store.delta import Tables
from sparkml_ops import scoring, session
from sparkml_ops.config.root import Config, Sections
from sparkml_ops.config.secret import reveal
from sparkml_ops.errors import ConfigurationError
from sparkml_ops.ledger import Ledger
from sparkml_ops.meter import waited
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking

__all__ = ["Work"]


class Work:
    """Session, tables, objects, registry and ledger of one project.

    Args:
        config: The project's configuration.
        spark: A session to use; without one it is found or built when it is first needed.
    """

    def __init__(self, config: Config, spark: SparkSession | None = None) -> None:
        self.config, self._given = config, spark

    @property
    def sections(self) -> Sections:
        """The configuration's sections."""
        return self.config.sections

    @cached_property
    def spark(self) -> SparkSession:
        """The session; `predict_udf` finds this project's models in it from now on."""
        began = time.perf_counter()
        found = session.find(self.sections.spark, self._given)
        waited(time.perf_counter() - began)
        settings = self.sections.release
        only = settings.model if settings.registered_names_only else None
        scoring.activate(found, tracking_uri=self.sections.mlflow.tracking_uri, storage_root=self.sections.storage.root, only=only)
        return found

    def check(self) -> None:
        """Look at the folders of tables and objects, before Spark starts.

        Raises:
            ConfigurationError: One of them cannot be read and written.
        """
        for key, root in (("warehouse.root", self.sections.warehouse.root), ("storage.root", self.sections.storage.root)):
            if root is not None and "://" not in root:
                _check_folder(Path(root), key)

    @cached_property
    def tables(self) -> Tables:
        """The warehouse's tables."""
        return Tables(lambda: self.spark, self.sections.warehouse.warehouse())

    @cached_property
    def store(self) -> fs.FeatureStore:
        """The feature store over the same tables."""
        return fs.FeatureStore(self.spark, root=self.sections.warehouse.root, catalog=self.sections.warehouse.catalog)

    @cached_property
    def storage(self) -> Storage:
        """Objects under storage.root."""
        return Storage(self.sections.storage.root)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of finished runs."""
        return Ledger(self.tables)

    @cached_property
    def tracking(self) -> Tracking:
        """The MLflow store."""
        settings = self.sections.mlflow
        return Tracking(
            uri=reveal(settings.tracking_uri),
            experiment=settings.experiment or self.config.project,
            artifact_root=for_python(settings.artifact_root or f"{self.sections.storage.root}/mlflow"),
        )


def _check_folder(folder: Path, key: str) -> None:
    """Refuse a place that cannot be written, before Spark starts."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        kind = "a file" if nearest.is_file() else "a folder without the right to read and write"
        raise ConfigurationError(
            f"{key} = {folder}, where {nearest} is {kind}", expected="a folder that can be written", mend=f"change {key} or its rights"
        )
