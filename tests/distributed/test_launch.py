"""Launches on real Spark slots with real ranks: results, reports, failures of every kind, and what is left behind: nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pyspark.sql import SparkSession

from sparkml_ops.errors import RetryableError
from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import LaunchSettings, RankContext, RankFailed, StartTimeout, launch

Reports = list[dict[str, Any]]


def settings(**options: Any) -> LaunchSettings:
    """Two ranks; plenty of time to start, for a machine that does other things too."""
    return LaunchSettings(**{"workers": 2, "start_timeout": 300, "attempts": 1, **options})


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether the condition became true within the time."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def gone(reports: Reports) -> bool:
    """Whether no process of the ranks that reported their ids is left."""
    return wait_for(lambda: not any(psutil.pid_exists(report["pid"]) for report in reports), 20)


def program() -> str:
    """The module that this process was started with; a fork has that of the process it was forked from."""
    return next(part for part in Path("/proc/self/cmdline").read_text().split("\0") if part.startswith("sparkml_ops."))


def report_process(context: RankContext) -> None:
    context.report({"pid": os.getpid()})


def fail_together(context: RankContext) -> None:
    """A collective that never ends unless the others come."""
    context.communicator.all_reduce(torch.ones(1))


def test_each_rank_is_a_fresh_process_that_returns_its_bytes(spark: SparkSession, storage: Storage) -> None:
    """Results come by rank; a rank computes on one thread and hears the environment that was set for it, from its first moment."""

    def task(context: RankContext) -> bytes:
        total = context.communicator.all_reduce(torch.tensor([context.rank + 1]))
        report_process(context)
        found = [context.rank, context.size, context.attempt, total.item(), torch.get_num_threads(), os.environ["GREETING"], program()]
        return json.dumps(found).encode()

    chosen = settings(workers=3, environment={"GREETING": "hello"})
    heard: Reports = []
    results = launch(spark, task, chosen, storage, "fresh", on_report=heard.append)

    assert [json.loads(result or b"") for result in results] == [[rank, 3, 0, 6, 1, "hello", "sparkml_ops.training.launch.rank"] for rank in range(3)]
    assert len({report["pid"] for report in heard}) == 3
    assert gone(heard)


def test_a_task_of_several_ranks(spark: SparkSession, storage: Storage) -> None:
    """As on a task with two GPUs: four ranks in two Spark tasks, neighbours in each, and one that raises ends all."""

    def task(context: RankContext) -> bytes:
        report_process(context)
        total = context.communicator.all_reduce(torch.tensor([context.rank + 1]))
        if context.attempt:
            raise ValueError(f"rank {context.rank}") if context.rank == 3 else RuntimeError(fail_together(context))
        return json.dumps([context.rank, total.item(), os.environ["HOROVOD_LOCAL_RANK"], psutil.Process().ppid()]).encode()

    heard: Reports = []
    chosen = settings(workers=4, ranks_per_task=2)
    results = [json.loads(result or b"") for result in launch(spark, task, chosen, storage, "several", on_report=heard.append)]

    assert [(rank, total, local) for rank, total, local, _ in results] == [(rank, 10, str(rank)) for rank in range(4)]
    assert results[0][3] == results[1][3] != results[2][3] == results[3][3]
    with pytest.raises(RankFailed, match="rank 3"):
        launch(spark, task, chosen, storage, "several", on_report=heard.append)
    assert len(heard) == 8
    assert gone(heard)


def test_reports_reach_the_driver_once_in_each_ranks_order(spark: SparkSession, storage: Storage) -> None:
    """The last reports count too, even where the rank ends at once after them. Without an environment of its own it is a fork, torch loaded."""

    def task(context: RankContext) -> None:
        for number in range(25):
            context.report({"number": number, "program": program()})

    heard: Reports = []
    results = launch(spark, task, settings(backend="ddp"), storage, "reports", on_report=heard.append)

    assert results == [None, None]
    for rank in range(2):
        assert [report["number"] for report in heard if report["rank"] == rank] == list(range(25))
    assert {report["program"] for report in heard} == {"sparkml_ops.daemon"}


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
def test_an_exception_reaches_the_driver_and_is_not_tried_again(spark: SparkSession, storage: Storage, backend: Any) -> None:
    """The rank's own type, message and traceback; the other ranks, stuck in a collective, are ended."""

    def task(context: RankContext) -> None:
        report_process(context)
        if context.rank == 1:
            raise KeyError("dep_dely")
        fail_together(context)

    heard: Reports = []
    with pytest.raises(RankFailed, match="rank 1 raised KeyError: 'dep_dely'") as caught:
        launch(spark, task, settings(backend=backend, attempts=3), storage, "raises", on_report=heard.append)

    error = caught.value
    assert (error.rank, error.type, error.message, error.exit_code) == (1, "KeyError", "'dep_dely'", 5)
    assert "in task" in error.traceback
    assert 'raise KeyError("dep_dely")' in error.traceback
    assert {report["attempt"] for report in heard} <= {0}
    assert gone(heard)


