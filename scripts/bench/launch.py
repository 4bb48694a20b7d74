"""Start to first step of two ranks: our launcher beside `horovod.spark.run`, in turns in one warm session.

`python scripts/bench/launch.py [rounds]`. The clock starts when the driver calls and stops when the last rank has left its first collective, an
all-reduce of one number; driver and ranks are on one host and read the same clock. "Whole call" ends when the driver has every rank's result.
Every other round takes the contestants in the opposite order. In a session of ours a rank is a fork of Spark's Python daemon, which has torch loaded;
one that is given an environment of its own, as one of a plain cluster, is a new interpreter like those of `horovod.spark.run`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from pyspark.sql import SparkSession
from rounds import heading

from sparkml_ops import session
from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import Backend, LaunchSettings, RankContext, launch

RANKS = 2


@dataclass(frozen=True)
class Took:
    """Seconds of one call: until the last rank had its first step, and until its end."""

    first: float
    whole: float


def main(rounds: int = 5) -> None:
    """Run and print Markdown for docs/benchmarks.md."""
    with tempfile.TemporaryDirectory() as folder:
        conf = {"spark.sql.warehouse.dir": f"{folder}/warehouse", "spark.ui.enabled": "false"}
        spark = session.build(session.SparkSection(master=f"local[{RANKS}]", driver_memory="1g", conf=conf))
        contestants: dict[str, Callable[[str], list[float]]] = {
            "ours, horovod": partial(_ours, spark, Storage(folder), "horovod", {}),
            "ours, ddp": partial(_ours, spark, Storage(folder), "ddp", {}),
            "ours, horovod, new interpreters": partial(_ours, spark, Storage(folder), "horovod", {"RANKS": "with an environment of their own"}),
            "`horovod.spark.run`": _theirs,
        }
        found = _rounds(contestants, rounds)
        spark.stop()
    where = f"{RANKS} ranks on `local[{RANKS}]`, medians of {rounds} rounds after one that does not count"
    print(f"{heading(f'python scripts/bench/launch.py {rounds}')}; {where}\n")
    print("| | start to first step, s | range | whole call, s | first step beside ours |\n|---|---:|---|---:|---:|")
    ours = median(took.first for took in found["ours, horovod"])
    for name, each in found.items():
        firsts = sorted(took.first for took in each)
        first, whole = median(firsts), median(took.whole for took in each)
        print(f"| {name} | {first:.2f} | {firsts[0]:.2f} to {firsts[-1]:.2f} | {whole:.2f} | {first / ours:.2f} |")


def _rounds(contestants: dict[str, Callable[[str], list[float]]], rounds: int) -> dict[str, list[Took]]:
    found: dict[str, list[Took]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items() if number % 2 else reversed(contestants.items()):
            began = time.time()
            left = run(f"round-{number}-{list(contestants).index(name)}")
            took = Took(max(left) - began, time.time() - began)
            print(f"round {number} {name}: {took.first:.2f} s, {took.whole:.2f} s in all", file=sys.stderr, flush=True)
            if number:
                found[name].append(took)
    return found


def _ours(spark: SparkSession, storage: Storage, backend: Backend, environment: dict[str, str], run: str) -> list[float]:
    settings = LaunchSettings(workers=RANKS, backend=backend, attempts=1, start_timeout=300, environment=environment)
    return [float(answer or b"") for answer in launch(spark, _first_step, settings, storage, run)]


def _first_step(context: RankContext) -> bytes:
    if context.communicator.all_reduce(torch.ones(1)).item() != RANKS:
        raise SystemExit("a wrong sum")
    return str(time.time()).encode()


def _theirs(_: str) -> list[float]:
    import horovod.spark

    found: list[float] = horovod.spark.run(_their_first_step, num_proc=RANKS, use_gloo=True, verbose=0)
    return found


def _their_first_step() -> float:
    import horovod.torch as hvd

    hvd.init()
    if hvd.allreduce(torch.ones(1), op=hvd.Sum).item() != RANKS:
        raise SystemExit("a wrong sum")
    return time.time()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
