"""Launch a task on all ranks, and launch it again when a rank dies."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from feature_store import hooks
from sparkml_ops.errors import ContractError
from sparkml_ops.storage import Storage
from sparkml_ops.training.launch.attempt import run_attempt
from sparkml_ops.training.launch.context import RankContext, Task, call
from sparkml_ops.training.launch.errors import RankFailed
from sparkml_ops.training.launch.folder import AttemptFolder, next_attempt
from sparkml_ops.training.launch.gpu import refuse_without_cuda
from sparkml_ops.training.launch.outcome import Outcome, root_cause
from sparkml_ops.training.launch.reports import ReportWriter
from sparkml_ops.training.launch.settings import Device, LaunchSettings
from sparkml_ops.training.launch.stage import Plan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["launch"]

_log = logging.getLogger(__name__)


def launch(
    spark: SparkSession | None,
    task: Task,
    settings: LaunchSettings,
    storage: Storage,
    run: str,
    *,
    on_report: Callable[[dict[str, Any]], None] | None = None,
) -> list[bytes | None]:
    """Run `task` on every rank and return what each returned, by rank.

    Each rank of each attempt is a fresh process. A rank that dies or hangs ends the attempt, and the next one starts anew: the task resumes
    from its own checkpoint. A rank that raises ends the launch, since it would raise again.

    Args:
        spark: The session that offers the slots; None will do for the backend `local`.
        task: Function of the rank's context; shipped by cloudpickle.
        storage: Shared by driver and executors; reports and marks of the run lie under `training/<run>/attempt-<k>`.
        run: Name of the run; a run launched again goes on counting attempts.
        on_report: Called in the driver, in order, with each report.

    Raises:
        RankFailed: With the failing rank's own type, message and traceback.
        StartTimeout: The ranks did not meet within `start_timeout`.
        ContractError: The task cannot be shipped.
    """
    say = on_report or (lambda _: None)
    first = next_attempt(storage, run)
    if settings.backend == "local":
        return [_run_here(task, settings.device, storage, AttemptFolder(run, first), say)]
    if spark is None:
        raise ContractError(
            f"training.backend={settings.backend} without a Spark session", expected="a session", mend="pass spark, or use the backend local"
        )
    payload, path = _pickle(task), tuple(map(os.path.abspath, sys.path))

    def attempt(number: int) -> list[Outcome]:
        return run_attempt(spark, Plan(settings, storage, AttemptFolder(run, number), payload, path, _hooks()), say)

    number = first
    while cause := root_cause(outcomes := attempt(number)):
        _log.warning("attempt %d of run %s: rank %d %s: %s: %s", number, run, cause.rank, cause.kind, cause.type, cause.message)
        number += 1
        if cause.kind == "raised":
            raise _failure(cause, f"rank {cause.rank} raised {cause.type}: {cause.message}", "mend the task")
        if number == first + settings.attempts:
            last = f"the last because rank {cause.rank} {cause.kind} ({cause.type}: {cause.message})"
            raise _failure(cause, f"{settings.attempts} attempts that failed, {last}", "see its last words; training.attempts allows more")
    return [outcome.result for outcome in outcomes]


def _failure(cause: Outcome, found: str, mend: str) -> RankFailed:
    return RankFailed(
        found,
        mend=f"{mend}\n--- rank {cause.rank} ---\n{cause.traceback}".rstrip(),
        rank=cause.rank,
        type=cause.type,
        message=cause.message,
        traceback=cause.traceback,
    )


def _run_here(task: Task, device: Device, storage: Storage, folder: AttemptFolder, say: Callable[[dict[str, Any]], None]) -> bytes | None:
    from sparkml_ops.training.launch.local import LocalCommunicator

    writer = ReportWriter(storage, folder, 0)

    def publish(report: dict[str, Any]) -> None:
        writer.publish(report)
        say(report)

    try:
        if device == "gpu":  # not by itself: whoever trains beside Spark may have given it to somebody else
            refuse_without_cuda()
        here: Literal["cpu", "cuda"] = "cuda" if device == "gpu" else "cpu"
        return call(task, RankContext(communicator=LocalCommunicator(), attempt=folder.attempt, publish=publish, device=here))
    except Exception as error:
        cause = Outcome(0, "raised", type(error).__name__, str(error), traceback.format_exc())
        raise _failure(cause, f"rank 0 raised {cause.type}: {cause.message}", "mend the task") from error


def _pickle(task: Task) -> bytes:
    from pyspark import cloudpickle

    try:
        return bytes(cloudpickle.dumps(task))  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ContractError(
            f"a training task that cannot be shipped ({type(error).__name__}: {error})",
            expected="a function whose values can be pickled",
            mend="make sessions, locks and open files inside the task",
        ) from error


def _hooks() -> dict[str, str]:
    value = os.environ.get(hooks.VARIABLE)
    return {} if value is None else {hooks.VARIABLE: value}
