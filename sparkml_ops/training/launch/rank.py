"""The program of a rank's process: meet the others, run the task, say how it ended.

Started by `RankProcess` as `python -m sparkml_ops.training.launch.rank <connection> <stacks> <parent>`, or in a spare that was forked for it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NoReturn

from sparkml_ops.storage import Storage
from sparkml_ops.training.launch.communicator import Communicator
from sparkml_ops.training.launch.context import RankContext, Task, call
from sparkml_ops.training.launch.errors import PeerLost
from sparkml_ops.training.launch.folder import AttemptFolder
from sparkml_ops.training.launch.gpu import refuse_without_cuda
from sparkml_ops.training.launch.order import Order
from sparkml_ops.training.launch.reports import ReportWriter

__all__ = ["die_with", "main"]


def main(connection_handle: int, stacks_handle: int, parent: int, listener: int | None = None) -> NoReturn:
    """Run one rank.

    Args:
        connection_handle: File descriptor of the two-way connection to the Spark task.
        stacks_handle: File descriptor that receives all threads' stacks on SIGUSR1.
        parent: Process id of the Spark task's process.
        listener: The order's file descriptor of that name, where it has another number in this process.
    """
    die_with(parent)
    faulthandler.register(signal.SIGUSR1, file=stacks_handle, all_threads=True)
    link = _Link(Connection(connection_handle))
    order, payload = Order.from_json(link.connection.recv_bytes()), link.connection.recv_bytes()
    if listener is not None:
        order = replace(order, listener=listener)
    orphaned = threading.Thread(target=_end_when_orphaned, args=(link.connection,), daemon=True)
    orphaned.start()
    try:
        result = _run(order, payload, link)
        link.say({"kind": "returned", "type": type(result).__name__}, result)
    except BaseException as error:
        link.say(
            {"kind": "lost" if _lost(error) else "raised", "type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        )
        orphaned.join()  # the task first tells the others; gone at once, this rank would look like the cause of what they see
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # past the exit handlers: threads of torch and Gloo that still run abort there now and then


class _Link:
    """The connection to the Spark task, for any thread of the rank."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def say(self, message: Any, data: bytes | None = None) -> None:
        with self._lock:
            self.connection.send_bytes(json.dumps(message).encode())
            if data is not None:
                self.connection.send_bytes(data)


def _run(order: Order, payload: bytes, link: _Link) -> bytes | None:
    import torch
    from pyspark import cloudpickle

    torch.set_num_threads(order.threads)
    task = cloudpickle.loads(payload)  # what it imports is part of the start, not of the time without a sign of life
    storage, folder = Storage(order.storage), AttemptFolder(order.run, order.attempt)
    with _timeline(order, storage, folder):
        communicator = _connect(order)
        result = _work(task, order, communicator, storage, folder, link)
        communicator.close()
    return result


def _work(task: Task, order: Order, communicator: Communicator, storage: Storage, folder: AttemptFolder, link: _Link) -> bytes | None:
    writer = ReportWriter(storage, folder, order.rank)
    storage.publish(folder.started(order.rank), json.dumps({"pid": os.getpid()}).encode(), kind="started")
    link.say("sign")

    def publish(report: dict[str, Any]) -> None:
        link.say("sign")  # first: a report that finds no room does not make the rank a dead one
        writer.publish(report)

    device: Literal["cpu", "cuda"] = "cuda" if order.gpu else "cpu"
    return call(task, RankContext(communicator=communicator, attempt=order.attempt, publish=publish, device=device))


@contextmanager
def _timeline(order: Order, storage: Storage, folder: AttemptFolder) -> Iterator[None]:
    """Publish what Horovod writes about its collectives: rank 0 does, but all must be told, or they wait for each other for ever."""
    if not order.collectives.timeline:
        yield
        return
    with tempfile.TemporaryFile() as file:  # without a name: however the rank ends, nothing is left
        os.environ["HOROVOD_TIMELINE"] = f"/proc/self/fd/{file.fileno()}"
        yield
        if order.rank == 0:
            storage.publish_file(folder.timeline, Path(os.environ["HOROVOD_TIMELINE"]), kind="timeline")


def _connect(order: Order) -> Communicator:
    if order.gpu:
        refuse_without_cuda()
    if order.backend == "horovod":
        from sparkml_ops.training.launch.horovod import HorovodCommunicator

        return HorovodCommunicator(order.collectives, gpu=order.gpu)
    from sparkml_ops.training.launch.ddp import DdpCommunicator

    return DdpCommunicator(
        rank=order.rank,
        size=order.size,
        host=order.host,
        port=order.port,
        listener=order.listener,
        timeout=order.timeout,
        collectives=order.collectives,
        gpu=order.gpu,
    )


def _lost(error: BaseException) -> bool:
    """Whether a lost peer is behind an exception, wrapped or not."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, PeerLost):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent is gone, even while C code holds the interpreter."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the call above
        os._exit(1)


def _end_when_orphaned(connection: Connection) -> NoReturn:
    """Wait for the end of the connection: the task is gone, or has no more use for this process."""
    try:
        connection.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
