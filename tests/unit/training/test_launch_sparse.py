"""Sparse gradients of embeddings, among ranks that are threads, against dense ones in one process."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from thread_exchange import ThreadExchange
from torch import nn
from training_rows import ThreadGroup

from sparkml_ops.errors import ContractError
from sparkml_ops.training.launch import Collectives, RankContext
from sparkml_ops.training.launch.gradients import GradientSum

STEPS, ROWS = 50, 11


class Table(nn.Module):
    """Two embeddings through a layer; only the first is sparse, and its row 0 is for padding."""

    def __init__(self, *, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Embedding(40, 3, sparse=sparse, padding_idx=0)
        self.second = nn.EmbeddingBag(6, 2, mode="sum")
        self.output = nn.Linear(5, 1)
        self.double()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.first(rows), self.second((rows % 6)[:, None])], dim=1)
        return torch.as_tensor(self.output(torch.tanh(joined)).squeeze(1))


def batches() -> list[torch.Tensor]:
    """Numbers of rows, many of them doubled; at some steps there are none at all."""
    generator = torch.Generator().manual_seed(9)
    return [torch.randint(0, 40, (0 if step % 17 == 16 else ROWS,), generator=generator) for step in range(STEPS)]


def step_on(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, rows: torch.Tensor) -> None:
    optimizer.zero_grad(set_to_none=step % 3 != 1)
    if len(rows):
        (model(rows) - torch.cos(rows.double())).square().sum().div(ROWS).backward()
    optimizer.step()


def weights_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def on_ranks(size: int, optimizer_of: Callable[..., torch.optim.Optimizer]) -> list[torch.Tensor]:
    """Weights of each rank after fifty steps; the cut is uneven, and leaves a different rank empty at each step."""
    group, first = ThreadGroup(size), Table(sparse=True)

    def work(context: RankContext) -> torch.Tensor:
        model = deepcopy(first)
        optimizer = optimizer_of(model.parameters())
        GradientSum(model, optimizer, ThreadExchange(group, context.rank), Collectives(fusion_mib=1e-5))
        for step, batch in enumerate(batches()):
            ends = [0, ROWS * (step % 2), ROWS] if size == 2 else [[0, 0, 4, ROWS], [0, 7, 7, ROWS], [0, 3, ROWS, ROWS]][step % 3]
            step_on(model, optimizer, step, batch[ends[context.rank] : ends[context.rank + 1]])
        return weights_of(model)

    return group.run(work)


def alone(optimizer_of: Callable[..., torch.optim.Optimizer]) -> torch.Tensor:
    model = Table(sparse=False)
    optimizer = optimizer_of(model.parameters())
    for step, batch in enumerate(batches()):
        step_on(model, optimizer, step, batch)
    return weights_of(model)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "optimizer_of",
    [
        pytest.param(lambda weights: torch.optim.SGD(weights, lr=0.1), id="sgd"),
        pytest.param(lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True), id="momentum"),
    ],
)
def test_fifty_steps_equal_those_of_dense_gradients_in_one_process(size: int, optimizer_of: Callable[..., torch.optim.Optimizer]) -> None:
    """For which a row without gradient and one with a gradient of 0 are the same."""
    expected = alone(optimizer_of)

    for found in on_ranks(size, optimizer_of):
        assert float((found - expected).abs().max()) <= 1e-12


def gradient_of(context: RankContext, group: ThreadGroup, lookups: list[list[int] | None], dtype: torch.dtype = torch.float64) -> nn.Parameter:
    """An embedding's weight after the sum; None is a rank without a backward pass."""
    embedding = nn.Embedding(6, 2, sparse=True, dtype=dtype)
    optimizer = torch.optim.SGD(embedding.parameters(), lr=0.1)
    sums = GradientSum(embedding, optimizer, ThreadExchange(group, context.rank), Collectives())
    mine = lookups[context.rank]
    if mine is not None:
        embedding(torch.tensor(mine, dtype=torch.int64)).sum().backward()
    sums.synchronize()
    return embedding.weight


def test_the_sum_is_coalesced_and_sparse_on_every_rank() -> None:
    """Rows that no rank looked up are not in it, those of several ranks once; the type is the weight's."""
    group = ThreadGroup(3)
    for dtype in (torch.float64, torch.bfloat16):
        for weight in group.run(lambda context, dtype=dtype: gradient_of(context, group, [[1, 1, 4], None, [4, 5]], dtype)):
            assert weight.grad.is_coalesced()
            assert weight.grad.dtype == dtype
            assert weight.grad.indices().tolist() == [[1, 4, 5]]
            assert weight.grad.values().tolist() == [[2.0, 2.0], [2.0, 2.0], [1.0, 1.0]]


def test_no_rows_differ_from_no_gradient() -> None:
    """A weight that no rank used keeps what it had; one of a lookup of nothing has a gradient of no rows, as in one process."""
    group = ThreadGroup(2)

    assert [weight.grad for weight in group.run(lambda context: gradient_of(context, group, [None, None]))] == [None, None]
    assert [weight.grad._nnz() for weight in group.run(lambda context: gradient_of(context, group, [None, []]))] == [0, 0]


def test_a_weight_that_is_used_densely_too_has_both_summed() -> None:
    """torch adds the two gradients to a dense one."""
    group, first = ThreadGroup(2), nn.Embedding(4, 2, sparse=True, dtype=torch.float64)

    def work(context: RankContext) -> torch.Tensor:
        embedding = deepcopy(first)
        sums = GradientSum(embedding, torch.optim.SGD(embedding.parameters(), lr=0.1), ThreadExchange(group, context.rank), Collectives())
        if context.rank == 0:
            (embedding(torch.tensor([3])).sum() + 2 * embedding.weight.sum()).backward()
        else:
            embedding(torch.tensor([3, 1])).sum().backward()
        sums.synchronize()
        return embedding.weight.grad.to_dense()

    for found in group.run(work):
        assert found.tolist() == [[2.0, 2.0], [3.0, 3.0], [2.0, 2.0], [4.0, 4.0]]


def test_two_backward_passes_before_a_step_are_refused() -> None:
    """As for dense gradients."""
    group = ThreadGroup(1)

    def work(context: RankContext) -> None:
        embedding = nn.Embedding(4, 2, sparse=True)
        GradientSum(embedding, torch.optim.SGD(embedding.parameters(), lr=0.1), ThreadExchange(group, context.rank), Collectives())
        for _ in range(2):
            embedding(torch.tensor([1])).sum().backward()

    with pytest.raises(ContractError, match="a second backward pass before step"):
        group.run(work)
