"""Collectives beside their limits: bus bandwidth of ours and of plain Horovod and torch, and what speaking costs a training.

One launch of two or more ranks holds both groups, so that every contestant meets the same minute of the same processes:
`python scripts/bench/collectives.py [ranks] [rounds] [largest MiB]`. Terms: S bytes, N ranks, T seconds; busbw = 2 (N - 1) / N * S / T;
T = 2 (N - 1) alpha + 2 (N - 1) / N * S / B is the ring's time (Patarasuk and Yuan 2009), fitted; efficiency is busbw over the rate at which
all ranks send to and receive from a neighbour over loopback at once. E_comm is rows/s of the ranks together over the summed rows/s of as many
copies that start together and never speak.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

from rounds import heading

from sparkml_ops import session
from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import Collectives, LaunchSettings, RankContext, launch

LOOPBACK = "127.0.0.1"
SMALLEST = 4 << 10
STEP_SECONDS = 0.1  # compute of a step, at least
WIDTHS = (28, 1024, 1024, 1)  # 1.08 million weights
STEPS = 8  # a round


def main(ranks: int = 2, rounds: int = 5, largest: int = 64) -> None:
    """Run and print Markdown for docs/benchmarks.md."""
    with tempfile.TemporaryDirectory() as folder:
        conf = {"spark.sql.warehouse.dir": f"{folder}/warehouse", "spark.ui.enabled": "false"}
        spark = session.build(session.SparkSection(master=f"local[{ranks}]", driver_memory="1g", conf=conf))
        settings = LaunchSettings(workers=ranks, backend="horovod", attempts=1, start_timeout=300, hang_timeout=600)
        found = [json.loads(answer or b"") for answer in launch(spark, _Work(rounds, largest << 20), settings, Storage(folder), "bench")]
        spark.stop()
    print(heading(f"python scripts/bench/collectives.py {ranks} {rounds} {largest}") + f"; {ranks} ranks, medians of {rounds} rounds\n")
    for line in (*_bandwidth(found, ranks), "", *_efficiency(found)):
        print(line)


def _bandwidth(found: list[dict[str, Any]], ranks: int) -> list[str]:
    duplex = median(found[0]["duplex"])
    names, factor = list(found[0]["seconds"]), 2 * (ranks - 1) / ranks
    sizes = [int(size) for size in found[0]["seconds"][names[0]]]
    lines = [
        f"Loopback, all ranks sending and receiving at once: {duplex / 1e9:.2f} GB/s a direction. busbw in GB/s:",
        "",
        "| | " + " | ".join(_bytes(size) for size in sizes) + " | alpha, ms | B, GB/s | largest / loopback |",
        "|---|" + "---:|" * (len(sizes) + 3),
    ]
    for name in names:
        times = {size: median(found[0]["seconds"][name][str(size)]) for size in sizes}
        rates = [factor * size / times[size] for size in sizes]
        latency, bandwidth = _fit(times, ranks)
        shown = " | ".join(f"{rate / 1e9:.3f}" for rate in rates)
        lines.append(f"| {name} | {shown} | {1e3 * latency:.2f} | {bandwidth / 1e9:.2f} | {rates[-1] / duplex:.2f} |")
    return lines


def _fit(times: dict[int, float], ranks: int) -> tuple[float, float]:
    """Latency of a step of the ring and bandwidth, by least squares of relative errors."""
    import numpy as np

    terms = np.array([[2 * (ranks - 1), 2 * (ranks - 1) / ranks * size] for size in times])
    seconds = np.array(list(times.values()))
    (latency, each), *_ = np.linalg.lstsq(terms / seconds[:, None], np.ones(len(seconds)), rcond=None)
    return float(latency), 1 / float(each)


def _efficiency(found: list[dict[str, Any]]) -> list[str]:
    steps = found[0]["steps"]
    copies = [sum(rates) for rates in zip(*(rank["rows"]["copies"] for rank in found), strict=True)]
    lines = [
        f"{found[0]['weights']:,} weights, {found[0]['batch']} rows a rank and step, {1e3 * median(found[0]['alone']):.0f} ms a step of a copy:",
        "",
        "| | rows/s | E_comm | range |",
        "|---|---:|---:|---|",
        f"| copies that never speak | {median(copies):,.0f} | 1 | |",
    ]
    for name in found[0]["rows"]:
        if name != "copies":
            # All ranks end together: the slowest one's clock counts.
            rates = [len(found) * min(each) for each in zip(*(rank["rows"][name] for rank in found), strict=True)]
            ratios = sorted(rate / copy for rate, copy in zip(rates, copies, strict=True))
            lines.append(f"| {name} | {median(rates):,.0f} | {median(ratios):.3f} | {ratios[0]:.3f} to {ratios[-1]:.3f} |")
    return [*lines, "", f"{steps} steps of each in turn."]


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


class _Work:
    """What each rank does; rank 0's times count, since all ranks leave a collective together."""

    def __init__(self, rounds: int, largest: int) -> None:
        self.rounds, self.largest = rounds, largest

    def __call__(self, context: RankContext) -> bytes:
        ddp = _meet(context)
        groups = {"horovod": context.communicator, "ddp": ddp}
        return json.dumps({**self.bandwidth(context, groups), **self.efficiency(context, groups)}).encode()

    def bandwidth(self, context: RankContext, groups: dict[str, Any]) -> dict[str, Any]:
        """Seconds of an all-reduce by contestant and size, and the loopback rate of each round."""
        import torch

        sizes = [SMALLEST << shift for shift in range(0, 40, 2) if SMALLEST << shift <= self.largest]
        contestants = _contestants(groups)
        seconds: dict[str, dict[int, list[float]]] = {name: {size: [] for size in sizes} for name in contestants}
        duplex = []
        for number in range(self.rounds + 1):
            rate = _duplex(context)
            for size in sizes:
                tensor = torch.full((size // 4,), float(context.rank + 1))
                times = max(2, min(50, (4 << 20) // size))
                for name, reduce in contestants.items():
                    taken = _timed(context, reduce, tensor, times)
                    if number:
                        seconds[name][size].append(taken)
            duplex += [rate] if number else []
            context.report({"round": number})
        return {"seconds": seconds, "duplex": duplex}

    def efficiency(self, context: RankContext, groups: dict[str, Any]) -> dict[str, Any]:
        """Rows a second of this rank, by contestant and round."""
        trainings = _trainings(groups)
        batch = _enough_rows(context, trainings["copies"])
        rows: dict[str, list[float]] = {name: [] for name in trainings}
        alone = []
        for number in range(self.rounds + 1):
            for name, step in trainings.items():
                context.communicator.barrier()
                began = time.perf_counter()
                for _ in range(STEPS):
                    step(batch)
                taken = time.perf_counter() - began
                if number:
                    rows[name].append(STEPS * len(batch[0]) / taken)
                    alone += [taken / STEPS] if name == "copies" else []
            context.report({"round": number})
        weights = sum(before * after + after for before, after in pairwise(WIDTHS))
        return {"rows": rows, "alone": alone, "batch": len(batch[0]), "steps": STEPS, "weights": weights}


def _meet(context: RankContext) -> Any:
    """A group of torch among the processes of Horovod."""
    import torch

    from sparkml_ops.training.launch.ddp import DdpCommunicator

    listener = socket.create_server((LOOPBACK, 0)) if context.rank == 0 else None
    port = torch.tensor([listener.getsockname()[1] if listener else 0])
    place = int(context.communicator.broadcast(port)[0])
    handle = listener.detach() if listener else -1
    return DdpCommunicator(rank=context.rank, size=context.size, host=LOOPBACK, port=place, listener=handle)


def _contestants(groups: dict[str, Any]) -> dict[str, Callable[[Any], Any]]:
    import horovod.torch as hvd
    from torch import distributed

    def plain_torch(tensor: Any) -> Any:
        result = tensor.clone()
        distributed.all_reduce(result)
        return result

    return {
        "ours, horovod": groups["horovod"].all_reduce,
        "plain Horovod": lambda tensor: hvd.allreduce(tensor, op=hvd.Sum, name="plain"),
        "ours, ddp": groups["ddp"].all_reduce,
        "plain torch": plain_torch,
    }


def _timed(context: RankContext, reduce: Callable[[Any], Any], tensor: Any, times: int) -> float:
    """Seconds of one call; the first says whether the sum is right and does not count."""
    if reduce(tensor)[-1].item() != sum(range(context.size + 1)):
        raise SystemExit("a wrong sum")
    context.communicator.barrier()
    began = time.perf_counter()
    for _ in range(times):
        reduce(tensor)
    return (time.perf_counter() - began) / times


def _duplex(context: RankContext, size: int = 64 << 20) -> float:
    """Bytes a second that each rank sends to the next one while it receives as many from the one before."""
    import torch

    listener = socket.create_server((LOOPBACK, 0))
    ports = context.communicator.all_gather(torch.tensor([listener.getsockname()[1]])).tolist()
    out = socket.create_connection((LOOPBACK, ports[(context.rank + 1) % context.size]))
    into, _ = listener.accept()
    data, buffer = bytes(1 << 20), memoryview(bytearray(1 << 20))
    context.communicator.barrier()
    began = time.perf_counter()
    sender = threading.Thread(target=lambda: [out.sendall(data) for _ in range(size >> 20)])
    sender.start()
    left = size
    while left:
        left -= into.recv_into(buffer[: min(left, len(buffer))])
    sender.join()
    taken = time.perf_counter() - began
    for each in (out, into, listener):
        each.close()
    return size / float(context.communicator.all_reduce(torch.tensor([taken])) / context.size)


def _trainings(groups: dict[str, Any]) -> dict[str, Callable[[Any], None]]:
    """One step on a batch, by contestant; each has a model and an optimiser of its own."""
    import torch

    from sparkml_ops.training.launch.ddp import DdpCommunicator

    class Compressed(DdpCommunicator):
        def __init__(self, like: DdpCommunicator) -> None:
            self.__dict__ = {**like.__dict__, "_sums": {}, "_collectives": Collectives(compression="bf16")}

    found: dict[str, Callable[[Any], None]] = {"copies": _training(None)}
    found |= {f"ours, {name}": _training(group) for name, group in groups.items()}
    found["ours, ddp, bf16"] = _training(Compressed(groups["ddp"]))
    found["Horovod's DistributedOptimizer"] = _peer_of_horovod()
    model, optimizer = _model()
    found["torch's DistributedDataParallel"] = _stepper(torch.nn.parallel.DistributedDataParallel(model), optimizer)
    return found


def _model() -> tuple[Any, Any]:
    import torch
    from torch import nn

    from sparkml_ops.training.optimizer import SGD

    torch.manual_seed(1)
    layers = [nn.Linear(before, after) for before, after in pairwise(WIDTHS)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    return model, SGD(model.parameters(), lr=1e-3)


def _training(group: Any) -> Callable[[Any], None]:
    model, optimizer = _model()
    return _stepper(model, optimizer if group is None else group.wrap(model, optimizer))


def _peer_of_horovod() -> Callable[[Any], None]:
    import horovod.torch as hvd

    model, optimizer = _model()
    return _stepper(model, hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters(), op=hvd.Sum))


def _stepper(model: Any, optimizer: Any) -> Callable[[Any], None]:
    def step(batch: Any) -> None:
        numbers, target = batch
        optimizer.zero_grad()
        (model(numbers).squeeze(1) - target).square().mean().backward()
        optimizer.step()

    return step


def _enough_rows(context: RankContext, step: Callable[[Any], None]) -> Any:
    """A batch whose step takes long enough on every rank while all compute at once."""
    import torch

    rows = 512
    while True:
        batch = (torch.randn(rows, WIDTHS[0]), torch.randn(rows))
        step(batch)
        context.communicator.barrier()
        began = time.perf_counter()
        for _ in range(3):
            step(batch)
        taken = torch.tensor([(time.perf_counter() - began) / 3])
        if float(context.communicator.all_reduce(taken)) / context.size >= 1.2 * STEP_SECONDS:
            return batch
        rows *= 2


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
