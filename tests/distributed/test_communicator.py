"""One contract for all communicators: `local` alone, `horovod` and `ddp` with three real ranks.

Each backend runs `examine` once on all its ranks; each test reads one part of what they answered.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from pyspark.sql import SparkSession
from torch import nn

from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import Collectives, Communicator, LaunchSettings, RankContext, launch
from sparkml_ops.training.launch.compression import CompressedSum

SIZES = {"local": 1, "horovod": 3, "ddp": 3}
DTYPES = ("float32", "float64", "int64")
STEPS = 50
COLLECTIVES = Collectives(fusion_mib=400 / 2**20)  # two buckets of the network below


@pytest.fixture(scope="module", params=SIZES)
def answers(request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank of a backend found."""
    folder = tmp_path_factory.mktemp("communicator")
    settings = LaunchSettings(workers=SIZES[request.param], backend=request.param, attempts=1, hang_timeout=60, collectives=COLLECTIVES)
    found = launch(spark, examination(str(folder)), settings, Storage(str(folder / "storage")), "contract")
    return [json.loads(answer or b"") for answer in found]


def examination(folder: str) -> Callable[[RankContext], bytes]:
    def examine(context: RankContext) -> bytes:
        one = context.communicator
        answer = {
            "is communicator": isinstance(one, Communicator),
            "rank": one.rank,
            "size": one.size,
            "sums": sums(one),
            "broadcasts": broadcasts(one),
            "gathers": gathers(one),
            "seen after barrier": barrier(one, Path(folder)),
            "compressed": compressed(one),
            "collectives": asdict(getattr(one, "_collectives", COLLECTIVES)),
            "unwrapped": unwrapped(one),
            **{f"weights {name}": train(name, one) for name in OPTIMIZERS},
            "skipped": skipped_step(one),
            "sparse": sparse(one),
            "in parts": in_parts(one),
            "gradients": synchronized_gradients(one),
        }
        return json.dumps(answer).encode()

    return examine


def sums(one: Communicator) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in DTYPES:
        mine = torch.arange(6, dtype=getattr(torch, name)).view(2, 3) + 10 * one.rank
        kept = mine.clone()
        total = one.all_reduce(mine)
        found[name] = [total.tolist(), str(total.dtype), bool(torch.equal(mine, kept)), total.data_ptr() != mine.data_ptr()]
    found["scalar"] = one.all_reduce(torch.tensor(1.5 + one.rank)).item()
    found["transposed"] = one.all_reduce((torch.arange(6.0).view(2, 3) + one.rank).t()).tolist()
    return found


def broadcasts(one: Communicator) -> list[Any]:
    mine = torch.tensor([one.rank, 7], dtype=torch.int64)
    return [one.broadcast(mine, root=root).tolist() for root in range(one.size)] + [mine.tolist()]


def gathers(one: Communicator) -> dict[str, Any]:
    """Rank r brings r rows, in the second of two calls one more; the last call has no rows at all."""
    found: dict[str, Any] = {}
    for name in DTYPES:
        for more in (0, 1):
            mine = torch.full((one.rank + more, 2), one.rank + 1, dtype=getattr(torch, name))
            found[f"{name} {more}"] = [one.all_gather(mine).tolist(), str(one.all_gather(mine).dtype)]
    found["nothing"] = list(one.all_gather(torch.empty(0, 3)).shape)
    return found


def sparse(one: Communicator | None) -> list[float]:
    """Weights after fifty steps whose embedding has sparse gradients; without a communicator, dense ones."""
    model = Network(sparse=one is not None)
    optimizer = bare(torch.optim.SGD)(model.parameters(), lr=0.05, momentum=0.9)
    if one is not None:
        optimizer = one.wrap(model, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=step % 3 != 1)
        backward(model, step, slice(0, 11) if one is None else own_rows(step, one.rank, one.size))
        optimizer.step()
    return weights_of(model)


