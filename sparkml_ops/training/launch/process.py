"""A rank's own process, as its Spark task holds it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO, Literal

from sparkml_ops.training.launch.order import Order
from sparkml_ops.training.launch.outcome import Outcome
from sparkml_ops.training.launch.spare import Spare

__all__ = ["RankProcess"]

_TAIL = 40  # lines of output kept for the message about a dead rank


class RankProcess:
    """A fresh process that runs one rank of one attempt.

    It leads its own process group, so that what it started ends with it, and ends itself when this process is gone.

    Args:
        payload: The task, pickled by cloudpickle.
        environment: The whole environment of the process.
        inherited: File descriptors that it keeps.
        spare: A process that was forked for it; None starts an interpreter.
    """

    def __init__(
        self, order: Order, payload: bytes, environment: Mapping[str, str], inherited: Sequence[int] = (), spare: Spare | None = None
    ) -> None:
        self._rank = order.rank
        self._connection, theirs = multiprocessing.Pipe()
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._tail: deque[str] = deque(maxlen=_TAIL)
        handles = [theirs.fileno(), self._stacks.fileno()]
        self._process: subprocess.Popen[bytes] | Spare
        self._process, self._output = _begin(spare, environment, [*handles, *inherited]) if spare else _start(environment, handles, inherited)
        theirs.close()
        self._copier = threading.Thread(target=self._copy_output, daemon=True, name=f"output of rank {order.rank}")
        self._copier.start()
        with suppress(OSError):  # it died before it read; `receive` says how
            self._connection.send_bytes(order.to_json())
            self._connection.send_bytes(payload)

    def receive(self, seconds: float) -> Outcome | Literal["sign"] | None:
        """What the rank says next: a sign of life, its end, or nothing within the time."""
        try:
            if not self._connection.poll(seconds):
                return None
            message = json.loads(self._connection.recv_bytes())
            if message == "sign":
                return "sign"
            outcome = Outcome(rank=self._rank, **message)
            return replace(outcome, result=self._connection.recv_bytes()) if outcome.kind == "returned" and message["type"] == "bytes" else outcome
        except (EOFError, OSError):
            return self._death()

    def stacks(self) -> str:
        """Stacks of all threads of the rank, even where it is stuck in C code; empty where it no longer answers."""
        self._process.send_signal(signal.SIGUSR1)
        size, limit = -1, time.monotonic() + 3
        while time.monotonic() < limit and (size <= 0 or os.fstat(self._stacks.fileno()).st_size > size):
            size = os.fstat(self._stacks.fileno()).st_size
            time.sleep(0.1)
        self._stacks.seek(0)
        return self._stacks.read().decode(errors="replace")

    def kill(self) -> None:
        """End the rank and all that it started, and free what belongs to it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._copier.join(2)
        self._connection.close()
        self._stacks.close()

    def _death(self) -> Outcome:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._copier.join(2)
        code = self._process.returncode
        name = "no exit" if code is None else signal.Signals(-code).name if code < 0 else f"exit code {code}"
        hint = "; the kernel does that when memory runs out" if name == "SIGKILL" else ""
        return Outcome(self._rank, "died", name, f"the process ended with {name} and without a word{hint}", "".join(self._tail))

    def _copy_output(self) -> None:
        with self._output:
            for line in self._output:
                text = line.decode(errors="replace")
                self._tail.append(text)
                sys.stderr.write(text)


def _start(environment: Mapping[str, str], handles: Sequence[int], inherited: Sequence[int]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    process = subprocess.Popen(
        # -P: the working directory of an executor is nobody's package folder.
        [sys.executable, "-P", "-m", "sparkml_ops.training.launch.rank", *map(str, handles), str(os.getpid())],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[*handles, *inherited],
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, process.stdout


def _begin(spare: Spare, environment: Mapping[str, str], handles: Sequence[int]) -> tuple[Spare, IO[bytes]]:
    ours, theirs = os.pipe()
    spare.start(environment, handles, theirs)
    os.close(theirs)
    return spare, os.fdopen(ours, "rb")
