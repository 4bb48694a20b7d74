"""What work takes of this machine: CPU time, memory and storage of the process and of all that it starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from feature_store import hooks

__all__ = ["Cost", "Meter", "waited"]

_EVERY = 1.0  # seconds; a Python worker that lives shorter is seen by luck only
_WAITED: ContextVar[list[float] | None] = ContextVar("waited", default=None)
_SHARE = 0.02  # most of a core that looking may take: of many or large processes it looks less often


@dataclass(frozen=True)
class Cost:
    """What a piece of work took, on the machine of its driver: executors elsewhere are not seen.

    Args:
        cpu_seconds: User and system time of all processes, those that ended included as they were last seen.
        peak_bytes: Most memory at one moment; a page that forked processes share counts once.
        read_bytes: Read from storage; what the system still had in memory does not count.
        written_bytes: Written to storage.
        jvm_seconds: The JVM's part of `cpu_seconds`; the rest is Python. None of runs before these parts were told apart, as all below.
        write_seconds: By the wall clock, inside commits of tables; rows that Spark computes as it writes them are computed in it.
        object_seconds: The same, inside writes of objects and calls of the tracking store.
        queue_seconds: The same, until a session was there and the ranks of a training had met.
    """

    cpu_seconds: float
    peak_bytes: int
    read_bytes: int
    written_bytes: int
    jvm_seconds: float | None = None
    write_seconds: float | None = None
    object_seconds: float | None = None
    queue_seconds: float | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Cost:
        """As a ledger holds it."""
        whole = {name: int(document[name]) for name in ("peak_bytes", "read_bytes", "written_bytes")}
        parts: dict[str, Any] = {name: document.get(name) for name in ("jvm_seconds", "write_seconds", "object_seconds", "queue_seconds")}
        return cls(float(document["cpu_seconds"]), **whole, **parts)


def waited(seconds: float) -> None:
    """Say that the work of this thread's meter did not go on for some seconds, because a session or slots were not there."""
    if (times := _WAITED.get()) is not None:
        times.append(seconds)


@dataclass
class _Seen:
    """Of one process: whether it is a JVM, and its counters when it was seen first, and last."""

    java: bool
    first: tuple[float, int, int]
    last: tuple[float, int, int]


@dataclass
class Meter:
    """Looks at the process and its children each second, from `with` to its end.

    A child is looked up by number and start time. Its time before the work began is not the work's: one JVM serves many verbs.
    """

    _seen: dict[tuple[int, float], _Seen] = field(default_factory=dict)
    _peak: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _times: dict[str, float] = field(default_factory=dict)
    _waited: list[float] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._look(begin=True)
        self._times = self._open.enter_context(hooks.timing())
        token = _WAITED.set(self._waited)
        self._open.callback(lambda: waited(sum(self._waited)))  # last: to the work that this one is a part of
        self._open.callback(_WAITED.reset, token)
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._look()

    @property
    def cost(self) -> Cost:
        """What was seen so far."""
        every = list(self._seen.values())
        taken = [tuple(last - first for first, last in zip(seen.first, seen.last, strict=True)) for seen in every]
        cpu, read, written = (sum(part[place] for part in taken) for place in range(3))
        jvm = sum(part[0] for seen, part in zip(every, taken, strict=True) if seen.java)
        spent = [self._times.get(family, 0.0) for family in ("delta", "storage", "mlflow")]
        times = (jvm, spent[0], spent[1] + spent[2], sum(self._waited))
        return Cost(round(float(cpu), 2), self._peak, int(read), int(written), *(round(float(part), 2) for part in times))

    def _watch(self) -> None:
        pause = _EVERY
        while not self._over.wait(pause):
            begun = time.thread_time()
            self._look()
            pause = max(_EVERY, (time.thread_time() - begun) / _SHARE)

    def _look(self, *, begin: bool = False) -> None:
        held, here = 0, psutil.Process()
        for process in [here, *here.children(recursive=True)]:
            try:
                with process.oneshot():
                    key, counters = (process.pid, process.create_time()), _counters(process)
                    held += _memory(process)
                    java = process.name() == "java"
            except (psutil.Error, OSError):
                continue  # it ended meanwhile
            if (seen := self._seen.get(key)) is not None:
                seen.last = counters
            else:
                self._seen[key] = _Seen(java, counters if begin else (0.0, 0, 0), counters)
        self._peak = max(self._peak, held)


def _memory(process: psutil.Process) -> int:
    """What a process holds, each page divided by those that share it where the system says so; a JVM shares nothing worth the look."""
    if process.name() != "java":
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            pass
        else:
            return 1024 * int(text.partition("\nPss:")[2].split()[0])
    return int(process.memory_info().rss)


def _counters(process: psutil.Process) -> tuple[float, int, int]:
    times = process.cpu_times()
    try:
        storage = process.io_counters()
    except (psutil.Error, OSError, AttributeError):
        return times.user + times.system, 0, 0  # not of everybody, and not everywhere
    return times.user + times.system, storage.read_bytes, storage.write_bytes