def in_parts(one: Communicator | None) -> list[float]:
    """Weights after fifty steps whose batches come in parts, as the loop has them: all but the last without `backward`."""
    model = Network()
    optimizer = bare(torch.optim.SGD)(model.parameters(), lr=0.05, momentum=0.9)
    if one is not None:
        optimizer = one.wrap(model, optimizer)
    weights = list(model.parameters())
    for step in range(STEPS):
        optimizer.zero_grad()
        rows = slice(0, 11) if one is None else own_rows(step, one.rank, one.size)
        middle = rows.start + (rows.stop - rows.start) // 3 if one is not None else rows.start
        if middle > rows.start:
            for weight, gradient in zip(
                weights, torch.autograd.grad(loss_of(model, step, slice(rows.start, middle)), weights, allow_unused=True), strict=True
            ):
                weight.grad = gradient
        backward(model, step, slice(middle, rows.stop))
        optimizer.step()
    return weights_of(model)


def barrier(one: Communicator, folder: Path) -> list[str]:
    (folder / f"before-{one.size}-{one.rank}").touch()
    one.barrier()
    return sorted(path.name for path in folder.glob("before-*"))


def compressed(one: Communicator) -> list[float]:
    """A sum at 16 bits a value, started as a training does; alone nothing is sent."""
    buffer = torch.cat([part_of(one.rank), torch.ones(1)])
    if one.size > 1:
        CompressedSum(one._exchange, "fp16").start("compressed", buffer, 1)()()  # type: ignore[attr-defined]
    return buffer.tolist()


def part_of(rank: int) -> torch.Tensor:
    return torch.tensor([1e30, 1e24, -3.0, 0.0, 2e30]) * (rank + 1.1)


def unwrapped(one: Communicator) -> str:
    optimizer = bare(torch.optim.SGD)([nn.Parameter(torch.ones(1))], lr=0.1)
    try:
        one.synchronize(optimizer)
    except ValueError as error:
        return str(error)
    return "accepted"


class Network(nn.Module):
    """An embedding, a hidden layer, and a parameter that never gets a gradient."""

    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.embedding = nn.Embedding(5, 3, sparse=sparse)
        self.hidden = nn.Linear(7, 6)
        self.output = nn.Linear(6, 1)
        self.unused = nn.Parameter(torch.ones(2))
        self.double()

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([numbers, self.embedding(categories)], dim=1)
        return torch.as_tensor(self.output(torch.tanh(self.hidden(joined))).squeeze(1))


def bare(kind: Any) -> Any:
    """An optimiser of torch without torch's compiler, whose import takes a rank five seconds: see sparkml_ops/training/optimizer.py."""
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    unwrapped = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {**unwrapped, "step": torch.no_grad()(inspect.unwrap(kind.step))})


