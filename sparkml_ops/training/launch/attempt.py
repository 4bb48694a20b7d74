"""One attempt: one barrier stage, watched from the driver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkml_ops.interruption import Interruptible
from sparkml_ops.meter import waited
from sparkml_ops.training.launch.outcome import SCHEMA, Outcome
from sparkml_ops.training.launch.reports import ReportReader
from sparkml_ops.training.launch.slots import Slots, gist
from sparkml_ops.training.launch.stage import Plan, run_task

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

__all__ = ["run_attempt"]

_log = logging.getLogger(__name__)
_POLL = 0.5  # seconds between two looks at the reports
_PATIENCE = 30.0  # seconds that an interrupted job gets to end


def run_attempt(spark: SparkSession, plan: Plan, say: Callable[[dict[str, Any]], None]) -> list[Outcome]:
    """Run one attempt and return how each rank ended, by rank.

    Raises:
        StartTimeout: The ranks did not meet in time; the job is interrupted.
        ConfigurationError: Spark runs no barrier stage in this session.
    """
    slots, ranks = Slots.of(spark), plan.settings.workers
    slots.refuse_unfit(plan.settings.tasks)
    reader = ReportReader(plan.storage, plan.folder, say)
    job = _Job(spark, plan, slots)
    job.start()
    began = time.monotonic()
    limit = began + plan.settings.start_timeout
    try:
        met = 0
        while not job.wait(_POLL):
            late = time.monotonic() > limit  # before the look at what is there: who listens to the reports may take long
            met, before = max(met, reader.poll()), met
            if before < ranks <= met:
                waited(time.monotonic() - began)
            if met < ranks and late:
                raise slots.too_few(f"{met} of {ranks} ranks together after {plan.settings.start_timeout:g} s", plan.settings.tasks)
        reader.poll()
    except BaseException:
        job.interrupt(_PATIENCE if _give_up(plan) else _PATIENCE / 10)
        raise
    return job.outcomes()


def _give_up(plan: Plan) -> bool:
    """Tell tasks that Spark may still start to do nothing, and say whether some have begun.

    A storage that takes nothing more must not keep the ranks from being ended, nor hide why they are.
    """
    try:
        begun = bool(plan.storage.list(plan.folder.prefix))
        plan.storage.publish(plan.folder.ended, b"{}", kind="ended")
    except Exception:
        _log.warning("no mark that %s was given up", plan.folder.prefix, exc_info=True)
        return True
    return begun


class _Job:
    """The Spark job of an attempt, in a thread of its own, since the caller watches meanwhile."""

    def __init__(self, spark: SparkSession, plan: Plan, slots: Slots) -> None:
        from pyspark import InheritableThread

        self._plan, self._slots = plan, slots
        tag = f"sparkml-ops-{plan.folder.prefix}".replace("/", "-").replace(",", "-")
        self._interruptible = Interruptible(spark, tag)
        self._outcomes: list[Outcome] = []
        self._error: Exception | None = None
        self._done = threading.Event()
        self._thread = InheritableThread(target=self._run, session=spark, daemon=True, name=tag)

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def interrupt(self, patience: float) -> None:
        """End the job. One that Spark holds back until the cluster has slots cannot be interrupted: its tasks will find the attempt ended."""
        limit = time.monotonic() + patience
        while not self._done.is_set() and time.monotonic() < limit:
            self._interruptible.end()
            self._done.wait(1)

    def outcomes(self) -> list[Outcome]:
        """How each rank ended.

        Raises:
            StartTimeout: Spark refused the stage for want of slots.
            ConfigurationError: Spark refuses barrier stages as it is configured.
            RankFailed: The tasks cannot even begin on the executors.
        """
        if self._error is None:
            return sorted(self._outcomes, key=lambda outcome: outcome.rank)
        text = str(self._error)
        if refusal := self._slots.refusal(text, self._plan.settings.tasks):
            raise refusal from self._error
        return [Outcome(-1, "died", type(self._error).__name__, f"Spark ended the stage: {gist(text)}", text)]

    def _run(self) -> None:
        try:
            tasks = self._plan.settings.tasks
            with self._interruptible.jobs() as spark:
                rows = spark.range(0, tasks, 1, tasks).mapInArrow(_worker(self._plan), SCHEMA, barrier=True).collect()
            self._outcomes = [Outcome.from_row(row.asDict()) for row in rows]
        except Exception as error:
            self._error = error
        finally:
            self._done.set()


def _worker(plan: Plan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    return partial(run_task, plan)
