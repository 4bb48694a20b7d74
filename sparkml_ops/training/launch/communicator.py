"""What the ranks of one training say to each other: the contract of all backends.

Reductions are sums. A mean over ranks would be wrong where a rank holds fewer rows, or none;
the caller divides by the global weight before it reduces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # a Spark task imports this module, and torch costs it three seconds and 200 MB
    import torch
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["Communicator"]


@runtime_checkable
class Communicator(Protocol):
    """One rank's view of its group.

    Every rank calls the same methods in the same order with tensors of equal shape and dtype
    (float32, float64, int64).
    """

    @property
    def rank(self) -> int:
        """This rank, 0 to size - 1."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, as a new tensor of the same dtype and shape."""

    def broadcast(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:
        """The root's tensor, as a new tensor on every rank."""

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks, one rank after the other, as a new tensor.

        Args:
            tensor: [rows, as many more dimensions as wanted]; ranks may bring different numbers of rows, or none.
        """

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> Optimizer:
        """An optimiser whose `step()` uses the gradients summed over ranks, reduced while backward still runs.

        One backward pass a step. A rank without rows skips backward, or runs it on a zero loss: its gradients count as zero.
        Initial weights are not sent: every rank makes the same ones from the seed, or broadcasts them.
        The gradient of a sparse embedding stays sparse, coalesced: for optimisers that take one (SGD, SparseAdam, Adagrad; AdamW does not).
        """

    def synchronize(self, optimizer: Optimizer) -> None:
        """Finish the reductions, so that each `p.grad` is the sum over ranks; the next `step()` of a wrapped optimiser does not reduce again."""

    def close(self) -> None:
        """Leave the group; no call follows."""
