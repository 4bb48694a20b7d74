"""A process for a rank, forked before its task has any threads: what a rank imports is loaded there already.

`sparkml_ops.daemon` forks a local session's Python workers from a process that has torch loaded. A rank that begins as a fork of such a worker
saves the two to three seconds of a core that a fresh interpreter spends on imports. It has made no Horovod and joined no group before, which
is what a rank must be fresh of. Where a fork would save nothing, or would not be safe, there is no spare and `RankProcess` starts an interpreter.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

__all__ = ["Spare"]


class Spare:
    """A forked process that waits for its order; it ends with the one that forked it, and can be waited for like a `subprocess.Popen`.

    Attributes:
        pid: Its process id, and that of its process group.
        returncode: As of `Popen`; None as long as nobody has seen it end.
    """

    def __init__(self, pid: int, door: socket.socket) -> None:
        self.pid, self._door = pid, door
        self.returncode: int | None = None
        door.recv(1)  # it leads its group from now on

    @classmethod
    def fork(cls) -> Spare | None:
        """One spare; None where this process has no torch to share, or a thread whose locks a fork would copy."""
        if "torch" not in sys.modules or _threads() != 1:
            return None
        sys.stdout.flush()
        sys.stderr.flush()
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        if not (pid := os.fork()):
            try:
                ours.close()
                _wait_for_order(theirs, parent)
            finally:
                os._exit(1)
        theirs.close()
        return cls(pid, ours)

    def start(self, environment: Mapping[str, str], handles: Sequence[int], output: int) -> None:
        """Let it be a rank.

        Args:
            environment: The whole environment.
            handles: The rank's file descriptors, in the order of `rank.main`.
            output: Where its output goes.
        """
        with suppress(OSError):  # it is dead; who waits for it will see
            socket.send_fds(self._door, [b"."], [output, *handles])
            with Connection(os.dup(self._door.fileno())) as connection:
                connection.send_bytes(json.dumps(dict(environment)).encode())
        self._door.close()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative where a signal ended it.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG if limit else 0)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif limit and time.monotonic() > limit:
                raise subprocess.TimeoutExpired("rank", timeout or 0)
            else:
                time.sleep(0.01)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def dismiss(self) -> None:
        """End one that was given no order."""
        self._door.close()
        self.wait()


def _wait_for_order(door: socket.socket, parent: int) -> NoReturn:
    from sparkml_ops.training.launch.rank import die_with, main

    os.setsid()
    die_with(parent)
    _let_go(door.fileno())
    door.send(b".")
    _, handles, _, _ = socket.recv_fds(door, 1, 8)
    if not handles:
        os._exit(0)  # the task has no use for it
    with Connection(os.dup(door.fileno())) as connection:
        environment = json.loads(connection.recv_bytes())
    door.close()
    output, *handles = handles
    _look_fresh(environment, output)
    main(handles[0], handles[1], parent, listener=next(iter(handles[2:]), None))


def _let_go(but: int) -> None:
    """Give up the task's sockets and pipes: held here, nobody would see the task close them. Their numbers stay taken, for whoever still has them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for entry in list(Path("/proc/self/fd").iterdir()):
        number = int(entry.name)
        with suppress(OSError):
            mode = os.fstat(number).st_mode
            if number > 2 and number != but and (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
                os.dup2(nothing, number)
    os.close(nothing)


def _look_fresh(environment: Mapping[str, str], output: int) -> None:
    """Environment, search path, streams and random numbers as a new interpreter has them."""
    import numpy as np

    os.environ.clear()
    os.environ.update(environment)
    # An empty part would be the working directory, which is nobody's package folder.
    sys.path[:] = dict.fromkeys(filter(None, [*environment.get("PYTHONPATH", "").split(os.pathsep), *sys.path]))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, number)
    os.close(nothing)
    os.close(output)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115 - streams for good
    np.random.seed()  # forks would share what tasks draw without a seed of their own


def _threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0
