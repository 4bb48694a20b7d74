"""Sparse gradients of embeddings, summed over ranks as rows and their numbers.

An embedding of a million rows of which a batch touches a thousand makes a gradient of a thousand rows. Ranks send each other those, however
many each one has; the sum is the dense one's, as a coalesced sparse tensor, the same on every rank.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sparkml_ops.errors import ContractError

__all__ = ["GatherRows", "SparseSum", "sparse_weights"]

GatherRows = Callable[[str, torch.Tensor], torch.Tensor]
"""Under a name, the rows of all ranks, one rank after the other."""

_MARK = -1  # a row number that says: this rank has a gradient, if of no rows


def sparse_weights(model: nn.Module) -> set[torch.Tensor]:
    """Weights whose gradients are sparse: those of embeddings built so.

    >>> model = nn.ModuleList([nn.Embedding(5, 2, sparse=True), nn.Embedding(5, 2)])
    >>> [weight in sparse_weights(model) for weight in model.parameters()]
    [True, False]
    """
    return {module.weight for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse}


class SparseSum:
    """One embedding's gradient on its way.

    Args:
        weight: [rows, width] of the embedding.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self._mine: torch.Tensor | None = None

    def put(self, weight: torch.Tensor) -> None:
        """Take this rank's gradient."""
        if self._mine is not None:
            raise ContractError(
                "a second backward pass before step()",
                expected="one backward pass a step",
                mend="add the losses of the parts of a batch and call backward() once",
            )
        assert weight.grad is not None
        # Where the weight is used outside the embedding too, torch has added both to a dense gradient.
        self._mine = (weight.grad if weight.grad.is_sparse else weight.grad.to_sparse(1)).coalesce()

    def receive(self, name: str, gather: GatherRows) -> None:
        """Put the sum into the gradient; a weight that no rank used keeps what it had."""
        weight, kind = self.weight, torch.float64 if self.weight.dtype == torch.float64 else torch.float32
        if self._mine is None:
            numbers, values = torch.empty(0, dtype=torch.int64, device=weight.device), torch.empty(0, *weight.shape[1:], device=weight.device)
        else:
            mark = torch.tensor([_MARK], device=weight.device)
            numbers, values = torch.cat([mark, self._mine.indices()[0]]), self._mine.values()
        self._mine = None
        numbers, values = gather(f"{name}.numbers", numbers), gather(f"{name}.values", values.to(kind))
        if len(numbers):
            there = numbers[numbers != _MARK]
            weight.grad = torch.sparse_coo_tensor(there[None], values, weight.shape, check_invariants=False).coalesce().to(weight.dtype)