OPTIMIZERS: dict[str, tuple[Any, dict[str, float]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


def global_batch(step: int) -> tuple[torch.Tensor, ...]:
    """Numbers, categories, labels and weights of 11 rows."""
    generator = torch.Generator().manual_seed(100 + step)
    rows = 11
    return (
        torch.randn(rows, 4, generator=generator, dtype=torch.float64),
        torch.randint(0, 5, (rows,), generator=generator),
        torch.randint(0, 2, (rows,), generator=generator).double(),
        torch.rand(rows, generator=generator, dtype=torch.float64) + 0.5,
    )


def own_rows(step: int, rank: int, size: int) -> slice:
    """An uneven cut that leaves a different rank empty at each step."""
    if size == 1:
        return slice(0, 11)
    empty = step % size
    ends = {0: [0, 7, 11], 1: [8, 8, 11], 2: [2, 11, 11]}[empty]
    return slice(0 if rank == 0 else ends[rank - 1], ends[rank])


def backward(model: Network, step: int, rows: slice, *, loss_of_nothing: bool = False) -> None:
    """Sum of the rows' losses over the weight of the global batch; a rank without rows leaves it out, or runs it on a zero loss."""
    if rows.stop > rows.start or loss_of_nothing:
        loss_of(model, step, rows).backward()


def loss_of(model: Network, step: int, rows: slice) -> torch.Tensor:
    numbers, categories, labels, weights = (column[rows] for column in global_batch(step))
    losses = nn.functional.binary_cross_entropy_with_logits(model(numbers, categories), labels, reduction="none")
    return (losses * weights).sum() / global_batch(step)[3].sum()


def weights_of(model: nn.Module) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).tolist()


def train(name: str, one: Communicator | None) -> list[float]:
    """Weights after some steps; without a communicator, those of one plain process with torch's own optimiser."""
    model, (kind, options) = Network(), OPTIMIZERS[name]
    optimizer = (kind if one is None else bare(kind))(model.parameters(), **options)
    if one is not None:
        optimizer = one.wrap(model, optimizer)
        assert type(optimizer).__name__ == kind.__name__
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    for step in range(STEPS if name == "sgd" else STEPS // 4):
        optimizer.zero_grad(set_to_none=step % 3 != 1)
        rows = slice(0, 11) if one is None else own_rows(step, one.rank, one.size)
        backward(model, step, rows, loss_of_nothing=step % 2 == 0)
        if one is not None and step % 2:
            # A collective between backward and step: one rank has sent its gradients by now, an empty one has not.
            one.all_reduce(torch.tensor(1.0))
            one.synchronize(optimizer)
        optimizer.step()
        schedule.step()
    return weights_of(model)


def synchronized_gradients(one: Communicator | None) -> list[float]:
    model = Network()
    optimizer = bare(torch.optim.SGD)(model.parameters(), lr=0.05)
    if one is not None:
        optimizer = one.wrap(model, optimizer)
    backward(model, 0, slice(0, 11) if one is None else own_rows(0, one.rank, one.size))
    if one is not None:
        one.synchronize(optimizer)
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]).tolist()


def skipped_step(one: Communicator | None) -> list[float]:
    """A step is left out after `synchronize`, as for gradients that are not finite, and the next one counts."""
    model = Network()
    optimizer = bare(torch.optim.AdamW)(model.parameters(), lr=0.01, weight_decay=0.1)
    if one is not None:
        optimizer = one.wrap(model, optimizer)
    for step in range(3):
        optimizer.zero_grad()
        backward(model, step, slice(0, 11) if one is None else own_rows(step, one.rank, one.size))
        if one is not None:
            one.synchronize(optimizer)
        if step != 1:
            optimizer.step()
    return weights_of(model)


def assert_equal_to_one_process(answers: list[dict[str, Any]], part: str, expected: list[float]) -> None:
    found = torch.tensor([answer[part] for answer in answers], dtype=torch.float64)
    assert found.shape == (len(answers), len(expected))
    assert (found - torch.tensor(expected, dtype=torch.float64)).abs().max() <= 1e-12


def test_ranks_are_numbered_and_the_size_is_theirs(answers: list[dict[str, Any]]) -> None:
    """Answers come by rank, and each implementation has all of the contract."""
    assert [answer["rank"] for answer in answers] == list(range(len(answers)))
    assert {answer["size"] for answer in answers} == {len(answers)}
    assert all(answer["is communicator"] for answer in answers)


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_reduce_is_the_sum_as_a_new_tensor_of_the_same_type(answers: list[dict[str, Any]], dtype: str) -> None:
    """Every rank gets the same sum, and keeps its own tensor."""
    size = len(answers)
    expected = [[size * value + 10 * sum(range(size)) for value in row] for row in ([0, 1, 2], [3, 4, 5])]

    assert all(answer["sums"][dtype] == [expected, f"torch.{dtype}", True, True] for answer in answers)


