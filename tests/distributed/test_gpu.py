"""A rank on a GPU: the same rows, the same losses up to rounding, the same weights each time. Skipped where torch sees no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_rows import Killed, Mortal, ThreadGroup, table, task, write

from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.launch import LaunchSettings, RankContext, launch
from sparkml_ops.training.loop import TrainingTask

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", table(1001), [400], group=150)


def told(folder: Path, scan: Scan, **changes: Any) -> TrainingTask:
    settings = TrainingSection(**{"workers": 1, "epochs": 3, "batch_size": 100, "shards": 6, "backend": "local", **changes})
    return task(scan, Storage(str(folder)), settings)


def trained(ours: TrainingTask) -> tuple[Progress, dict[str, torch.Tensor]]:
    (result,) = launch(None, ours, LaunchSettings(backend="local", device="gpu"), ours.storage, "gpu")
    progress = Progress.from_json(result or b"")
    return progress, Checkpoints(ours.storage, ours.folder).weights(progress)


def test_a_gpu_gives_what_a_processor_gives(scan: Scan, tmp_path: Path) -> None:
    """In float64 to 1e-9, dropout included, since it is drawn by place."""
    here = told(tmp_path / "cpu", scan, dtype="float64")
    expected = Progress.from_json(ThreadGroup(1).run(here)[0])
    there, _ = trained(told(tmp_path / "gpu", scan, dtype="float64"))

    assert [epoch.train_loss for epoch in there.history] == pytest.approx([epoch.train_loss for epoch in expected.history], rel=1e-9)
    assert [epoch.validation_auc for epoch in there.history] == pytest.approx([epoch.validation_auc for epoch in expected.history], rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_same_training_gives_the_same_bits(dtype: str, scan: Scan, tmp_path: Path) -> None:
    """Twice, and near the losses of single precision."""
    (first, ours), (_, theirs) = (trained(told(tmp_path / name, scan, dtype=dtype)) for name in ("first", "second"))
    plain, _ = trained(told(tmp_path / "plain", scan))

    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert first.history[-1].train_loss == pytest.approx(plain.history[-1].train_loss, rel=0.02)


def test_an_interrupted_training_goes_on_bit_for_bit(scan: Scan, tmp_path: Path) -> None:
    """Killed in mid-epoch, with the factor of half precision in the checkpoint."""
    whole, expected = trained(told(tmp_path / "whole", scan, dtype="float16", checkpoint_every=2))
    killed = told(tmp_path / "killed", scan, dtype="float16", checkpoint_every=2)
    with pytest.raises(Killed):
        killed(RankContext(communicator=Mortal(10), attempt=0, publish=lambda _: None, device="cuda"))
    resumed, found = trained(killed)

    assert [epoch.train_loss for epoch in resumed.history] == [epoch.train_loss for epoch in whole.history]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
