from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Epoch, Progress, best_epoch


def epoch(number: int, loss: float | None) -> Epoch:
    return Epoch(number, 0.5, loss, None, 1.0, 0.0, 0.0, 0.0)


def parts() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_a_place_survives_json_exactly() -> None:
    """History and partial loss included."""
    progress = Progress(3, 17, 0.1 + 0.2, (epoch(0, None), epoch(1, 0.3)))

    assert Progress.from_json(progress.to_json()) == progress


def test_a_checkpoint_without_its_manifest_does_not_count(tmp_path: Path) -> None:
    """A writer that was killed between the two objects leaves the older one newest."""
    storage = Storage(str(tmp_path))
    checkpoints = Checkpoints(storage, "run/checkpoints")
    model, optimizer = parts()
    checkpoints.publish(Progress(1), model, optimizer, keep=frozenset())
    checkpoints.publish(Progress(2), model, optimizer, keep=frozenset())
    storage.remove(f"run/checkpoints/{Progress(2).name}/manifest.json")

    assert checkpoints.newest() == Progress(1)


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    """Others are dropped as new ones come."""
    storage = Storage(str(tmp_path))
    checkpoints = Checkpoints(storage, "run/checkpoints")
    for number in range(1, 6):
        checkpoints.publish(Progress(number), *parts(), keep=frozenset({Progress(2).name}))

    names = [name.split("/")[2] for name in storage.list("run") if name.endswith("manifest.json")]
    assert names == [Progress(2).name, Progress(4).name, Progress(5).name]
    assert len(storage.list("run")) == 6


def test_model_optimiser_and_random_state_come_back(tmp_path: Path) -> None:
    """The next step and the next random number are those that would have followed."""
    checkpoints = Checkpoints(Storage(str(tmp_path)), "run/checkpoints")
    model, optimizer = parts()
    checkpoints.publish(Progress(1), model, optimizer, keep=frozenset())
    expected_draw = torch.rand(1)
    other = torch.nn.Linear(2, 1)
    restored = torch.optim.AdamW(other.parameters())
    checkpoints.restore(Progress(1), other, restored)

    assert torch.equal(torch.rand(1), expected_draw)
    for network, steps in ((model, optimizer), (other, restored)):
        steps.zero_grad()
        network(torch.ones(3, 2)).sum().backward()
        steps.step()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_best_epoch_is_the_first_of_the_lowest_loss() -> None:
    """Without validation rows it is the last one."""
    assert best_epoch((epoch(0, 0.4), epoch(1, 0.3), epoch(2, 0.3)), "best").epoch == 1
    assert best_epoch((epoch(0, 0.4), epoch(1, 0.5)), "last").epoch == 1
    assert best_epoch((epoch(0, None), epoch(1, None)), "best").epoch == 1


def test_another_format_is_refused() -> None:
    """A run is finished by the version that began it."""
    with pytest.raises(ContractError, match="format 9"):
        Progress.from_json(Progress().to_json().replace(b'"format": 1', b'"format": 9'))
