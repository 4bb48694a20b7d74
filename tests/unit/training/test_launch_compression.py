"""Sums at 16 bits a value, among ranks that are threads, against exact sums."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from thread_exchange import ThreadExchange
from torch import nn
from training_rows import ThreadGroup

from sparkml_ops.training.launch import Collectives, RankContext
from sparkml_ops.training.launch.compression import HALVES, CompressedSum, grow, shrink
from sparkml_ops.training.launch.gradients import GradientSum

# Largest relative error of one rounding, and the part of the largest value that is the smallest step beside it.
ROUNDING = {"fp16": (2.0**-11, 2.0**-39), "bf16": (2.0**-8, 2.0**-147)}


def summed(kind: Any, parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """What each rank ends with; the count at the end is 1 on each."""
    group = ThreadGroup(len(parts))

    def work(context: RankContext) -> torch.Tensor:
        buffer = torch.cat([parts[context.rank], parts[context.rank].new_ones(1)])
        CompressedSum(ThreadExchange(group, context.rank), kind).start("b", buffer, 1)()()
        assert buffer[-1] == len(parts)
        return buffer[:-1]

    return group.run(work)


@pytest.mark.parametrize("kind", ROUNDING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 3])
def test_a_sum_is_rounded_twice_and_the_same_on_every_rank(kind: Any, dtype: torch.dtype, size: int) -> None:
    """Whatever the scale of the gradients, and where that of the ranks differs; a rank without rows brings zeros."""
    generator = torch.Generator().manual_seed(size)
    rounding, floor = ROUNDING[kind]
    for scales in ([1e30, 1e30, 1e30], [1e-30, 1e-30, 1e-30], [1e30, 1e-3, 1.0], [70_000.0, 60_000.0, 60_000.0], [1.0, 0.0, 0.0]):
        parts = [
            (torch.randn(101, generator=generator, dtype=torch.float64) * torch.logspace(-6, 0, 101, dtype=torch.float64) * scale).to(dtype)
            for scale in scales[:size]
        ]
        exact = torch.stack(parts).double().sum(0)
        magnitude = torch.stack(parts).double().abs().sum(0)
        bound = 1.001 * (rounding * (magnitude + (1 + rounding) * magnitude) + floor * (2 + size) * float(magnitude.max()))

        found = summed(kind, parts)

        assert all(torch.equal(other, found[0]) for other in found)
        assert bool(((found[0].double() - exact).abs() <= bound).all())
        assert found[0].dtype == dtype


@pytest.mark.parametrize("kind", ROUNDING)
def test_what_is_not_finite_stays_so_and_spoils_nothing_else(kind: Any) -> None:
    """The finite check sees it in the sum, on every rank; an overflow of the sum itself is one in full precision too."""
    first, second = torch.tensor([torch.inf, torch.nan, 1.0, torch.inf, -2.0]), torch.tensor([1.0, 1.0, 1.0, -torch.inf, 2.0])

    for found in summed(kind, [first, second]):
        assert [str(value) for value in found.tolist()] == ["inf", "nan", "2.0", "nan", "0.0"]
    assert [found.tolist() for found in summed(kind, [torch.tensor([3e38])] * 2)] == [[torch.inf]] * 2


@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_fewer_values_than_ranks_are_summed_too(length: int) -> None:
    """Shares are filled up, and cut again."""
    assert [found.tolist() for found in summed("fp16", [torch.ones(length)] * 3)] == [[3.0] * length] * 3


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=30), st.sampled_from(list(ROUNDING)))
def test_any_value_comes_back_within_one_rounding(values: list[float], kind: Any) -> None:
    """From the smallest number of float32 to the largest, beside each other."""
    numbers = torch.tensor(values, dtype=torch.float32)
    rounding, floor = ROUNDING[kind]
    found = grow(*shrink(numbers, HALVES[kind]), HALVES[kind], torch.float32).double().numpy()
    expected = numbers.double().numpy()
    finite = np.isfinite(expected)

    np.testing.assert_array_equal(found[~finite], expected[~finite])
    largest = np.abs(expected[finite]).max(initial=0.0)
    # The last number of float32 rounds up past its end; below the smallest normal one, digits end for everybody.
    error = np.where(np.isinf(found[finite]), np.where(np.abs(expected[finite]) * (1 + rounding) >= 2.0**128, 0, np.inf), 0.0)
    error = error + np.abs(np.where(np.isinf(found[finite]), expected[finite], found[finite]) - expected[finite])
    assert (error <= rounding * np.abs(expected[finite]) + floor * largest + 2.0**-149).all()


def trained(size: int, compression: Any) -> list[torch.Tensor]:
    """Weights of each rank after some steps of a small network on one global batch a step, on three ranks cut unevenly, one of them empty at times."""
    group = ThreadGroup(size)
    batches = torch.randn(20, 12, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(4)
    first = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))

    def work(context: RankContext) -> torch.Tensor:
        model = deepcopy(first)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
        collectives = Collectives(fusion_mib=1e-4, compression=compression)
        GradientSum(model, optimizer, ThreadExchange(group, context.rank), collectives)
        for step, batch in enumerate(batches):
            optimizer.zero_grad()
            cuts = [0, 4, 4 if step % 2 else 9, 12] if size == 3 else [0, 12]
            rows = batch[cuts[context.rank] : cuts[context.rank + 1]]
            if len(rows):
                (model(rows).squeeze(1) - torch.sin(rows.sum(1))).square().sum().div(12).backward()
            optimizer.step()
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    return group.run(work)


@pytest.mark.parametrize("compression", ["fp16", "bf16"])
def test_a_training_with_rounded_gradients_stays_near_the_exact_one(compression: Any) -> None:
    """Ranks stay equal to each other to the last bit, and one rank alone rounds nothing."""
    (exact,) = trained(1, "none")
    found = trained(3, compression)

    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert 0 < float((found[0] - exact).abs().max()) < 20 * ROUNDING[compression][0]
    assert torch.equal(trained(1, compression)[0], exact)
