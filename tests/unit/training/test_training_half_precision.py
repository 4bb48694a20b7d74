"""Products in half precision: gradients that would vanish or overflow do neither, on any number of ranks and after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_rows import Killed, Mortal, ThreadGroup, table, task, write

from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.loop import NotFiniteError, TrainingTask
from sparkml_ops.training.scaling import LossScale, finite


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", table(601), [400], group=150)


def told(folder: Path, scan: Scan, **changes: object) -> TrainingTask:
    settings = TrainingSection(**{"workers": 1, "epochs": 2, "batch_size": 100, "shards": 6, "dtype": "float16", **changes})
    return task(scan, Storage(str(folder)), settings)


def trained(ours: TrainingTask, size: int = 1) -> tuple[Progress, dict[str, torch.Tensor]]:
    progress = Progress.from_json(ThreadGroup(size).run(ours)[0])
    return progress, Checkpoints(ours.storage, ours.folder).weights(progress)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20))
def test_the_factor_follows_torch_s_scaler(overflows: list[bool], patience: int) -> None:
    """Halved at once, doubled after `patience` good steps, whatever comes; torch's own is the oracle."""
    ours, theirs = LossScale(patience=patience), torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=patience)
    theirs.scale(torch.zeros(()))
    for overflow in overflows:
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([weight], lr=0.0)
        weight.grad = torch.tensor([float("inf") if overflow else ours.factor])
        theirs.step(optimizer)
        theirs.update()
        if overflow:
            assert ours.overflowed()
        else:
            gradient = torch.tensor([ours.factor])
            assert finite([gradient], ours.factor)
            assert gradient.tolist() == [1.0]
            ours.fitted()
        assert ours.factor == theirs.get_scale()
        if ours.factor <= 2.0:
            return


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_gradients_are_left_as_they_are_and_others_seen(dtype: torch.dtype) -> None:
    """Numbers whose sum would overflow are finite; one infinite number or none at all among a thousand is not, in sparse gradients too."""
    large = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    sparse = torch.sparse_coo_tensor(torch.tensor([[1, 3]]), torch.ones(2, 4, dtype=dtype), (5, 4))
    kept = large.clone()

    assert finite([large, sparse])
    assert torch.equal(large, kept)
    for wrong in (float("inf"), float("-inf"), float("nan")):
        broken = torch.ones(1000, dtype=dtype)
        broken[777] = wrong
        assert not finite([large, broken])
        assert not finite([torch.sparse_coo_tensor(torch.tensor([[1, 3]]), broken[776:778], (5,)), large])


def test_losses_are_those_of_single_precision_up_to_rounding(scan: Scan, tmp_path: Path) -> None:
    """On one rank and on two, which see the same factor."""
    plain, _ = trained(told(tmp_path / "plain", scan, dtype="float32"))
    one, _ = trained(told(tmp_path / "one", scan))
    two, _ = trained(told(tmp_path / "two", scan, workers=2), 2)

    for found in (one, two):
        assert [epoch.train_loss for epoch in found.history] == pytest.approx([epoch.train_loss for epoch in plain.history], rel=5e-3)


def test_a_step_that_overflows_is_left_out_and_the_factor_falls(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor that is far too large is halved until gradients fit; the weights never saw the others."""
    monkeypatch.setattr("sparkml_ops.training.scaling._FIRST", 2.0**30)
    progress, weights = trained(told(tmp_path, scan, epochs=6))

    factor, good = Checkpoints(Storage(str(tmp_path)), "training/test/checkpoints")._read(progress.name)["loss_scale"].tolist()
    assert factor < 2.0**30
    assert good > 0
    assert all(bool(weight.isfinite().all()) for weight in weights.values())


def test_a_fault_that_no_factor_mends_ends_the_training(scan: Scan, tmp_path: Path) -> None:
    """A rate that drives weights beyond all numbers: after the last halving the error names step and inputs."""
    with pytest.raises(NotFiniteError, match="that is not finite"):
        trained(told(tmp_path, scan, epochs=20, optimizer={"kind": "sgd", "lr": 1e30, "momentum": 0.0}))


def test_a_killed_training_ends_as_the_unbroken_one(scan: Scan, tmp_path: Path) -> None:
    """The factor and its count are in the checkpoint."""
    whole, expected = trained(told(tmp_path / "whole", scan, checkpoint_every=2))
    killed = told(tmp_path / "killed", scan, checkpoint_every=2)
    with pytest.raises(Killed):
        killed(RankContext(communicator=Mortal(6), attempt=0, publish=lambda _: None))
    resumed, found = trained(killed)

    assert [epoch.train_loss for epoch in resumed.history] == [epoch.train_loss for epoch in whole.history]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
