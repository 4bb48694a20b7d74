"""What a step can be told to do, held against plain torch: its optimisers, its schedules, its clipping, its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.optim import lr_scheduler
from training_rows import SPEC, Killed, Mortal, ThreadGroup, table, task, usable, write

from feature_store.scan import Scan
from sparkml_ops.config.optimizer import OptimizerSection
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Epoch, Progress
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.launch.local import LocalCommunicator
from sparkml_ops.training.loop import Trainer, TrainingTask
from sparkml_ops.training.schedule import rate
from sparkml_ops.training.weighting import RowWeights, row_weights

ROWS = table(1001).append_column("sample_weight", pa.array(np.random.default_rng(5).gamma(2.0, size=1001)))
PLAIN = replace(SPEC, dropout=0.0)
EPOCHS, STEPS = 3, 7


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", ROWS, [400], group=150)


def told(folder: Path, scan: Scan, weights: RowWeights | None = None, spec: ModelSpec = PLAIN, **changes: Any) -> TrainingTask:
    settings = TrainingSection(**{"workers": 1, "epochs": EPOCHS, "batch_size": 100, "shards": 6, "dtype": "float64", **changes})
    return replace(task(scan, Storage(str(folder)), settings, spec), row_weights=weights)


def trained(ours: TrainingTask, size: int = 1) -> dict[str, torch.Tensor]:
    progress = Progress.from_json(ThreadGroup(size).run(ours)[0])
    return Checkpoints(ours.storage, ours.folder).weights(progress)


def of_torch(
    ours: TrainingTask,
    optimizer_of: Callable[..., torch.optim.Optimizer],
    schedule_of: Callable[..., lr_scheduler.LRScheduler],
    *,
    clip: float | None = None,
    weights: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """The same batches in a bare loop.

    Args:
        weights: By `row_position`.
    """
    network = build(PLAIN, 7, torch.float64)
    optimizer = optimizer_of(network.parameters())
    schedule = schedule_of(optimizer)
    # A loader of its own: which row is in which batch is another test's matter.
    loader = Trainer(ours, RankContext(communicator=LocalCommunicator(), attempt=0, publish=lambda _: None)).loaders["train"]
    encoded = Encoder(PLAIN).encode(ROWS)
    labels = torch.tensor(ROWS.column("label").to_pandas().to_numpy())
    for epoch in range(EPOCHS):
        for batch in loader.batches(epoch):
            optimizer.zero_grad()
            logits = network(torch.from_numpy(encoded.numeric)[batch.position], torch.from_numpy(encoded.categories)[batch.position])
            lost = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[batch.position], reduction="none")
            (lost if weights is None else lost * weights[batch.position]).mean().backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            schedule.step()
    return network.state_dict()


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(found[name], value, rtol=1e-9, atol=1e-12) for name, value in expected.items())


def warm_cosine(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    rising = lr_scheduler.LinearLR(optimizer, 1 / 5, total_iters=4)
    falling = lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * STEPS - 5)
    return lr_scheduler.SequentialLR(optimizer, [rising, falling], [5])


@pytest.mark.parametrize(
    ("options", "optimizer_of", "schedule_of", "clip"),
    [
        pytest.param(
            {"kind": "sgd", "lr": 0.3, "weight_decay": 0.01, "schedule": "step", "every": 2, "factor": 0.2, "clip_norm": 0.05},
            lambda weights: torch.optim.SGD(weights, lr=0.3, momentum=0.9, nesterov=True, weight_decay=0.01),
            lambda optimizer: lr_scheduler.StepLR(optimizer, 2 * STEPS, 0.2),
            0.05,
            id="sgd in steps, clipped",
        ),
        pytest.param(
            {"lr": 0.02, "warmup_steps": 5},
            lambda weights: torch.optim.AdamW(weights, lr=0.02, weight_decay=1e-4),
            warm_cosine,
            None,
            id="adamw, warm-up and cosine",
        ),
        pytest.param(
            {"kind": "sgd", "lr": 0.4, "lr_batch": 400, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"},
            lambda weights: torch.optim.SGD(weights, lr=0.1),
            lambda optimizer: lr_scheduler.ConstantLR(optimizer, 1.0),
            None,
            id="plain descent, rate in proportion to the batch",
        ),
    ],
)
def test_a_run_is_that_of_plain_torch(
    scan: Scan,
    tmp_path: Path,
    options: dict[str, Any],
    optimizer_of: Callable[..., torch.optim.Optimizer],
    schedule_of: Callable[..., lr_scheduler.LRScheduler],
    clip: float | None,
) -> None:
    """On one worker and on three."""
    ours = told(tmp_path / "one", scan, optimizer=options)
    expected = of_torch(ours, optimizer_of, schedule_of, clip=clip)

    assert close(trained(ours), expected)
    assert close(trained(told(tmp_path / "three", scan, optimizer=options), 3), expected)


@pytest.mark.parametrize("size", [1, 3])
def test_parts_of_a_batch_add_up_to_its_step(scan: Scan, tmp_path: Path, size: int) -> None:
    """Dropout included, and more parts than a rank has rows."""
    whole = trained(told(tmp_path / "whole", scan, spec=SPEC), size)

    for parts in (4, 70):
        assert close(trained(told(tmp_path / f"{parts}", scan, spec=SPEC, accumulate=parts), size), whole)


@pytest.mark.parametrize("class_weights", ["balanced", (1.0, 3.0), None])
def test_rows_count_by_their_weight(scan: Scan, tmp_path: Path, class_weights: Any) -> None:
    """Own weight times class weight, on the mean over the train split; on one worker and on three."""
    train = ROWS.take(usable(ROWS, "train")).to_pandas()
    counts, means = train.groupby("label").size(), train.groupby("label").sample_weight.mean()
    weights = row_weights(class_weights, (counts[0], counts[1]), (means[0], means[1]))
    balanced = (counts * means).sum() / (2 * counts * means)
    factors = balanced if class_weights == "balanced" else dict(enumerate(class_weights or (1.0, 1.0)))
    own = ROWS.to_pandas().label.map(dict(factors)).fillna(0.0) * ROWS.column("sample_weight").to_pandas()
    own /= own[usable(ROWS, "train")].mean()
    ours = told(tmp_path / "one", scan, weights, optimizer={"lr": 0.02, "schedule": "constant"}, class_weights=class_weights)
    expected = of_torch(
        ours,
        lambda network: torch.optim.AdamW(network, lr=0.02, weight_decay=1e-4),
        lambda optimizer: lr_scheduler.ConstantLR(optimizer, 1.0),
        weights=torch.tensor(own.to_numpy()),
    )

    assert close(trained(ours), expected)
    assert close(trained(replace(ours, storage=Storage(str(tmp_path / "three"))), 3), expected)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """Up to the common scale, which is 1 there too."""
    labels = np.repeat([0, 1], [37, 5])
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)

    assert row_weights("balanced", (37, 5)) == RowWeights(False, pytest.approx(tuple(expected)))
    assert row_weights(None, (37, 5)) is None
    with pytest.raises(ContractError, match="only weights of 0 in `sample_weight` for label 1"):
        row_weights("balanced", (37, 5), (1.0, 0.0))


@given(losses=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), max_size=20), every=st.integers(1, 4), factor=st.sampled_from([0.1, 0.5]))
def test_a_plateau_is_that_of_torch(losses: list[float], every: int, factor: float) -> None:
    """The rate after any course of validation losses, from the finished epochs alone."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    known = lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=every - 1, threshold=0.0, eps=0.0)
    for loss in losses:
        known.step(loss)
    history = [Epoch(epoch, 9.0, loss, None, 1.0, 0.0, 0.0, 0.0) for epoch, loss in enumerate(losses)]
    section = OptimizerSection(lr=1.0, schedule="plateau", every=every, factor=factor)

    found = rate(section, len(losses) * 5, steps=5, epochs=40, batch_size=1, history=history)
    assert found == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


@pytest.mark.parametrize("steps", [10, 16])
def test_a_killed_run_goes_on_with_its_rate_and_momentum(scan: Scan, tmp_path: Path, steps: int) -> None:
    """To the last bit: what the schedule needs is in the checkpoint."""
    options = {"kind": "sgd", "lr": 2.0, "schedule": "plateau", "every": 1, "factor": 0.5, "warmup_steps": 3, "clip_norm": 0.5}
    unbroken = trained(told(tmp_path / "unbroken", scan, optimizer=options, checkpoint_every=2))
    broken = told(tmp_path / "broken", scan, optimizer=options, checkpoint_every=2)
    with pytest.raises(Killed):
        Trainer(broken, RankContext(communicator=Mortal(steps), attempt=0, publish=lambda _: None)).fit()

    assert all(torch.equal(value, unbroken[name]) for name, value in trained(broken).items())
