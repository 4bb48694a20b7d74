"""What the loop costs over a bare one of torch on the same batches; prints Markdown for docs/benchmarks.md.

Both train one rank on the same rows, which are read and encoded before; theirs is forward, loss, backward and step, and nothing else.
Ours also sets the rate, draws dropout by place, checks gradients, keeps the loss, says that it is alive and takes the time of its parts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Generator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rounds import heading, measure

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ModelSpec, NumericInput
from sparkml_ops.storage import Storage
from sparkml_ops.training.device import on_device
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.launch.local import LocalCommunicator
from sparkml_ops.training.loader import Batch
from sparkml_ops.training.loop import Trainer, TrainingTask
from sparkml_ops.training.optimizer import build_optimizer
from sparkml_ops.training.plan import Group, Plan

COLUMNS = [f"x{index:02d}" for index in range(28)]
MODELS = {"small (64, 32)": ((64, 32), 200), "1 M parameters (1000, 1000)": ((1000, 1000), 40)}
BATCH = 1024
PROMISE = 0.05


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(heading(f"python scripts/bench/training.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    print("| model | ours, CPU ms a step | bare loop, CPU ms a step | overhead | promised |\n|---|---:|---:|---:|---:|")
    for name, (hidden, steps) in MODELS.items():
        with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
            compare(name, Path(folder), hidden, steps, arguments.rounds)
    return 0


def compare(name: str, folder: Path, hidden: tuple[int, ...], steps: int, rounds: int) -> None:
    """Both in turns on batches that are in memory."""
    trainer = trained(folder, hidden, steps)
    batches = list(trainer.loaders["train"].batches(0))
    epochs = count()
    contestants: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(trainer, batches, next(epochs)),
        "bare": partial(bare, trainer, batches),
    }
    costs = measure(contestants, rounds, alternate=True)
    mine, theirs = (costs[who].cpu / steps * 1e3 for who in contestants)
    print(f"| {name} | {mine:.3f} | {theirs:.3f} | {mine / theirs - 1:.1%} | ≤ {PROMISE:.0%} |", flush=True)


def trained(
    folder: Path, hidden: tuple[int, ...], steps: int, size: int = BATCH, *, dtype: str = "float32", device: Literal["cpu", "cuda"] = "cpu"
) -> Trainer:
    """A rank of one, without dropout: a bare loop would draw it in another way."""
    folder.mkdir(exist_ok=True)
    rows = steps * size
    rng = np.random.default_rng(5)
    columns = {name: rng.normal(size=rows).astype(np.float32) for name in COLUMNS}
    label = (rng.random(rows) < 0.3).astype(np.int32)
    table = pa.table({**columns, "label": label, "split": ["train"] * rows, "row_position": np.arange(rows)})
    pq.write_table(table, folder / "rows.parquet", row_group_size=rows)
    spec = ModelSpec("mlp", tuple(NumericInput(column, "float", 0.0, 0.0, 1.0) for column in COLUMNS), (), hidden)
    settings = TrainingSection(backend="local", batch_size=size, epochs=1, dtype=dtype)
    plan = Plan((Group(str(folder / "rows.parquet"), 0, rows),), settings.shards, size, settings.seed)
    task = TrainingTask(spec, {"train": plan}, settings, Storage(str(folder / "storage")), "bench")
    return Trainer(task, RankContext(communicator=LocalCommunicator(), attempt=0, publish=lambda _: None, device=device))


def ours(trainer: Trainer, batches: list[Batch], epoch: int) -> None:
    """The steps of an epoch as the trainer takes them, checkpoint left out."""

    def given() -> Generator[Batch]:
        yield from batches

    for batch in trainer._waiting(on_device(given(), trainer._device)):
        trainer._train_step(epoch, batch)
        trainer._say_alive(epoch, batch.step)


def bare(trainer: Trainer, batches: list[Batch]) -> None:
    """The same sums with nothing around them."""
    settings = trainer._settings
    model = build(trainer._task.spec, settings.seed, torch.float32)
    optimizer = build_optimizer(settings.optimizer, model.parameters())
    for batch in batches:
        optimizer.zero_grad()
        logits = model(batch.numeric, batch.categories)
        torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.label).backward()
        optimizer.step()


if __name__ == "__main__":
    raise SystemExit(main())
