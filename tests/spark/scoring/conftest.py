"""A small real model of our own, and a warehouse for each module."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from scoring_rows import SPEC, ready

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this process keeps storage and warehouses."""
    return tmp_path_factory.mktemp("scoring")


@pytest.fixture(scope="session")
def storage(folder: Path) -> Storage:
    return Storage(str(folder / "storage"))


@pytest.fixture(scope="session")
def artifact_folder(folder: Path) -> Path:
    """Our own artifact, with seeded weights."""
    artifact.save(folder / "artifact", SPEC, build(SPEC, seed=7).state_dict())
    return folder / "artifact"


@pytest.fixture(scope="session")
def model(artifact_folder: Path, storage: Storage) -> ScoringModel:
    """Our model, ready to score."""
    return ready(artifact_folder, storage, OWN_LOADER, Signature.of_artifact(artifact_folder))


@pytest.fixture(scope="module")
def warehouse(spark: SparkSession, folder: Path, request: pytest.FixtureRequest) -> Tables:
    """One warehouse for the tests of a module: they use windows of their own."""
    return Tables(spark, Warehouse(root=str(folder / "warehouses" / request.module.__name__)))
