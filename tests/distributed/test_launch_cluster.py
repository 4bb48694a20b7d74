"""Launches on a standalone cluster: ranks on several executors, a lost executor, a lost driver."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from standalone_cluster import StandaloneCluster

DRIVER = """
import json, os, signal, sys, time
import psutil, torch
from pyspark.sql import SparkSession
from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import LaunchSettings, RankFailed, launch

folder, master = sys.argv[1:]
storage = Storage(folder + "/storage")
settings = LaunchSettings(workers=2, attempts=2, start_timeout=300, device="cpu")

def say(name, value):
    with open(f"{folder}/{name}.partial", "w") as target:
        json.dump(value, target)
    os.rename(f"{folder}/{name}.partial", f"{folder}/{name}")

def executor():
    return next(parent for parent in psutil.Process().parents() if parent.name() == "java")

def meet(context):
    total = context.communicator.all_reduce(torch.tensor([context.rank + 1.0]))
    return json.dumps([total.item(), executor().pid]).encode()

def lose_executor(context):
    context.report({"executor": executor().pid, "pid": os.getpid()})
    context.communicator.barrier()
    if context.attempt == 0:
        if context.rank == 1:
            executor().kill()
        while True:
            time.sleep(0.01)
    return str(context.attempt).encode()

def see(context):
    return json.dumps([context.device, os.environ["CUDA_VISIBLE_DEVICES"]]).encode()

def seen(device):
    wished = LaunchSettings(workers=2, attempts=1, start_timeout=300, backend="ddp", device=device)
    try:
        return [json.loads(answer) for answer in launch(spark, see, wished, storage, "see-" + device)]
    except RankFailed as error:
        return error.message

def wait_for_ever(context):
    context.report({"pid": os.getpid()})
    while True:
        time.sleep(0.01)

def refused(run):
    try:
        return ["accepted", str(run())]
    except Exception as error:
        return [type(error).__name__, str(error)]

conf = {"spark.executor.cores": "1", "spark.executor.memory": "512m", "spark.driver.memory": "512m", "spark.ui.enabled": "false", "spark.log.level": "OFF"}
conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.local.dir": folder + "/local"}
conf |= {"spark.executor.resource.gpu.amount": "1", "spark.task.resource.gpu.amount": "1"}
dynamic = {**conf, "spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.shuffleTracking.enabled": "true"}
spark = SparkSession.builder.master(master).config(map=dynamic).getOrCreate()
stage = spark.range(2).mapInArrow(lambda batches: batches, "id long", barrier=True)
say("dynamic", [refused(lambda: launch(spark, meet, settings, storage, "dynamic")), refused(stage.collect)])
spark.stop()
spark = SparkSession.builder.master(master).config(map={**dynamic, **conf, "spark.dynamicAllocation.enabled": "false"}).getOrCreate()
say("met", [json.loads(answer) for answer in launch(spark, meet, settings, storage, "meet")])
say("devices", [seen("cpu"), seen("auto")])
heard = []
results = launch(spark, lose_executor, settings, storage, "lose", on_report=heard.append)
say("lost", [[result.decode() for result in results], heard])
waiting = []
def listen(report):
    waiting.append(report)
    if len(waiting) == 2:
        say("waiting", waiting)
launch(spark, wait_for_ever, settings, storage, "wait", on_report=listen)
"""


class Cluster(StandaloneCluster):
    """A worker with two slots, a driver, and what the driver has said so far."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, workers=1, cores=2, gpus=2)
        environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
        self.driver = self.start(sys.executable, "-c", DRIVER, str(folder), self.master, environment=environment)

    def said(self, name: str, seconds: float = 400.0) -> Any:
        """Wait for what the driver says under a name."""
        limit = time.monotonic() + seconds
        while not (self.folder / name).exists():
            assert self.driver.poll() is None, self.log
            assert time.monotonic() < limit, self.log
            time.sleep(0.1)
        return json.loads((self.folder / name).read_text())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster and driver for the tests of this file, which follow its steps."""
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


def test_dynamic_allocation_is_refused_as_spark_would_refuse_it(cluster: Cluster) -> None:
    """Before the launch, with what to do; a barrier stage of this Spark still ends so, else the refusal were too much."""
    ours, sparks = cluster.said("dynamic")

    assert ours[0] == "ConfigurationError"
    assert "spark.dynamicAllocation.enabled=true" in ours[1]
    assert "does not support dynamic resource allocation" in sparks[1]


def test_ranks_on_different_executors_meet(cluster: Cluster) -> None:
    """Each rank runs below an executor of its own, and the sum is the sum over both."""
    (first, second) = cluster.said("met")

    assert (first[0], second[0]) == (3.0, 3.0)
    assert first[1] != second[1]


def test_each_rank_has_the_gpu_that_spark_gave_its_task(cluster: Cluster) -> None:
    """Spark gives each executor one of the worker's two; a rank that shall compute on the processor sees none."""
    cpu, auto = cluster.said("devices")

    assert cpu == [["cpu", ""], ["cpu", ""]]
    if torch.cuda.device_count() > 1:
        assert sorted(auto) == [["cuda", "0"], ["cuda", "1"]]
    else:  # where there is none, or one, a rank says which it was given
        assert re.search(r"GPU [01] of this rank, which torch \S+ does not see", auto)


def test_after_a_lost_executor_only_the_launcher_starts_ranks_again(cluster: Cluster) -> None:
    """Spark runs the lost stage again, and those tasks start no rank: each attempt's ranks report once."""
    results, reports = cluster.said("lost")

    assert results == ["1", "1"]
    assert sorted((report["attempt"], report["rank"]) for report in reports) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert wait_until(lambda: not any(psutil.pid_exists(report["pid"]) for report in reports), 30)


def test_ranks_do_not_outlive_a_killed_driver(cluster: Cluster) -> None:
    """Executors end with their driver, their Python workers with them, and each rank with its worker."""
    ranks = [report["pid"] for report in cluster.said("waiting")]
    assert all(psutil.pid_exists(rank) for rank in ranks)

    cluster.driver.send_signal(signal.SIGKILL)
    cluster.driver.wait()

    assert wait_until(lambda: not any(psutil.pid_exists(rank) for rank in ranks), 60)