def test_all_reduce_takes_scalars_and_transposed_tensors(answers: list[dict[str, Any]]) -> None:
    """Shape and order of the elements are the caller's."""
    size = len(answers)
    total = sum(range(size))

    assert {answer["sums"]["scalar"] for answer in answers} == {1.5 * size + total}
    assert all(answer["sums"]["transposed"] == [[size * a + total, size * (a + 3) + total] for a in range(3)] for answer in answers)


def test_broadcast_gives_the_roots_tensor_to_all(answers: list[dict[str, Any]]) -> None:
    """Any rank can be the root, and the others' tensors stay what they were."""
    size = len(answers)

    assert all(answer["broadcasts"] == [*([root, 7] for root in range(size)), [rank, 7]] for rank, answer in enumerate(answers))


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_gather_takes_a_different_number_of_rows_from_each_rank(answers: list[dict[str, Any]], dtype: str) -> None:
    """Every rank gets the rows of all, one rank after the other; a rank may have none."""
    for more in (0, 1):
        expected = [[rank + 1] * 2 for rank in range(len(answers)) for _ in range(rank + more)]

        assert all(answer["gathers"][f"{dtype} {more}"] == [expected, f"torch.{dtype}"] for answer in answers)
    assert all(answer["gathers"]["nothing"] == [0, 3] for answer in answers)


def test_sparse_gradients_train_as_dense_ones_in_one_process(answers: list[dict[str, Any]]) -> None:
    """Of an embedding; the rest of the model stays dense, and uneven and empty ranks change nothing."""
    assert_equal_to_one_process(answers, "sparse", sparse(None))


def test_a_compressed_sum_is_near_the_exact_one_and_the_same_on_every_rank(answers: list[dict[str, Any]]) -> None:
    """Beyond what half precision holds; the rank's flag at the end is counted exactly."""
    size = len(answers)
    exact = torch.stack([part_of(rank) for rank in range(size)]).sum(0).tolist()
    found = answers[0]["compressed"]

    assert all(answer["compressed"] == found for answer in answers)
    assert found[-1] == size
    assert found[:-1] == pytest.approx(exact, rel=2**-10, abs=2.0**-36 * max(exact))


def test_ranks_are_told_how_gradients_travel(answers: list[dict[str, Any]]) -> None:
    """By the launch."""
    assert all(answer["collectives"] == asdict(COLLECTIVES) for answer in answers)


def test_no_rank_leaves_a_barrier_before_the_last_has_come(answers: list[dict[str, Any]]) -> None:
    """What any rank did before the barrier is there for all after it."""
    size = len(answers)

    assert all(answer["seen after barrier"] == [f"before-{size}-{rank}" for rank in range(size)] for answer in answers)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_uneven_and_empty_ranks_train_as_one_process_does(answers: list[dict[str, Any]], name: str) -> None:
    """Gradients are summed, never averaged by the number of ranks; the reference is plain torch on the whole batch."""
    assert_equal_to_one_process(answers, f"weights {name}", train(name, None))


def test_batches_in_parts_train_as_whole_ones_in_one_process(answers: list[dict[str, Any]]) -> None:
    """The sum over ranks begins with the last part; a rank may have nothing to split."""
    assert_equal_to_one_process(answers, "in parts", in_parts(None))


def test_after_synchronize_each_gradient_is_the_sum(answers: list[dict[str, Any]]) -> None:
    """The finite check and clipping see on every rank what one process would see."""
    assert_equal_to_one_process(answers, "gradients", synchronized_gradients(None))


def test_a_step_left_out_after_synchronize_leaves_no_trace(answers: list[dict[str, Any]]) -> None:
    """The next backward pass starts afresh."""
    assert_equal_to_one_process(answers, "skipped", skipped_step(None))


def test_synchronize_refuses_an_optimizer_that_was_not_wrapped(answers: list[dict[str, Any]]) -> None:
    """It would train each rank on its own rows; alone there is nothing to wrap."""
    said = {answer["unwrapped"] for answer in answers}

    assert said == {"accepted"} if len(answers) == 1 else all("call wrap(model, optimizer) first" in text for text in said)