def test_a_killed_rank_is_launched_again_and_resumes(spark: SparkSession, storage: Storage) -> None:
    """SIGKILL of one rank ends the attempt; the next one goes on from the checkpoint."""

    def task(context: RankContext) -> bytes:
        report_process(context)
        done = int(storage.read("step")) if storage.exists("step") else 0
        for step in range(done, 4):
            context.communicator.all_reduce(torch.ones(1))
            if context.attempt == 0 and step == 2:
                os.kill(os.getpid(), signal.SIGKILL) if context.rank == 1 else fail_together(context)
            if context.rank == 0:
                storage.publish("step", str(step + 1).encode(), kind="checkpoint")
            context.communicator.barrier()
        return f"{context.attempt} {done}".encode()

    heard: Reports = []
    results = launch(spark, task, settings(attempts=2), storage, "killed", on_report=heard.append)

    assert results == [b"1 2", b"1 2"]
    assert sorted((report["attempt"], report["rank"]) for report in heard) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert gone(heard)


def test_a_rank_that_dies_each_time_ends_the_launch(spark: SparkSession, storage: Storage) -> None:
    """After the last attempt the error names the rank, the signal and its last words."""

    def task(context: RankContext) -> None:
        if context.rank == 1:
            print("memory is getting low", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        fail_together(context)

    with pytest.raises(RankFailed, match=r"1 attempts that failed, the last because rank 1 died \(SIGKILL") as caught:
        launch(spark, task, settings(backend="ddp"), storage, "dies")

    assert (caught.value.kind, caught.value.type) == ("died", "SIGKILL")
    assert "memory is getting low" in caught.value.traceback


def test_a_hanging_rank_is_noticed_and_its_stacks_say_where(spark: SparkSession, storage: Storage) -> None:
    """No sign of life of any rank within the configured time ends the attempt."""

    def stuck_for_ever() -> None:
        while True:
            time.sleep(0.01)

    def task(context: RankContext) -> None:
        report_process(context)
        stuck_for_ever() if context.rank == 1 else fail_together(context)

    heard: Reports = []
    with pytest.raises(RankFailed, match="no rank gave a sign of life") as caught:
        launch(spark, task, settings(hang_timeout=5), storage, "hangs", on_report=heard.append)

    assert (caught.value.kind, caught.value.type) == ("hung", "TimeoutError")
    waiting, _, stuck = caught.value.traceback.partition("rank 1:")
    assert "fail_together" in waiting
    assert "stuck_for_ever" in stuck
    assert gone(heard)


def test_a_lost_spark_worker_takes_its_rank_with_it_and_only_the_launcher_tries_again(spark: SparkSession, storage: Storage) -> None:
    """A rank does not outlive the process that watches it, and Spark's own retry of the stage runs no rank."""

    def task(context: RankContext) -> bytes:
        report_process(context)
        context.communicator.barrier()
        if context.attempt == 0:
            if context.rank == 1:
                os.kill(os.getppid(), signal.SIGKILL)
            while True:
                time.sleep(0.01)
        return str(context.attempt).encode()

    heard: Reports = []
    results = launch(spark, task, settings(attempts=2), storage, "worker", on_report=heard.append)

    assert results == [b"1", b"1"]
    assert sorted((report["attempt"], report["rank"]) for report in heard) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert gone(heard)


def test_more_ranks_than_slots_end_at_once(spark: SparkSession, storage: Storage) -> None:
    """The session says how many slots it has in total: there is nothing to wait for."""
    with pytest.raises(StartTimeout, match=r"found 4 slots in total; expected 5 free slots at once.*local\[4\] has 4") as caught:
        launch(spark, lambda _: None, settings(workers=5), storage, "too-many")

    assert (caught.value.exit_code, isinstance(caught.value, RetryableError)) == (4, True)


def test_ranks_that_find_no_free_slots_end_in_time_and_disturb_nobody(spark: SparkSession, storage: Storage, tmp_path: Path) -> None:
    """The launch that waits is interrupted; the one that holds the slots, begun in a thread, goes on to its end."""
    release = tmp_path / "release"

    def hold(context: RankContext) -> bytes:
        context.report({"pid": os.getpid()})
        while not release.exists():
            time.sleep(0.05)
        context.communicator.barrier()
        return b"held"

    held: Reports = []
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(launch, spark, hold, settings(), storage, "holds", on_report=held.append)
        assert wait_for(lambda: len(held) == 2)
        with pytest.raises(StartTimeout, match=r"0 of 3 ranks together after 2 s; expected 3 free slots at once") as caught:
            launch(spark, hold, settings(workers=3, start_timeout=2), storage, "waits")
        release.touch()

        assert first.result() == [b"held", b"held"]

    assert caught.value.exit_code == 4
    assert storage.list("training/waits") == ["training/waits/attempt-0/ended.json"]


def test_an_interface_that_is_not_there_ends_the_launch_at_once(spark: SparkSession, storage: Storage) -> None:
    """A setting that no attempt mends costs one, and the error lists the interfaces that there are."""
    with pytest.raises(RankFailed, match=r"rank 0 raised ConfigurationError: found training\.interface='wlan7'; expected one of .*lo"):
        launch(spark, lambda _: None, settings(interface="wlan7", attempts=3), storage, "interface")

    assert storage.list("training/interface/attempt-1") == []


def test_a_storage_that_takes_nothing_more_leaves_no_rank(spark: SparkSession, tmp_path: Path) -> None:
    """The mark that an attempt was given up cannot be left: the ranks are ended all the same, and the error is why."""
    heard: Reports = []
    storage = Storage(str(tmp_path / "storage"))

    def listen(report: dict[str, Any]) -> None:
        heard.append(report)
        (tmp_path / "storage").rename(tmp_path / "away")
        (tmp_path / "storage").write_text("a file where a folder was")
        raise ConnectionError("tracking is away")

    def task(context: RankContext) -> None:
        if context.rank == 0:
            report_process(context)
        while True:
            time.sleep(0.01)

    with pytest.raises(ConnectionError, match="tracking is away"):
        launch(spark, task, settings(backend="ddp"), storage, "full", on_report=listen)

    assert gone(heard)


def test_two_launches_run_side_by_side(spark: SparkSession, storage: Storage, tmp_path: Path) -> None:
    """Each waits for a sign of the other, so neither could run alone."""

    def task_of(mine: str, other: str) -> Callable[[RankContext], bytes]:
        def task(context: RankContext) -> bytes:
            (tmp_path / mine).touch()
            while not (tmp_path / other).exists():
                time.sleep(0.05)
            return str(context.communicator.all_reduce(torch.ones(1)).item()).encode()

        return task

    pairs = [("left", "right", "horovod"), ("right", "left", "ddp")]
    with ThreadPoolExecutor(2) as threads:
        launches = [
            threads.submit(launch, spark, task_of(mine, other), settings(backend=backend), storage, mine)  # type: ignore[arg-type]
            for mine, other, backend in pairs
        ]

        assert [running.result() for running in launches] == [[b"2.0", b"2.0"]] * 2


def test_a_failing_listener_ends_the_ranks(spark: SparkSession, storage: Storage) -> None:
    """An error in the driver's `on_report` comes out as it is and leaves no rank behind."""
    heard: Reports = []

    def listen(report: dict[str, Any]) -> None:
        heard.append(report)
        raise ConnectionError("tracking is away")

    def task(context: RankContext) -> None:
        report_process(context)
        while True:
            time.sleep(0.01)

    with pytest.raises(ConnectionError, match="tracking is away"):
        launch(spark, task, settings(backend="ddp"), storage, "listener", on_report=listen)

    assert gone(heard)


def test_a_task_that_cannot_be_shipped_is_refused_before_spark(spark: SparkSession, storage: Storage) -> None:
    """A lock belongs to one process."""
    lock = threading.Lock()

    with pytest.raises(ValueError, match=r"cannot be shipped.*inside the task"):
        launch(spark, lambda _: lock.acquire() and None, settings(), storage, "lock")  # type: ignore[func-returns-value]
