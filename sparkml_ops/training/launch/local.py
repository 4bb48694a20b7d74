"""The communicator of a training on one rank: nothing to say, nobody to wait for."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

__all__ = ["LocalCommunicator"]


class LocalCommunicator:
    """A group of one, in this process.

    >>> LocalCommunicator().all_reduce(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """

    rank = 0
    size = 1

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy: the sum of one."""
        return tensor.detach().clone()

    def broadcast(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:  # noqa: ARG002 - the contract's
        """A copy: the root is here."""
        return tensor.detach().clone()

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy: all rows are here."""
        return tensor.detach().clone()

    def barrier(self) -> None:
        """Return: everyone is here."""

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> Optimizer:  # noqa: ARG002 - the contract's
        """The optimiser itself."""
        return optimizer

    def synchronize(self, optimizer: Optimizer) -> None:
        """Return: the gradients are whole already."""

    def close(self) -> None:
        """Return: there is no group to leave."""
