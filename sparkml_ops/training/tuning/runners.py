"""Where a trial runs: as a launch of its own, or whole in one Spark task."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import SparkSession

from sparkml_ops.errors import OpsError
from sparkml_ops.interruption import Interruptible
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Epoch, Progress
from sparkml_ops.training.job import launch_settings
from sparkml_ops.training.launch import RankContext, RankFailed, launch
from sparkml_ops.training.launch.slots import Slots, gist
from sparkml_ops.training.loop import TrainingTask

__all__ = ["InTask", "Launched", "Runner"]


class Runner(Protocol):
    """Trains a trial to its end and says which epochs it had."""

    def __call__(self, task: TrainingTask, run: str) -> tuple[Epoch, ...]:
        """Train; `run` names the trial.

        Raises:
            RankFailed: The training raised.
        """

    def interrupt(self) -> None:
        """End the trials that other threads run, as far as they can be ended."""


@dataclass(frozen=True)
class Launched:
    """Each trial is a launch of `training.workers` ranks.

    Args:
        spark: Offers the slots; None will do for the backend `local`.
        storage: Shared with the ranks.
    """

    spark: SparkSession | None
    storage: Storage

    def __call__(self, task: TrainingTask, run: str) -> tuple[Epoch, ...]:
        """Launch the ranks and wait for them."""
        results = launch(self.spark, task, launch_settings(self.spark, task.settings), self.storage, run)
        self.storage.remove(f"training/{run}")
        return Progress.from_json(results[0] or b"").history

    def interrupt(self) -> None:
        """Nothing: these trials run one after the other."""


@dataclass(frozen=True)
class InTask:
    """Each trial is a Spark job of one task, in which one rank trains; several run at a time, called from threads.

    Args:
        interruptible: Offers the slots.
    """

    interruptible: Interruptible

    def __call__(self, task: TrainingTask, run: str) -> tuple[Epoch, ...]:
        """Run the job and wait for it."""
        spark = self.interruptible.spark
        threads = task.settings.threads or int(spark.conf.get("spark.task.cpus", "1") or 1)
        settings = task.settings.model_copy(update={"backend": "local", "threads": threads})
        try:
            with self.interruptible.jobs():
                rows = spark.range(0, 1, 1, 1).mapInArrow(_training(replace(task, settings=settings)), "result string").collect()
        except Exception as error:
            if (failure := self._failure(run, str(error))) is None:
                raise
            raise failure from error
        document = json.loads(rows[0]["result"])
        if "fault" in document:
            fault = document["fault"]
            mend = f"mend the trial\n--- {run} ---\n{fault['traceback']}"
            raise RankFailed(f"{run} raised {fault['type']}: {fault['message']}", mend=mend, rank=0, **fault)
        return Progress.from_json(rows[0]["result"].encode()).history

    def _failure(self, run: str, text: str) -> OpsError | None:
        """What it means that Spark ended the job; None where somebody else did."""
        if refusal := Slots.of(self.interruptible.spark).refusal(text, 1):
            return refusal
        if "stage failure" not in text:
            return None
        return RankFailed(f"{run}, whose task died ({gist(text)})", rank=0, kind="died", type="SparkException", message=gist(text), traceback=text)

    def interrupt(self) -> None:
        """End the jobs of this search."""
        self.interruptible.end()


def _training(task: TrainingTask) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def train(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for _ in range(batch.num_rows):
                yield pa.RecordBatch.from_pydict({"result": pa.array([_result(task)], pa.string())})

    return train


def _result(task: TrainingTask) -> str:
    """Where the training ended, or what it raised: a task that raises would be tried again by Spark, and would raise again."""
    from sparkml_ops.training.launch.local import LocalCommunicator

    def unheard(_: dict[str, Any]) -> None:
        """The driver hears what it needs by the questions of the trial."""

    try:
        return (task(RankContext(communicator=LocalCommunicator(), attempt=0, publish=unheard)) or b"").decode()
    except Exception as error:
        fault = {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        return json.dumps({"fault": fault})
