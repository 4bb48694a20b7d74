"""When the ranks of a training speak of their weights: about the gradients of each step, or about whole models now and then.

`EachStep` is synchronous descent: gradients are summed over ranks before each step, and the number of ranks changes nothing. `LocalSteps` is
local SGD (Stich 2019; Lin et al. 2020): each rank steps on its own rows, and every few steps the models are averaged, weighted by the rows that
each has seen since; where a rank's rows are those of its sites (`sites.py`), that is federated averaging (McMahan et al. 2017). Less is said, the more the ranks' rows differ the more is lost, and the result
does depend on the number of ranks. The optimiser's moments are averaged like the weights (Yu, Jin and Yang 2019, who show that momentum then
keeps the linear speed-up), so that all ranks are equal after an averaging and a checkpoint of one of them is the state of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from sparkml_ops.training.launch import Communicator
from sparkml_ops.training.loader import Batch

__all__ = ["EachStep", "LocalSteps", "Rhythm", "choose_rhythm"]


class Rhythm(Protocol):
    """What a step does beside computing."""

    def share(self, batch: Batch) -> Batch:
        """This rank's rows, and what their losses are divided by."""

    def synchronize(self) -> None:
        """After backward: have the gradients that a step uses."""

    def step(self, batch: Batch) -> None:
        """Change the weights."""

    def end(self, batch: Batch) -> None:
        """After the step."""


class EachStep:
    """Gradients are summed over ranks at each step."""

    def __init__(self, communicator: Communicator, model: nn.Module, optimizer: Optimizer) -> None:
        self._communicator, self._optimizer = communicator, communicator.wrap(model, optimizer)

    def share(self, batch: Batch) -> Batch:
        """The batch as it is: divided by the rows of all ranks, losses add up to the mean over the global batch."""
        return batch

    def synchronize(self) -> None:
        """Sum the gradients."""
        self._communicator.synchronize(self._optimizer)

    def step(self, batch: Batch) -> None:  # noqa: ARG002 - the protocol's
        """Step, with rows on this rank or without."""
        self._optimizer.step()

    def end(self, batch: Batch) -> None:
        """Nothing: all ranks are equal."""


class LocalSteps:
    """Each rank steps alone; models are averaged after every so many global batches, and after the last of an epoch.

    Args:
        communicator: The ranks.
        model: Its weights and other floating-point state are averaged.
        optimizer: Likewise; it is not wrapped.
        every: Steps between two averagings.
        steps: Steps of an epoch.
    """

    def __init__(self, communicator: Communicator, model: nn.Module, optimizer: Optimizer, *, every: int, steps: int) -> None:
        self._communicator, self._model, self._optimizer = communicator, model, optimizer
        self._every, self._steps = every, steps
        self._rows = 0
        _prime(optimizer)

    def share(self, batch: Batch) -> Batch:
        """The batch as one of this rank alone: losses are divided by its own rows."""
        return replace(batch, rows=max(1, len(batch.label)))

    def synchronize(self) -> None:
        """Nothing: the gradients are this rank's own."""

    def step(self, batch: Batch) -> None:
        """Step, where there are rows: momentum alone would move a model that saw nothing."""
        if len(batch.label):
            self._optimizer.step()
            self._rows += len(batch.label)

    def end(self, batch: Batch) -> None:
        """Average, where it is time."""
        if (batch.step + 1) % self._every == 0 or batch.step + 1 == self._steps:
            self._average()

    @torch.no_grad()
    def _average(self) -> None:
        tensors = list(self._averaged())
        # In float64, whole rows times value: what is equal on all ranks stays so to the last bit.
        mine = torch.cat([*(tensor.flatten().double().cpu() for tensor in tensors), torch.ones(1, dtype=torch.float64)]) * self._rows
        *total, rows = torch.split(self._communicator.all_reduce(mine), [*(tensor.numel() for tensor in tensors), 1])
        if float(rows):
            for tensor, value in zip(tensors, total, strict=True):
                tensor.copy_((value / rows).view_as(tensor))
        self._rows = 0

    def _averaged(self) -> Iterator[torch.Tensor]:
        """What is averaged, in the same order on all ranks."""
        yield from (value for value in self._model.state_dict().values() if value.is_floating_point())
        for group in self._optimizer.param_groups:
            for weight in group["params"]:
                state = self._optimizer.state[weight]
                yield from (state[name] for name in sorted(state) if torch.is_tensor(state[name]) and state[name].is_floating_point())


def choose_rhythm(communicator: Communicator, model: nn.Module, optimizer: Optimizer, *, every: int, steps: int) -> Rhythm:
    """The rhythm of `training.collectives.local_steps`.

    Args:
        every: Steps between two times that ranks speak of their weights; 1 sums gradients.
        steps: Steps of an epoch.
    """
    if every == 1:
        return EachStep(communicator, model, optimizer)
    return LocalSteps(communicator, model, optimizer, every=every, steps=steps)


def _prime(optimizer: Optimizer) -> None:
    """Make the optimiser's state as it is before the first step: a rank whose first rows come late must know what the others average."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
        for weight in group["params"]:
            weight.grad = None
            for value in optimizer.state[weight].values():
                if torch.is_tensor(value):
                    value.zero_()
