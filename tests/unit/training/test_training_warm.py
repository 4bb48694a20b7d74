"""Training that goes on from a model: its weights first, its preprocessing kept, and a typed error where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from training_rows import SPEC, Killed, Mortal, ThreadGroup, table, task, usable, write

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.network import build
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.launch.local import LocalCommunicator
from sparkml_ops.training.loop import Trainer, TrainingTask
from sparkml_ops.training.warm import WarmStart, continued

SETTINGS: dict[str, Any] = {"workers": 1, "epochs": 2, "batch_size": 100, "shards": 6, "dtype": "float64", "optimizer": {"lr": 0.02}}
NUMERIC, CATEGORICAL = {"x": "double", "n": "bigint"}, {"c": "string"}
FITTING = TrainingSection(model={"hidden": (8, 4), "dropout": 0.4})


def weights(seed: int = 99) -> dict[str, torch.Tensor]:
    return dict(build(SPEC, seed, torch.float64).state_dict())


def warm_task(folder: Path, **changes: Any) -> TrainingTask:
    """A training of 1,001 rows that goes on from the weights of another seed."""
    storage = Storage(str(folder / "storage"))
    storage.publish(f"start/{artifact.WEIGHTS}", safetensors.torch.save(weights()), kind="start_file")
    spec = replace(SPEC, dropout=changes.pop("dropout", SPEC.dropout))
    made = task(write(folder / "rows", table(1001), [400], group=150), storage, TrainingSection(**{**SETTINGS, **changes}), spec)
    return replace(made, start="start")


def context(communicator: LocalCommunicator) -> RankContext:
    return RankContext(communicator=communicator, attempt=0, publish=lambda _: None)


def test_the_first_step_is_that_of_plain_torch_from_the_given_weights(tmp_path: Path) -> None:
    """A whole epoch as one batch of two workers equals AdamW on the mean loss, begun where the model ended."""
    rows = table(1001).take(usable(table(1001), "train"))
    encoded = Encoder(SPEC).encode(rows)
    network = build(SPEC, 1, torch.float64)
    network.load_state_dict(weights())
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=1e-4)
    logits = network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(rows.column("label").to_numpy().astype("float64")))
    loss.backward()
    optimizer.step()
    ours = warm_task(tmp_path, batch_size=10_000, epochs=1, dropout=0.0)
    progress = Progress.from_json(ThreadGroup(2).run(ours)[0])
    found = Checkpoints(ours.storage, ours.folder).weights(progress)

    assert progress.history[0].train_loss == pytest.approx(loss.item(), rel=1e-12)
    assert all(torch.allclose(found[name], value, rtol=1e-9, atol=1e-12) for name, value in network.state_dict().items())


def test_a_killed_warm_training_ends_where_the_unbroken_one_ends(tmp_path: Path) -> None:
    """To the last bit, killed before the first checkpoint or after it: the start is read again only where there is none."""
    unbroken = warm_task(tmp_path / "unbroken", checkpoint_every=2)
    expected = Checkpoints(unbroken.storage, unbroken.folder).weights(Trainer(unbroken, context(LocalCommunicator())).fit())
    for steps in (1, 9):
        broken = warm_task(tmp_path / f"broken{steps}", checkpoint_every=2)
        with pytest.raises(Killed):
            Trainer(broken, context(Mortal(steps))).fit()
        found = Checkpoints(broken.storage, broken.folder).weights(Trainer(broken, context(LocalCommunicator())).fit())

        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_warm_training_is_another_than_a_cold_one(tmp_path: Path) -> None:
    """The same rows and seed, other first weights."""
    warm = warm_task(tmp_path)
    cold = replace(warm, start=None, folder="cold")
    losses = [Trainer(made, context(LocalCommunicator())).fit().history[0].train_loss for made in (warm, cold)]

    assert not np.isclose(*losses)


def saved(folder: Path) -> WarmStart:
    artifact.save(folder, SPEC, build(SPEC, 3).state_dict())
    return WarmStart.read("flights version 3", artifact.digest(folder), folder)


def test_preprocessing_is_kept_and_dropout_is_that_of_the_settings(tmp_path: Path) -> None:
    """Fill, mean, scale and vocabularies are the model's: only so its weights mean what they meant."""
    assert continued(saved(tmp_path / "model"), NUMERIC, CATEGORICAL, FITTING) == replace(SPEC, dropout=0.4)


@pytest.mark.parametrize(
    ("numeric", "categorical", "named"),
    [
        ({"x": "double"}, CATEGORICAL, r"`n` absent \(was numeric bigint\)"),
        ({**NUMERIC, "y": "double"}, CATEGORICAL, r"`y` numeric double \(was absent\)"),
        ({**NUMERIC, "n": "double"}, CATEGORICAL, r"`n` numeric double \(was numeric bigint\)"),
        ({"x": "double"}, {**CATEGORICAL, "n": "bigint"}, r"`n` category bigint \(was numeric bigint\)"),
    ],
)
def test_other_features_are_refused_by_name(tmp_path: Path, numeric: dict[str, str], categorical: dict[str, str], named: str) -> None:
    """Missing, new, of another type or in another role."""
    with pytest.raises(ContractError, match=named):
        continued(saved(tmp_path / "model"), numeric, categorical, FITTING)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"hidden": (8,)}, r"hidden \[8\]; expected kind mlp with hidden \[8, 4\]"),
        ({"kind": "linear"}, "kind linear with hidden"),
        ({"hidden": (8, 4), "embedding": 5}, r"embedding 5; expected \[3\]"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, model: dict[str, Any], named: str) -> None:
    """Weights fit one shape only."""
    with pytest.raises(ContractError, match=named):
        continued(saved(tmp_path / "model"), NUMERIC, CATEGORICAL, TrainingSection(model=model))


def test_changed_files_are_refused(tmp_path: Path) -> None:
    """The digest is that of registration."""
    saved(tmp_path / "model")

    with pytest.raises(ContractError, match="files of flights version 3 with digest"):
        WarmStart.read("flights version 3", "0" * 64, tmp_path / "model")


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_stateful_training_is_one_that_never_ended(tmp_path: Path, kind: str) -> None:
    """Two epochs and two more, the optimiser's state carried over, are four in a row: each one step on all rows, which has no order."""
    settings = {"batch_size": 10_000, "dropout": 0.0, "optimizer": {"kind": kind, "lr": 0.05, "schedule": "constant"}}

    def trained(name: str, epochs: int, **changes: Any) -> tuple[Checkpoints, Progress]:
        made = replace(warm_task(tmp_path / name, epochs=epochs, **settings), **changes)
        return Checkpoints(made.storage, made.folder), Trainer(made, context(LocalCommunicator())).fit()

    whole, end = trained("whole", 4)
    first, half = trained("first", 2)
    later = tmp_path / "later" / "storage"
    Storage(str(later)).publish(f"half/{artifact.WEIGHTS}", safetensors.torch.save(first.weights(half)), kind="start_file")
    Storage(str(later)).publish("half/moments", first.moments(half), kind="artifact_file")
    on, last = trained("later", 2, start="half", moments="half/moments")
    forgetful, other = trained("forgetful", 2)

    for name, value in whole.weights(end).items():
        assert torch.allclose(on.weights(last)[name], value, rtol=0, atol=1e-12)
    assert not torch.allclose(forgetful.weights(other)["output.weight"], whole.weights(end)["output.weight"], rtol=0, atol=1e-6)
