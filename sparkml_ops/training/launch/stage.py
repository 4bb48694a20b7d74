"""What each task of the barrier stage does: give a rank its place, watch its process, return how it ended."""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparkml_ops.storage import Storage
from sparkml_ops.training.launch.folder import AttemptFolder
from sparkml_ops.training.launch.gpu import addresses, assign
from sparkml_ops.training.launch.order import Order
from sparkml_ops.training.launch.outcome import Outcome
from sparkml_ops.training.launch.placement import Interface, Place, choose_interface, place
from sparkml_ops.training.launch.process import RankProcess
from sparkml_ops.training.launch.rendezvous import Rendezvous, Watch, note
from sparkml_ops.training.launch.settings import LaunchSettings
from sparkml_ops.training.launch.spare import Spare

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Plan", "rank_environment", "run_task"]

_TICK = 0.25  # seconds between two questions whether another rank has failed


@dataclass(frozen=True)
class Plan:
    """What the driver sends to every task.

    Args:
        payload: The user's task, pickled by cloudpickle.
        path: The driver's module search path; where driver and ranks share a host, ranks import what it imports.
        hooks: The driver's setting of the test hooks, which an executor started earlier does not have.
    """

    settings: LaunchSettings
    storage: Storage
    folder: AttemptFolder
    payload: bytes
    path: tuple[str, ...] = ()
    hooks: Mapping[str, str] = field(default_factory=dict)


