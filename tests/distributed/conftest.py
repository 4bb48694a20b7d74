"""One Spark session of four slots for all tests with real ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tiny_plans import FEW_ROWS

from sparkml_ops import session
from sparkml_ops.storage import Storage


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Four slots, so that three ranks fit and a fourth task can be in the way; there is one session a process."""
    folder = tmp_path_factory.mktemp("spark")
    settings = {"spark.sql.warehouse.dir": str(folder / "warehouse"), "spark.local.dir": str(folder / "local"), **FEW_ROWS}
    built = session.build(session.SparkSection(master="local[4]", driver_memory="1g", conf=settings))
    yield built
    built.stop()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty storage that driver and ranks share."""
    return Storage(str(tmp_path / "storage"))
