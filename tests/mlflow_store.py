"""Fixtures of a real MLflow store on SQLite; its tables are made once a session and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from feature_store.records import Snapshot, TrainingSet
from sparkml_ops.tracking import Tracking

__all__ = ["artifact", "mlflow_template", "tracking", "training_set"]


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Tracking(f"sqlite:///{path}", "none", None).open(create=True)
    return path


@pytest.fixture
def tracking(mlflow_template: Path, tmp_path: Path) -> Tracking:
    """The experiment `flights` in a store of its own."""
    shutil.copyfile(mlflow_template, tmp_path / "mlflow.db")
    return Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", "flights", str(tmp_path / "artifacts"))


@pytest.fixture
def training_set() -> TrainingSet:
    """What the models of these tests were trained on."""
    return TrainingSet("flights_1a2b", Snapshot("training_set_flights_1a2b", 0), {"origin_delays": 4, "flights": 2}, "0123456789abcdef", 20_000)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A small trained model: 1 / (1 + exp(-(distance / 1000 - bias(carrier))))."""
    import torch

    from sparkml_ops.model.artifact import save
    from sparkml_ops.model.network import Network
    from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput

    numeric = (NumericInput("distance", "double", 1000.0, 1000.0, 500.0), NumericInput("seats", "int", 150.0, 150.0, 50.0))
    spec = ModelSpec("linear", numeric, (CategoricalInput("carrier", "string", ("AA", "UA")),))
    generator = torch.Generator().manual_seed(7)
    state = {name: torch.rand(value.shape, generator=generator, dtype=value.dtype) for name, value in Network(spec).state_dict().items()}
    save(tmp_path / "trained", spec, state)
    return tmp_path / "trained"