def run_task(plan: Plan, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The body of one barrier task: a row for each of its ranks that says how it ended; it never raises, since Spark would run the stage again."""
    for _ in batches:
        pass  # the row only gives the task its place
    from pyspark import BarrierTaskContext

    # Libraries that are loaded have read their environment: a rank with one of its own, or with more threads, begins as a new interpreter.
    ranks = plan.settings.ranks_per_task
    spare = Spare.fork() if ranks == 1 and not plan.settings.environment and plan.settings.threads == 1 else None
    context = BarrierTaskContext.get()
    hosts = [info.address.rpartition(":")[0] for info in context.getTaskInfos() for _ in range(ranks)]
    places = [place(hosts, context.partitionId() * ranks + number) for number in range(ranks)]
    for outcome in _run(plan, places, context, spare):
        yield outcome.to_batch()


@dataclass(frozen=True)
class _Meeting:
    """Where the ranks meet: made by rank 0's task, told to all."""

    host: str
    port: int
    token: str
    store_port: int


def _run(plan: Plan, places: Sequence[Place], context: Any, spare: Spare | None) -> list[Outcome]:
    opened = _Opened(spare)
    try:
        gpus = addresses(context)
        message = _prepare(plan, places, gpus, opened)
        gathered = [json.loads(text) for text in context.allGather(json.dumps(message))]
        if refusal := next((found for found in gathered if "refused" in found), None):
            return [Outcome(where.rank, "refused", "RuntimeError", refusal["refused"], refusal.get("traceback", "")) for where in places]
        meeting = next(_Meeting(**found["meeting"]) for found in gathered if "meeting" in found)
        own = assign(plan.settings.device, gpus, len(places))
        with ThreadPoolExecutor(len(places)) as pool:  # ranks are processes; a thread watches each
            return list(pool.map(lambda where, gpu: _run_rank(plan, where, gpu, meeting, opened), places, own))
    except Exception as error:
        return [Outcome(where.rank, "raised", type(error).__name__, str(error), traceback.format_exc()) for where in places]
    finally:
        opened.close(plan.settings.hang_timeout)


class _Opened:
    """What a task has open: its rank's spare process; rank 0's also what the others need."""

    def __init__(self, spare: Spare | None) -> None:
        self.spare = spare
        self.rendezvous: Rendezvous | None = None
        self.listener: socket.socket | None = None
        self.used = False

    def take_spare(self) -> Spare | None:
        """The spare, which is the caller's from now on."""
        spare, self.spare = self.spare, None
        return spare

    def close(self, patience: float) -> None:
        if self.spare is not None:
            self.spare.dismiss()
        if self.rendezvous is not None:
            if self.used:  # the others ask here whether to go on, until the last has ended
                self.rendezvous.watch.wait_until_all_ended(patience)
            self.rendezvous.close()
        if self.listener is not None:
            self.listener.close()


def _prepare(plan: Plan, places: Sequence[Place], gpus: Sequence[str], opened: _Opened) -> dict[str, Any]:
    """Claim the ranks' places in this attempt and, in rank 0's task, open the meeting place."""
    try:
        assign(plan.settings.device, gpus, len(places))
        if plan.storage.exists(plan.folder.ended):
            return {"refused": "the driver has given this attempt up"}
        for where in places:
            claim = plan.folder.claimed(where.rank)
            if plan.storage.exists(claim):
                return {"refused": "Spark ran the stage again after it lost a task; only the launcher starts attempts"}
            plan.storage.publish(claim, json.dumps({"host": where.host}).encode(), kind="claimed")
        return {"meeting": _open(plan, places[0], opened).__dict__} if places[0].rank == 0 else {}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def _open(plan: Plan, where: Place, opened: _Opened) -> _Meeting:
    address = choose_interface(where, plan.settings.interface).address
    opened.rendezvous = Rendezvous(address, Watch(where.size, plan.settings.hang_timeout))
    if plan.settings.backend == "ddp":
        opened.listener = socket.create_server((address, 0), backlog=128)
    store_port = opened.listener.getsockname()[1] if opened.listener else 0
    return _Meeting(address, opened.rendezvous.port, opened.rendezvous.token, store_port)


def _run_rank(plan: Plan, where: Place, gpu: str | None, meeting: _Meeting, opened: _Opened) -> Outcome:
    opened.used = True
    inherited = [opened.listener.fileno()] if opened.listener and where.rank == 0 else []
    order = Order(
        backend=plan.settings.backend,
        rank=where.rank,
        size=where.size,
        attempt=plan.folder.attempt,
        run=plan.folder.run,
        storage=plan.storage.root,
        threads=plan.settings.threads,
        host=meeting.host,
        port=meeting.store_port,
        listener=next(iter(inherited), -1),
        timeout=_collective_timeout(plan.settings),
        collectives=plan.settings.collectives,
        gpu=gpu is not None,
    )
    process, state = None, "failed"
    try:
        environment = rank_environment(plan, where, meeting.host, meeting.port, meeting.token, gpu)
        process = RankProcess(order, plan.payload, environment, inherited, opened.take_spare())
        outcome = _watch(process, where.rank, meeting)
        state = "ended" if outcome.kind in {"returned", "stopped"} else "failed"
        return outcome
    finally:
        _tell(meeting, where.rank, state)  # before the process goes: the others must not take its silence for the cause
        if process is not None:
            process.kill()


def _watch(process: RankProcess, rank: int, meeting: _Meeting) -> Outcome:
    signs = 0
    while True:
        message = process.receive(_TICK)
        if isinstance(message, Outcome):
            return message
        signs += message == "sign"
        try:
            verdict = note(meeting.host, meeting.port, meeting.token, rank, signs=signs)
        except OSError as error:
            return Outcome(rank, "lost", type(error).__name__, f"the task of rank 0 is gone: {error}")
        if verdict == "failed":
            return Outcome(rank, "stopped", "RuntimeError", "another rank failed")
        if verdict == "hung":
            return Outcome(rank, "hung", "TimeoutError", "no rank gave a sign of life within training.hang_timeout", process.stacks())


def _tell(meeting: _Meeting, rank: int, state: str) -> None:
    try:
        note(meeting.host, meeting.port, meeting.token, rank, signs=0, state=state)
    except OSError as error:
        print(f"rank {rank} {state}, and nobody listens any more: {error}", file=sys.stderr)


def _collective_timeout(settings: LaunchSettings) -> float:
    return 2 * max(settings.start_timeout, settings.hang_timeout) + 60


def rank_environment(plan: Plan, where: Place, host: str, port: int, token: str, gpu: str | None = None) -> dict[str, str]:
    """The whole environment of a rank's process: this task's, the threads, the search path, its GPU, Horovod's place and interface."""
    interface: Interface = choose_interface(where, plan.settings.interface)
    threads = str(plan.settings.threads)
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON_WORKER_FACTORY")}  # holds Spark's secret
    path = dict.fromkeys([*map(os.path.abspath, sys.path), *plan.path])  # "" is the working directory
    return {
        **own,
        "PYTHONPATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        # Whatever else a host has, a rank sees its own GPU only; and cuBLAS gives the same sums each time with a fixed workspace.
        **({"CUDA_VISIBLE_DEVICES": ""} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}),
        "NCCL_SOCKET_IFNAME": interface.name,
        "GLOO_SOCKET_IFNAME": interface.name,
        "HOROVOD_HOSTNAME": where.host,
        "HOROVOD_RANK": str(where.rank),
        "HOROVOD_SIZE": str(where.size),
        "HOROVOD_LOCAL_RANK": str(where.local_rank),
        "HOROVOD_LOCAL_SIZE": str(where.local_size),
        "HOROVOD_CROSS_RANK": str(where.cross_rank),
        "HOROVOD_CROSS_SIZE": str(where.cross_size),
        "HOROVOD_GLOO_IFACE": interface.name,
        # Horovod makes http://<addr>:<port>/<scope>/<key> of the two; so every path begins with the token.
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": f"{host}:{port}/{token}",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(round(_collective_timeout(plan.settings))),
        # A whole bucket of gradients is no smaller, and goes out without a copy into Horovod's own buffer.
        "HOROVOD_FUSION_THRESHOLD": str(plan.settings.collectives.capacity),
        "HOROVOD_CYCLE_TIME": str(plan.settings.collectives.cycle_ms),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        **plan.hooks,
        **plan.settings.environment,
    }
