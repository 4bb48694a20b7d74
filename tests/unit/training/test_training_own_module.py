"""A team's own network: found by its entry point, trained the same on any number of workers, loaded and refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_rows import SPEC, ThreadGroup, table, task, write

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import FeatureDescription, Target, artifact
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.module import build_module, check_module, find
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.own_module import refuse_unfit

TEAM = """
import torch
from torch import nn

class Gated(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, 4) for size in features.cardinalities)
        width = features.numeric + 4 * len(features.cardinalities)
        self.gate, self.value, self.drop = nn.Linear(width, 8), nn.Linear(width, 8), nn.Dropout(0.3)
        self.norm, self.output = nn.LayerNorm(8), nn.Linear(8, features.outputs)

    def forward(self, numeric, categories):
        embedded = [layer(categories[:, index]) for index, layer in enumerate(self.embeddings)]
        rows = torch.cat([numeric, *embedded], dim=1)
        return self.output(self.norm(self.drop(torch.sigmoid(self.gate(rows)) * self.value(rows))))
"""
OWN = replace(SPEC, kind="module", hidden=(), dropout=0.0, module="team-gated")


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel of a team, as a package manager leaves it: modules, and the list of their entry points."""
    site = tmp_path / "site"
    (site / "teamnets-1.0.dist-info").mkdir(parents=True)
    (site / "teamnets.py").write_text(TEAM)
    (site / "teamnets-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: teamnets\nVersion: 1.0\n")
    (site / "teamnets-1.0.dist-info" / "entry_points.txt").write_text("[sparkml_ops.models]\nteam-gated = teamnets:Gated\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "teamnets", raising=False)


def trained(folder: Path, size: int, spec: ModelSpec = OWN, module: Any = None) -> tuple[Progress, dict[str, torch.Tensor]]:
    settings = TrainingSection(workers=1, epochs=2, batch_size=100, shards=6, dtype="float64", optimizer={"lr": 0.02})
    ours = replace(task(write(folder / "t", table(501), [300], group=90), Storage(str(folder / "s")), settings, spec), module=module)
    progress = Progress.from_json(ThreadGroup(size).run(ours)[0])
    return progress, Checkpoints(ours.storage, ours.folder).weights(progress)


def test_three_workers_train_what_one_trains(tmp_path: Path) -> None:
    """Dropout included: what is left out is drawn for each shard, not for each worker. It learns, and its weights have the team's names."""
    (one, weights), (three, others) = trained(tmp_path / "one", 1), trained(tmp_path / "three", 3)

    assert [epoch.train_loss for epoch in one.history] == pytest.approx([epoch.train_loss for epoch in three.history], rel=1e-9)
    assert all(torch.allclose(others[name], value, rtol=1e-7, atol=1e-10) for name, value in weights.items())
    assert one.history[-1].train_loss < one.history[0].train_loss
    assert {"gate.weight", "embeddings.0.weight", "norm.bias"} <= weights.keys()


def test_a_saved_model_is_loaded_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are those of the module without dropout; without the wheel the error names what is installed."""
    network = build_module(OWN, 3, torch.float64)
    artifact.save(tmp_path / "model", OWN, network.state_dict())
    rows = table(1100)
    encoded = Encoder(OWN).encode(rows)
    expected = torch.sigmoid(network.eval()(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)))[:, 0].detach().numpy()

    np.testing.assert_allclose(artifact.load(tmp_path / "model").predict(rows), expected, rtol=1e-12)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not path.endswith("site")])
    with pytest.raises(ContractError, match=r"0 entry points `team-gated` in the group sparkml_ops.models; expected one; installed are none"):
        artifact.load(tmp_path / "model")


def test_an_object_is_trained_and_needs_itself_to_be_loaded(tmp_path: Path) -> None:
    """A class of a notebook, for a task of several outputs; the description names no entry point."""
    spec = replace(OWN, module=None, target=Target("multilabel", classes=("a", "b")))
    made: list[FeatureDescription] = []

    def make(features: FeatureDescription) -> nn.Module:
        made.append(features)
        return find("team-gated")(features)

    artifact.save(tmp_path / "model", spec, build_module(spec, 0, torch.float32, make).state_dict(), make)

    assert artifact.load(tmp_path / "model", make).predict(table(5)).shape == (5, 2)
    assert made[0] == FeatureDescription(numeric=3, cardinalities=(4,), names=("x", "n", "c"), task="multilabel", outputs=2)
    with pytest.raises(ContractError, match="a model that an object of a notebook made"):
        artifact.load(tmp_path / "model")


class Layers(nn.Module):
    """Layers on the numbers alone."""

    def __init__(self, *layers: nn.Module, idle: nn.Module | None = None) -> None:
        super().__init__()
        self.layers, self.idle = nn.Sequential(*layers), idle

    def forward(self, numeric: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(numeric)
        return found


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda features: Layers(nn.Linear(features.numeric, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), "BatchNorm1d.*mix the rows.*use LayerNorm"),
        (lambda features: Layers(nn.Linear(features.numeric, 2)), r"outputs of shape \[3, 2\] for 3 rows; expected \[3, 1\]"),
        (lambda features: Layers(nn.Flatten()), "a module without weights"),
        (lambda features: Layers(nn.Linear(features.numeric, 1), idle=nn.Linear(2, 2)), r"weights \['idle.weight', 'idle.bias'\] that no output"),
    ],
)
def test_a_module_that_would_end_in_a_wrong_model_is_refused(make: Callable[[FeatureDescription], nn.Module], found: str) -> None:
    """Before any worker starts."""
    spec = replace(OWN, module=None)
    with pytest.raises(ContractError, match=found):
        check_module(spec, build_module(spec, 0, torch.float32, make))


def test_dropout_and_parts_of_a_batch_exclude_each_other() -> None:
    """A part is no whole shard, so its draws would depend on the worker."""
    refuse_unfit(OWN, 7, None, parts=1)
    with pytest.raises(ContractError, match=r"dropout and training.accumulate=2"):
        refuse_unfit(OWN, 7, None, parts=2)
