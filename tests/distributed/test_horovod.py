"""Our build of Horovod: its own collectives, and what we tell it by the environment.

One launch of three ranks runs all cases, one after the other; each test reads what one case came to on every rank.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from pyspark.sql import SparkSession
from torch import nn

from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import Collectives, Communicator, LaunchSettings, RankContext, launch
from sparkml_ops.training.launch.horovod import load
from sparkml_ops.training.optimizer import SGD, AdamW

SUMMED = ("int32", "int64", "float16", "float32", "float64")
MOVED = ("uint8", "int8", "int16", *SUMMED)
SHAPES = ((), (1,), (0,), (0, 3), (17,), (2, 0, 2), (5, 4, 3), (2, 3, 2, 2, 3))
COLLECTIVES = Collectives(fusion_mib=0.5, cycle_ms=2.0, compression="bf16", timeline=True)


@dataclass(frozen=True)
class Group:
    """Horovod's module, our communicator on it, and this rank's place."""

    hvd: Any
    communicator: Communicator
    rank: int
    size: int

    def mine(self, shape: tuple[int, ...], dtype: str, rank: int | None = None) -> torch.Tensor:
        """Small whole numbers, others on each rank: every type adds them exactly."""
        drawn = np.random.default_rng((len(shape), self.rank if rank is None else rank)).integers(0, 10, shape)
        return torch.as_tensor(drawn).to(getattr(torch, dtype))

    def total(self, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        return torch.stack([self.mine(shape, dtype, rank) for rank in range(self.size)]).sum(0).to(getattr(torch, dtype))


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def sums(group: Group) -> None:
    for dtype in SUMMED:
        for shape in SHAPES:
            tensor = group.mine(shape, dtype)
            same(group.hvd.allreduce(tensor, op=group.hvd.Sum, name=f"sum.{dtype}.{shape}"), group.total(shape, dtype))
            same(tensor, group.mine(shape, dtype))


def averages(group: Group) -> None:
    for dtype in ("float32", "float64"):
        found = group.hvd.allreduce(group.mine((6,), dtype), op=group.hvd.Average)
        torch.testing.assert_close(found, group.total((6,), dtype) / group.size)


def scaled_sums(group: Group) -> None:
    found = group.hvd.allreduce(group.mine((6,), "float64"), op=group.hvd.Sum, prescale_factor=0.5, postscale_factor=4.0)
    same(found, 2 * group.total((6,), "float64"))


def extremes_and_products(group: Group) -> None:
    for dtype in SUMMED:
        parts = torch.stack([group.mine((9,), dtype, rank) for rank in range(group.size)])
        mine = group.mine((9,), dtype)
        same(group.hvd.allreduce(mine, op=group.hvd.Min), parts.amin(0))
        same(group.hvd.allreduce(mine, op=group.hvd.Max), parts.amax(0))
        same(group.hvd.allreduce(mine, op=group.hvd.Product), parts.prod(0).to(mine.dtype))


def transposed_tensors_are_refused(group: Group) -> None:
    """Our communicator copies them first."""
    refused(lambda: group.hvd.allreduce(group.mine((4, 3), "float32").t(), op=group.hvd.Sum), ValueError, "contiguous")
    same(group.communicator.all_reduce(group.mine((4, 3), "float32").t()), group.total((4, 3), "float32").t())


def large_sums(group: Group) -> None:
    """Above and below the threshold of fusion."""
    for values in (1_000, 100_000, 1_000_003):
        tensor = torch.arange(values, dtype=torch.float64) + group.rank
        same(group.hvd.allreduce(tensor, op=group.hvd.Sum), group.size * torch.arange(values, dtype=torch.float64) + sum(range(group.size)))


def many_at_once_in_place(group: Group) -> None:
    """Started in another order on each rank, waited for in another one again."""
    tensors = [group.mine((number + 1,), "float32") for number in range(40)]
    order = np.random.default_rng(group.rank).permutation(40).tolist()
    handles = {number: group.hvd.allreduce_async_(tensors[number], op=group.hvd.Sum, name=f"many.{number}") for number in order}
    for number in reversed(order):
        assert group.hvd.synchronize(handles[number]) is tensors[number]
        same(tensors[number], group.total((number + 1,), "float32"))


def grouped_sums(group: Group) -> None:
    shapes = [(3,), (0,), (), (2, 5)]
    for dtype in SUMMED:
        found = group.hvd.grouped_allreduce([group.mine(shape, dtype) for shape in shapes], op=group.hvd.Sum, name=f"grouped.{dtype}")
        for tensor, shape in zip(found, shapes, strict=True):
            same(tensor, group.total(shape, dtype))
    tensors = [group.mine(shape, "float32") for shape in shapes]
    group.hvd.grouped_allreduce_(tensors, op=group.hvd.Sum, name="grouped in place")
    for tensor, shape in zip(tensors, shapes, strict=True):
        same(tensor, group.total(shape, "float32"))


def uneven_gathers(group: Group) -> None:
    for dtype in MOVED:
        for counts in ((1, 2, 3), (4, 0, 1), (0, 0, 2), (0, 0, 0), (2, 2, 2)):
            found = group.hvd.allgather(group.mine((counts[group.rank], 3), dtype), name=f"gather.{dtype}.{counts}")
            same(found, torch.cat([group.mine((count, 3), dtype, rank) for rank, count in enumerate(counts)]))


def gathers_whose_number_of_rows_changes(group: Group) -> None:
    """Under one name: Horovod remembers what it negotiated."""
    for step in range(12):
        counts = np.random.default_rng(step).integers(0, 4, group.size).tolist()
        found = group.hvd.allgather(group.mine((counts[group.rank], 2), "float64"), name="changing")
        same(found, torch.cat([group.mine((count, 2), "float64", rank) for rank, count in enumerate(counts)]))


def broadcasts(group: Group) -> None:
    for dtype in MOVED:
        for root in range(group.size):
            mine = group.mine((2, 3), dtype)
            same(group.hvd.broadcast(mine, root, name=f"broadcast.{dtype}.{root}"), group.mine((2, 3), dtype, root))
            same(mine, group.mine((2, 3), dtype))
            group.hvd.broadcast_(mine, root, name=f"broadcast_.{dtype}.{root}")
            same(mine, group.mine((2, 3), dtype, root))


def objects(group: Group) -> None:
    assert group.hvd.broadcast_object({"rank": group.rank, "list": [1] * group.rank}, 2) == {"rank": 2, "list": [1, 1]}
    assert group.hvd.allgather_object(["a"] * group.rank) == [["a"] * rank for rank in range(group.size)]


def optimizer_state(group: Group) -> None:
    """Weights, moments, numbers of steps and rates of rank 1, where the other ranks have stepped on other gradients or not at all."""
    torch.manual_seed(group.rank)
    model = nn.Linear(3, 2)
    optimizer = AdamW(model.parameters(), lr=0.1 * (group.rank + 1))
    for _ in range(group.rank * 2):
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
    before = group.hvd.broadcast_object((model.state_dict(), optimizer.state_dict()), 1)

    # In this order: a rank without state makes one by a step, whose decay moves its weights.
    group.hvd.broadcast_optimizer_state(optimizer, 1)
    group.hvd.broadcast_parameters(model.state_dict(), 1)

    for found, expected in zip(model.state_dict().values(), before[0].values(), strict=True):
        same(found, expected)
    for index, state in before[1]["state"].items():
        for name, value in state.items():
            same(torch.as_tensor(optimizer.state_dict()["state"][index][name]), torch.as_tensor(value))
    assert optimizer.param_groups[0]["lr"] == 0.2


def all_to_all(group: Group) -> None:
    for dtype in MOVED:
        sent = torch.arange(2 * group.size).to(getattr(torch, dtype)) + 10 * group.rank
        found, _ = group.hvd.synchronize(group.hvd.alltoall_async(sent, name=f"alltoall.{dtype}"))
        expected = [10 * rank + 2 * group.rank + place for rank in range(group.size) for place in range(2)]
        same(found, torch.tensor(expected).to(sent.dtype))


def uneven_all_to_all(group: Group) -> None:
    """Rank r sends r rows to rank 0, none to rank 1 and two to rank 2."""
    rows = torch.full((group.rank + 2, 2), float(group.rank))
    found, counts = group.hvd.alltoall(rows, torch.tensor([group.rank, 0, 2], dtype=torch.int32))
    expected = {0: [0, 1, 2], 1: [0, 0, 0], 2: [2, 2, 2]}[group.rank]

    assert counts.tolist() == expected
    same(found, torch.cat([torch.full((count, 2), float(rank)) for rank, count in enumerate(expected)]))


def reduce_scatter(group: Group) -> None:
    """Seven rows on three ranks: the first gets three."""
    for dtype in SUMMED:
        found = group.hvd.reducescatter(group.mine((7, 2), dtype), op=group.hvd.Sum, name=f"scatter.{dtype}")
        start, stop = {0: (0, 3), 1: (3, 5), 2: (5, 7)}[group.rank]
        same(found, group.total((7, 2), dtype)[start:stop])
    parts = group.hvd.grouped_reducescatter([group.mine((3, 2), "float32"), group.mine((6,), "float32")], op=group.hvd.Sum, name="grouped scatter")
    same(parts[0], group.total((3, 2), "float32")[group.rank : group.rank + 1])
    same(parts[1], group.total((6,), "float32")[2 * group.rank : 2 * group.rank + 2])


def sparse_sums(group: Group) -> None:
    rows = [[0, 2], [2], [2, 4]]
    mine = torch.sparse_coo_tensor([rows[group.rank]], torch.ones(len(rows[group.rank]), 2), (5, 2), check_invariants=True)
    found = group.hvd.sparse_allreduce_async(mine, name="sparse", op=group.hvd.Sum)()
    same(found.to_dense()[:, 0], torch.tensor([1.0, 0.0, 3.0, 0.0, 1.0]))


def process_sets(group: Group) -> None:
    """Two of three ranks among themselves, while the third goes on alone."""
    chosen = group.hvd.add_process_set([0, 2])
    assert chosen.included() == (group.rank != 1)
    if chosen.included():
        assert (chosen.size(), chosen.rank()) == (2, group.rank // 2)
        found = group.hvd.allreduce(group.mine((4,), "float32"), op=group.hvd.Sum, process_set=chosen, name="sum of two")
        same(found, group.mine((4,), "float32", 0) + group.mine((4,), "float32", 2))
        gathered = group.hvd.allgather(group.mine((group.rank + 1,), "int64"), process_set=chosen, name="gather of two")
        same(gathered, torch.cat([group.mine((rank + 1,), "int64", rank) for rank in (0, 2)]))
        same(group.hvd.broadcast(group.mine((2,), "float64"), 2, process_set=chosen, name="broadcast of two"), group.mine((2,), "float64", 2))
    assert group.hvd.remove_process_set(chosen)
    same(group.hvd.allreduce(torch.ones(2), op=group.hvd.Sum, name="after two"), torch.full((2,), 3.0))


def types_that_are_refused(group: Group) -> None:
    """At once, on the calling rank, so that nobody waits."""
    for dtype in ("bfloat16", "bool"):
        for call in (group.hvd.allreduce, group.hvd.allgather):
            refused(lambda call=call, dtype=dtype: call(torch.zeros(2).to(getattr(torch, dtype))), ValueError, "not supported")
    for dtype in ("uint8", "int8", "int16"):
        refused(lambda dtype=dtype: group.hvd.allreduce(torch.zeros(2).to(getattr(torch, dtype)), op=group.hvd.Sum), ValueError, "not supported")


def shapes_that_differ(group: Group) -> None:
    """An error on every rank, and the group goes on."""
    internal = group.hvd.mpi_ops.HorovodInternalError
    refused(lambda: group.hvd.allreduce(torch.zeros(group.rank + 1), op=group.hvd.Sum, name="shapes"), internal, "Mismatched")
    kind = torch.float32 if group.rank else torch.float64
    refused(lambda: group.hvd.allreduce(torch.zeros(2, dtype=kind), op=group.hvd.Sum, name="types"), internal, "Mismatched")
    same(group.hvd.allreduce(torch.ones(2), op=group.hvd.Sum, name="after errors"), torch.full((2,), 3.0))


def refused(call: Callable[[], object], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def join_counts_ranks_that_are_done(group: Group) -> None:
    """Why we do not use it: the mean of the rows of one rank, 3, is divided by three ranks."""
    found = None if group.rank else group.hvd.allreduce(torch.tensor([3.0]), op=group.hvd.Average, name="joined")
    group.hvd.join()
    assert found is None or found.tolist() == [1.0]


def settings_arrive(group: Group) -> None:
    """What the launch was told to tell Horovod."""
    found = {name: os.environ[f"HOROVOD_{name}"] for name in ("FUSION_THRESHOLD", "CYCLE_TIME")}
    assert found == {"FUSION_THRESHOLD": str(1 << 19), "CYCLE_TIME": "2.0"}, found
    assert os.environ["HOROVOD_TIMELINE"].startswith("/proc/self/fd/")


def compressed_gradients(group: Group) -> None:
    """As the launch was told; the same on every rank, huge and tiny ones beside each other, and what is not finite stays so."""
    weight = nn.Parameter(torch.zeros(5))
    optimizer = SGD([weight], lr=1.0)
    group.communicator.wrap(nn.ParameterList([weight]), optimizer)
    parts = torch.tensor([[1e30, 1e-30, 0.1, 1.0, 1.0], [2e30, 3e-30, 0.2, torch.inf, 1.0], [0.0, 0.0, 0.4, 1.0, torch.nan]])
    (weight * parts[group.rank]).sum().backward()
    group.communicator.synchronize(optimizer)

    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, parts.sum(0), rtol=2.0**-7, atol=0, equal_nan=True)
    assert not torch.equal(weight.grad[:3], parts.sum(0)[:3])
    same(group.communicator.broadcast(weight.grad[:3]), weight.grad[:3])


CASES = (
    sums,
    averages,
    scaled_sums,
    extremes_and_products,
    transposed_tensors_are_refused,
    large_sums,
    many_at_once_in_place,
    grouped_sums,
    uneven_gathers,
    gathers_whose_number_of_rows_changes,
    broadcasts,
    objects,
    optimizer_state,
    all_to_all,
    uneven_all_to_all,
    reduce_scatter,
    sparse_sums,
    process_sets,
    types_that_are_refused,
    shapes_that_differ,
    join_counts_ranks_that_are_done,
    settings_arrive,
    compressed_gradients,
)


def run_cases(context: RankContext) -> bytes:
    """What each case came to: empty where it passed."""
    group = Group(load(), context.communicator, context.rank, context.size)
    found = {}
    for case in CASES:
        try:
            case(group)
            found[case.__name__] = ""
        except Exception:
            found[case.__name__] = traceback.format_exc()
        context.report({"case": case.__name__})
    return json.dumps(found).encode()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage(str(tmp_path_factory.mktemp("horovod")))


@pytest.fixture(scope="module")
def found(spark: SparkSession, storage: Storage) -> list[dict[str, str]]:
    """What each rank found of each case."""
    settings = LaunchSettings(
        workers=3, attempts=1, hang_timeout=60, start_timeout=300, collectives=COLLECTIVES, environment={"HOROVOD_DYNAMIC_PROCESS_SETS": "1"}
    )
    return [json.loads(answer or b"") for answer in launch(spark, run_cases, settings, storage, "horovod")]


@pytest.mark.parametrize("case", [case.__name__ for case in CASES])
def test_a_case_passes_on_every_rank(found: list[dict[str, str]], case: str) -> None:
    """Each compares what Horovod gives with what follows from all ranks' numbers."""
    assert [rank[case] for rank in found] == [""] * 3


def test_the_timeline_is_published_when_the_ranks_have_ended(found: list[dict[str, str]], storage: Storage) -> None:
    """One object for the launch: Chrome's trace format, with what each collective waited for."""
    assert found
    text = storage.read("training/horovod/attempt-0/timeline.json").decode().rstrip().rstrip(",")
    events = json.loads(text if text.endswith("]") else text + "]")

    assert {"NEGOTIATE_ALLREDUCE", "ALLREDUCE", "NEGOTIATE_ALLGATHER"} <= {event.get("name") for event in events}
