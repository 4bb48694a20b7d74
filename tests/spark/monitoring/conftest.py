"""Three scored days, made once for all tests of monitoring."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitored_project import DAYS, Place, instant
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def fresh(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Place:
    """Three scored days and nothing monitored."""
    return Place.make(tmp_path_factory.mktemp("monitor") / "fresh", spark, mlflow_template)


@pytest.fixture(scope="session")
def lived(fresh: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two days monitored at their ends."""
    place = fresh.copy(tmp_path_factory.mktemp("monitor") / "lived")
    place.monitor(DAYS[0], instant(1))
    place.monitor(DAYS[1], instant(2))
    return place
