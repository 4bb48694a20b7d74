"""Contestants measured in turns, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import psutil

__all__ = ["Cost", "heading", "measure"]


@dataclass(frozen=True)
class Cost:
    """Medians of one contestant.

    Args:
        seconds: Wall time.
        cpu: CPU seconds of this process and all below it.
    """

    seconds: float
    cpu: float


def measure(contestants: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1, *, alternate: bool = False) -> dict[str, Cost]:
    """Run each contestant once a round, in turns, after rounds that do not count.

    CPU seconds are those of the processes that are alive at the end, Java and the Python workers that Spark keeps, since
    the beginning; a worker that ends in between is not seen, neither here nor by the next contestant.

    Args:
        contestants: Runs by name.
        rounds: How many count.
        warm: How many go before.
        alternate: Take every other round in the opposite order, so that none always pays for what the same one left behind.
    """
    found: dict[str, list[Cost]] = {name: [] for name in contestants}
    for number in range(warm + rounds):
        for name, run in reversed(contestants.items()) if alternate and number % 2 == 0 else contestants.items():
            began, before = time.perf_counter(), _cpu()
            run()
            cost = Cost(time.perf_counter() - began, sum(seconds - before.get(process, 0) for process, seconds in _cpu().items()))
            print(f"round {number} {name}: {cost.seconds:.2f} s, {cost.cpu:.2f} CPU s", file=sys.stderr, flush=True)
            if number >= warm:
                found[name].append(cost)
    return {name: Cost(median(cost.seconds for cost in costs), median(cost.cpu for cost in costs)) for name, costs in found.items()}


def heading(command: str) -> str:
    """When, where and by which command, for docs/benchmarks.md."""
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {machine}, `{command}`"


def _cpu() -> dict[psutil.Process, float]:
    own = psutil.Process()
    found: dict[psutil.Process, float] = {}
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process] = times.user + times.system
    return found
