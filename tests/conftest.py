"""One Spark session a process, small: two cores, two shuffle partitions, UTC, no UI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pyspark.sql import SparkSession
from tiny_plans import FEW_ROWS, JAVA

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops import session

# A busy machine is slow, not wrong; and a run is the same each time.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of this test process."""
    folder = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "local"),
        "spark.driver.extraJavaOptions": JAVA,
        **FEW_ROWS,
    }
    built = session.build(session.SparkSection(master="local[2]", driver_memory="2g", conf=settings))
    yield built
    built.stop()


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path) -> Tables:
    """Tables of an empty warehouse by path."""
    return Tables(spark, Warehouse(root=str(tmp_path / "warehouse")))
