"""Local steps and averaged models, against a plain reference of several models in one process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_rows import SPEC, Killed, ThreadGroup, table, task, write

from feature_store.records import Snapshot, TrainingSet
from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.model.network import build
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.job import fingerprint
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.loop import Trainer, TrainingTask
from sparkml_ops.training.optimizer import SGD, AdamW

PLAIN = replace(SPEC, dropout=0.0)
EPOCHS, RANKS = 2, 3
SETTINGS = {
    "sgd": {"kind": "sgd", "lr": 0.2, "momentum": 0.8, "weight_decay": 0.01, "schedule": "constant"},
    "adamw": {"lr": 0.02, "weight_decay": 0.1, "schedule": "constant"},
}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", table(150), [70], group=40)


def told(folder: Path, scan: Scan, *, local_steps: int, kind: str, **changes: Any) -> TrainingTask:
    values = {"epochs": EPOCHS, "batch_size": 20, "shards": 6, "dtype": "float64", "optimizer": SETTINGS[kind], **changes}
    settings = TrainingSection(**values, collectives={"local_steps": local_steps})
    return task(scan, Storage(str(folder)), settings, PLAIN)


def trained(ours: TrainingTask, size: int = RANKS) -> dict[str, torch.Tensor]:
    progress = Progress.from_json(ThreadGroup(size).run(ours)[0])
    return Checkpoints(ours.storage, ours.folder).weights(progress)


def optimizer_of(kind: str, model: torch.nn.Module) -> torch.optim.Optimizer:
    options = SETTINGS[kind]
    if kind == "sgd":
        return SGD(model.parameters(), lr=options["lr"], momentum=options["momentum"], nesterov=True, weight_decay=options["weight_decay"])
    return AdamW(model.parameters(), lr=options["lr"], weight_decay=options["weight_decay"])


def reference(ours: TrainingTask, kind: str, every: int) -> dict[str, torch.Tensor]:
    """As many models as ranks, each a bare loop over its own rows; after `every` batches all become their mean, weighted by rows."""
    contexts = [RankContext(communicator=rank, attempt=0, publish=lambda _: None) for rank in idle_ranks()]
    loaders = [Trainer(ours, context).loaders["train"] for context in contexts]
    models = [build(PLAIN, 7, torch.float64) for _ in range(RANKS)]
    optimizers, rows = [optimizer_of(kind, model) for model in models], [0] * RANKS
    for epoch in range(EPOCHS):
        for batches in zip(*(loader.batches(epoch) for loader in loaders), strict=True):
            for rank, (model, optimizer, batch) in enumerate(zip(models, optimizers, batches, strict=True)):
                if len(batch.label):
                    optimizer.zero_grad()
                    logits = model(batch.numeric, batch.categories)
                    torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.label).backward()
                    optimizer.step()
                    rows[rank] += len(batch.label)
            if (batches[0].step + 1) % every == 0 or batches[0].step + 1 == loaders[0].plan.steps:
                average(models, optimizers, rows)
                rows = [0] * RANKS
    return models[0].state_dict()


def average(models: list[Any], optimizers: list[torch.optim.Optimizer], rows: list[int]) -> None:
    shares = torch.tensor(rows, dtype=torch.float64) / sum(rows)
    with torch.no_grad():
        for weights in zip(*(model.parameters() for model in models), strict=True):
            states = [optimizer.state[weight] for optimizer, weight in zip(optimizers, weights, strict=True)]
            names = {name for state in states for name in state}
            fresh = {name: next(torch.zeros_like(state[name]) for state in states if name in state) for name in names}
            groups = [weights, *([state.setdefault(name, fresh[name].clone()) for state in states] for name in sorted(names))]
            for tensors in groups:
                mean = sum(share * tensor.clone() for share, tensor in zip(shares, tensors, strict=True))
                for tensor in tensors:
                    tensor.copy_(mean)


def idle_ranks() -> list[Any]:
    """Communicators that say where a rank stands, and nothing else."""
    found: list[Any] = []
    ThreadGroup(RANKS).run(lambda context: found.append(context.communicator))
    return sorted(found, key=lambda communicator: communicator.rank)


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-10) -> bool:
    return all(float((found[name] - value).abs().max()) <= tolerance for name, value in expected.items())


@pytest.mark.parametrize(
    ("kind", "every", "batch_size"),
    [
        pytest.param("sgd", 3, 20, id="sgd, every third step"),
        pytest.param("adamw", 2, 20, id="adamw, every second step"),
        pytest.param("sgd", 10_000, 20, id="federated: once an epoch"),
        pytest.param("sgd", 4, 2, id="ranks that are empty at most steps"),
        pytest.param("adamw", 2, 2, id="a rank whose first rows come after the first average"),
    ],
)
def test_local_steps_are_those_of_several_models_averaged_by_rows(scan: Scan, tmp_path: Path, kind: str, every: int, batch_size: int) -> None:
    """Weights and the optimiser's moments; a rank without rows stands still and has no say."""
    ours = told(tmp_path / "ours", scan, local_steps=every, kind=kind, batch_size=batch_size)

    found = trained(ours)
    expected = reference(told(tmp_path / "reference", scan, local_steps=every, kind=kind, batch_size=batch_size), kind, every)

    assert close(found, expected)
    together = trained(told(tmp_path / "together", scan, local_steps=1, kind=kind, batch_size=batch_size))
    assert not close(together, expected, 1e-4)


