"""Small training sets as Parquet files, and a group of ranks in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.optim import Optimizer

from feature_store.records import Snapshot
from feature_store.scan import Scan, ScanFile
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.launch.local import LocalCommunicator
from sparkml_ops.training.loop import TrainingTask
from sparkml_ops.training.plan import Plan, plan_groups

SPEC = ModelSpec(
    "mlp",
    (NumericInput("x", "double", 0.0, 0.0, 1.0, indicator=True), NumericInput("n", "bigint", 5.0, 5.0, 3.0)),
    (CategoricalInput("c", "string", ("a", "b", "d"), 3),),
    hidden=(8, 4),
    dropout=0.25,
)


def table(rows: int, seed: int = 0) -> pa.Table:
    """Rows of all splits; the label depends on x and c."""
    rng = np.random.default_rng(seed)
    x, c = rng.normal(size=rows), rng.choice(["a", "b", "d", "z"], rows)
    label = (rng.random(rows) < 1 / (1 + np.exp(-(x + (c == "a") - 0.5)))).astype("int32")
    split = rng.choice(["train", "validation", "evaluation"], rows, p=[0.7, 0.15, 0.15])
    gaps = rng.random(rows) < 0.1
    return pa.table(
        {
            "x": pa.array(x, mask=gaps),
            "n": pa.array(rng.integers(0, 10, rows)),
            "c": pa.array(c, mask=rng.random(rows) < 0.05),
            "label": pa.array(label, mask=rng.random(rows) < 0.02),
            "split": split,
            "row_position": np.arange(rows),
        }
    )


def write(folder: Path, data: pa.Table, cuts: Sequence[int], group: int) -> Scan:
    """The rows as files cut at `cuts`, named against their order, in row groups of `group` rows."""
    folder.mkdir(parents=True)
    bounds = [0, *cuts, data.num_rows]
    files = []
    for number, (start, stop) in enumerate(pairwise(bounds)):
        path = folder / f"part-{len(bounds) - number:03d}.parquet"
        pq.write_table(data.slice(start, stop - start), path, row_group_size=group)
        files.append(ScanFile(str(path), stop - start, path.stat().st_size, {}))
    return Scan(Snapshot("training_set_test", 0), data.schema, tuple(sorted(files, key=lambda file: file.path)))


def usable(data: pa.Table, split: str) -> list[int]:
    """Positions of the labelled rows of a split."""
    frame = data.to_pandas()
    return frame.loc[(frame["split"] == split) & frame["label"].notna(), "row_position"].tolist()


def task(scan: Scan, storage: Storage, settings: TrainingSection, spec: ModelSpec = SPEC, label: str = "label") -> TrainingTask:
    """A training of the rows of a scan."""
    groups = plan_groups(scan, label=label, splits=("train", "validation"))
    plans = {
        "train": Plan(groups["train"], settings.shards, settings.batch_size, settings.seed, block_rows=50),
        "validation": Plan(groups["validation"], settings.shards, 100, settings.seed, shuffle=False),
    }
    return TrainingTask(spec, plans, settings, storage, "training/test/checkpoints")


class Killed(Exception):
    """Stands for the end of a process."""


class Mortal(LocalCommunicator):
    """A group of one that counts its steps, and whose process ends after some."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps, self.last = 0, steps

    def synchronize(self, optimizer: Optimizer) -> None:
        if self.steps == self.last:
            raise Killed
        self.steps += 1


class ThreadGroup:
    """Ranks as threads of this process: sums in order of rank, so that a result does not depend on timing."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.meeting = threading.Barrier(size, timeout=60)
        self.desk: list[Any] = [None] * size
        self.reports: list[dict[str, Any]] = []

    def exchange(self, rank: int, value: Any) -> list[Any]:
        """What all ranks brought."""
        self.desk[rank] = value
        self.meeting.wait()
        brought = list(self.desk)
        self.meeting.wait()
        return brought

    def run(self, work: Callable[[RankContext], Any]) -> list[Any]:
        """Run `work` on every rank; the first exception ends all."""
        results: list[Any] = [None] * self.size
        errors: list[BaseException] = []

        def body(rank: int) -> None:
            try:
                results[rank] = work(RankContext(communicator=ThreadCommunicator(self, rank), attempt=0, publish=self.reports.append))
            except BaseException as error:
                errors.append(error)
                self.meeting.abort()

        threads = [threading.Thread(target=body, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
        return results


class ThreadCommunicator:
    """One rank of a `ThreadGroup`."""

    def __init__(self, group: ThreadGroup, rank: int) -> None:
        self._group, self.rank, self.size = group, rank, group.size
        self._synchronized = False

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._group.exchange(self.rank, tensor.detach().clone())).sum(0)

    def broadcast(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:
        return self._group.exchange(self.rank, tensor.detach().clone())[root].clone()

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat(self._group.exchange(self.rank, tensor.detach().clone()))

    def barrier(self) -> None:
        self._group.exchange(self.rank, None)

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> Optimizer:
        return optimizer

    def synchronize(self, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = self.all_reduce(parameter.grad)

    def close(self) -> None:
        pass
