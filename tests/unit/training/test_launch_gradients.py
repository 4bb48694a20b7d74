"""Gradients gathered into buckets, in a group of one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sparkml_ops.errors import ContractError
from sparkml_ops.training.launch import Collectives
from sparkml_ops.training.launch.gradients import GradientSum

USUAL = Collectives()


class Alone:
    """The only rank."""

    size = 1

    def sum(self, _name: str, _buffer: torch.Tensor) -> Callable[[], None]:
        return lambda: None

    def swap(self, _name: str, shares: torch.Tensor) -> Callable[[], torch.Tensor]:
        return lambda: shares

    def gather(self, _name: str, share: torch.Tensor) -> Callable[[], torch.Tensor]:
        return lambda: share[None]

    def gather_rows(self, _name: str, rows: torch.Tensor) -> torch.Tensor:
        return rows


class Twin(Alone):
    """A second rank that has the same gradients, so that each sum is the double."""

    size = 2

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.kinds: list[torch.dtype] = []

    def sum(self, name: str, buffer: torch.Tensor) -> Callable[[], None]:
        self.sent.append(name)
        self.kinds.append(buffer.dtype)

        def wait() -> None:
            buffer.mul_(2)

        return wait


def model_of(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)


def loss_of(model: nn.Module, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rows = torch.linspace(-1, 1, 12, dtype=dtype).view(3, 4)
    return torch.as_tensor(model(rows).square().sum())


def test_a_step_uses_the_sums() -> None:
    """With two equal ranks a step goes twice as far as with one."""
    model, plain = model_of(), model_of()
    optimizer, other = torch.optim.SGD(model.parameters(), lr=0.1), torch.optim.SGD(plain.parameters(), lr=0.2)
    GradientSum(model, optimizer, Twin(), USUAL)

    for each, chosen in ((model, optimizer), (plain, other)):
        loss_of(each).backward()
        chosen.step()

    assert all(torch.allclose(a, b, rtol=0, atol=1e-15) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_synchronize_shows_the_sums_and_step_does_not_sum_again() -> None:
    """Clipping and the finite check look at the reduced gradients before the step uses them."""
    model, plain = model_of(), model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    twin = Twin()
    sums = GradientSum(model, optimizer, twin, USUAL)
    loss_of(plain).backward()

    loss_of(model).backward()
    sums.synchronize()
    optimizer.step()

    assert all(
        torch.equal(a.grad, 2 * b.grad)
        for a, b in zip(model.parameters(), plain.parameters(), strict=True)
        if a.grad is not None and b.grad is not None
    )
    assert twin.sent == ["gradients.0"]


def test_buckets_go_out_in_one_order_while_backward_runs() -> None:
    """The last layer's bucket goes first, and a rank without backward sends the same ones."""
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    twin = Twin()
    sums = GradientSum(model, optimizer, twin, Collectives(fusion_mib=1e-6))

    loss_of(model).backward()
    during = list(twin.sent)
    sums.synchronize()
    twin.sent.clear()
    sums.synchronize()

    assert during == twin.sent == [f"gradients.{number}" for number in range(4)]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_parameter_that_no_rank_used_is_left_alone(set_to_none: bool) -> None:
    """Weight decay must not move what one process would not move."""
    model, plain = model_of(), model_of()
    results = []
    for each, wrapped in ((model, True), (plain, False)):
        frozen = nn.Parameter(torch.ones(3, dtype=torch.float64))
        optimizer = torch.optim.AdamW([*each.parameters(), frozen], lr=0.1, weight_decay=0.5)
        if wrapped:
            GradientSum(each, optimizer, Alone(), USUAL)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=set_to_none)
            loss_of(each).backward()
            optimizer.step()
        results.append([frozen.detach(), *(parameter.detach() for parameter in each.parameters())])

    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_half_precision_travels_as_float32() -> None:
    """Horovod refuses bfloat16; the gradient comes back in the parameter's own type."""
    model = model_of(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    twin = Twin()

    GradientSum(model, optimizer, twin, USUAL)
    loss_of(model, torch.bfloat16).backward()
    optimizer.step()

    assert twin.kinds == [torch.float32]
    assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {torch.bfloat16}


def test_two_backward_passes_before_a_step_are_refused() -> None:
    """The first sum is already on its way, so the second pass would be lost."""
    model = model_of()
    GradientSum(model, torch.optim.SGD(model.parameters(), lr=0.1), Alone(), USUAL)
    loss_of(model).backward()

    with pytest.raises(ContractError, match="a second backward pass before step"):
        loss_of(model).backward()


def test_a_closure_is_refused() -> None:
    """Its gradients would be made after the sums."""
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    GradientSum(model, optimizer, Alone(), USUAL)

    with pytest.raises(ContractError, match=r"step\(closure\)"):
        optimizer.step(lambda: 0.0)


def test_a_sparse_gradient_of_no_embedding_is_refused() -> None:
    """A rank without rows could not know that the others gather it."""
    weight = nn.Parameter(torch.ones(5, 2))
    model = nn.Module()
    model.register_parameter("weight", weight)
    GradientSum(model, torch.optim.SGD([weight], lr=0.1), Alone(), USUAL)

    with pytest.raises(ContractError, match="a sparse gradient of no embedding"):
        nn.functional.embedding(torch.tensor([1]), weight, sparse=True).sum().backward()


def test_parameters_added_after_wrap_are_refused() -> None:
    """They would silently train on this rank's rows only."""
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    GradientSum(model, optimizer, Alone(), USUAL)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    loss_of(model).backward()

    with pytest.raises(ContractError, match="add all parameters before wrap"):
        optimizer.step()