def test_one_rank_steps_as_without(scan: Scan, tmp_path: Path) -> None:
    """There is nobody to average with."""
    for kind in SETTINGS:
        local = trained(told(tmp_path / kind / "local", scan, local_steps=3, kind=kind), 1)
        assert close(local, trained(told(tmp_path / kind / "plain", scan, local_steps=1, kind=kind), 1), 1e-14)


def test_a_run_goes_on_with_as_many_workers_as_it_was_begun_with() -> None:
    """Where its result depends on them; how its gradients travel in pieces does not count."""
    rows = TrainingSet("set", Snapshot("set", 0), {}, "c0ffee", 9)

    def mark(**changes: Any) -> str:
        collectives = {"local_steps": 4, **changes.pop("collectives", {})}
        return fingerprint(TrainingSection(**changes, collectives=collectives), rows, None)

    assert mark(workers=3) != mark(workers=2) == mark(workers=2, collectives={"fusion_mib": 9.0}) != mark(workers=2, collectives={"local_steps": 5})
    assert mark(workers=3, collectives={"local_steps": 1}) == mark(workers=2, collectives={"local_steps": 1})
    assert mark(backend="local") == mark(workers=1)


def test_a_killed_run_goes_on_to_the_same_end(scan: Scan, tmp_path: Path) -> None:
    """To the last bit: checkpoints lie where all ranks are equal, and hold the averaged moments."""
    unbroken = trained(told(tmp_path / "unbroken", scan, local_steps=2, kind="adamw", checkpoint_every=4))
    broken = told(tmp_path / "broken", scan, local_steps=2, kind="adamw", checkpoint_every=4)

    def die(context: RankContext) -> None:
        trainer, steps = Trainer(broken, context), iter(range(11))
        train = trainer._train_step

        def step(*args: Any) -> None:
            # The one that publishes: another would end it in the midst of that, at whatever point it is.
            if context.rank == 0 and next(steps, None) is None:
                raise Killed
            train(*args)

        trainer._train_step = step  # type: ignore[method-assign]
        trainer.fit()

    with pytest.raises(Killed):
        ThreadGroup(RANKS).run(die)
    newest = Checkpoints(broken.storage, broken.folder).newest()
    assert newest is not None
    assert (newest.epoch, newest.step) == (1, 4)

    assert all(torch.equal(value, unbroken[name]) for name, value in trained(broken).items())
