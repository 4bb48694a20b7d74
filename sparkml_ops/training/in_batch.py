"""What a two-tower model makes small: in-batch softmax with popularity correction, over the whole global batch.

For rows i of a batch with queries u_i, items v_i and weights w_i the loss is (Yi et al. 2019, "Sampling-bias-corrected neural modeling for
large corpus item recommendations", equations 3 to 5)

    sum over i of w_i (logsumexp over all j of c_ij - logsumexp over j of i's item of c_ij),    c_ij = <u_i, v_j> / temperature - log q_j,

where q_j is the share of item j in the rows of the train split, counted exactly: without it an item would be pushed away as often as it is
seen. The same item elsewhere in the batch (an accidental hit) is thus no wrong answer but the right one again; in a batch without one the loss
is Yi's. To leave such rows out altogether would take all but one of an item's rows from its side of the softmax and none from the others', which
in a small catalogue drives frequent items up without end; so, softmax of <u, v> / temperature over the catalogue is what the loss estimates. A
batch of one row has loss 0.

The j run over the batch of all ranks, so the result does not depend on their number. Vectors travel once, forward; then each rank computes the
whole loss, of which its own part of the gradient follows without another word (ADR 26).
"""

from __future__ import annotations

import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.training.launch import Communicator

__all__ = ["InBatchSoftmax", "in_batch"]


class InBatchSoftmax:
    """The loss of a global batch, of which each rank has some rows.

    Args:
        spec: Of kind `two_tower`.
        communicator: The ranks.
    """

    def __init__(self, spec: ModelSpec, communicator: Communicator) -> None:
        if spec.towers is None:
            raise ContractError(f"in-batch softmax of a model of kind {spec.kind}", expected="two_tower", mend="take another objective")
        self._communicator, self._temperature = communicator, spec.towers.temperature
        counts = torch.tensor(spec.target.counts, dtype=torch.float64)
        # An item without rows of the train split is in no batch of it.
        self._log_shares = torch.log(counts.clamp(min=1) / counts.sum())

    def __call__(self, outputs: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of the whole batch, and what of it is this rank's rows'.

        Args:
            outputs: [rows, 2 dimensions] of this rank's rows.
            label: [rows] positions of their items in the catalogue.
            weight: [rows] how much each counts; None: all the same.

        Returns:
            A sum to differentiate: with respect to this rank's vectors, and through them to all weights, its gradients over ranks add up to
            those of one process. Then the detached sum over this rank's rows.
        """
        width, rows = outputs.shape[1], len(outputs)
        rank = torch.full_like(label, self._communicator.rank)
        counts = torch.ones_like(label) if weight is None else weight
        mine = torch.cat([outputs.detach(), torch.stack([label, counts, rank], 1).to(outputs.dtype)], dim=1)
        every = self._communicator.all_gather(mine)
        first = int((every[:, -1] < self._communicator.rank).sum())
        vectors = torch.cat([every[:first, :width], outputs, every[first + rows :, :width]])
        items = every[:, width].long()
        log_shares = self._log_shares[items.cpu()].to(outputs)
        losses = every[:, width + 1] * in_batch(vectors, items, log_shares, self._temperature)
        return losses.sum(), losses[first : first + rows].sum().detach()


def in_batch(vectors: torch.Tensor, items: torch.Tensor, log_shares: torch.Tensor, temperature: float) -> torch.Tensor:
    """[rows] losses of the softmax of each row's item among the items of the batch.

    Args:
        vectors: [rows, 2 dimensions]: the query's, then the item's.
        items: [rows] which item it is: the same one elsewhere in the batch is right as well.
        log_shares: [rows] logarithm of the share of the row's item in the train split.
        temperature: What inner products are divided by.

    >>> vectors = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    >>> [round(loss, 4) for loss in in_batch(vectors, torch.tensor([3, 5]), torch.log(torch.tensor([0.5, 0.5])), 1.0).tolist()]
    [0.3133, 0.3133]
    """
    queries, answers = vectors.chunk(2, dim=1)
    logits = queries @ answers.T / temperature - log_shares
    others = items[:, None] != items
    return torch.logsumexp(logits, 1) - torch.logsumexp(logits.masked_fill(others, -torch.inf), 1)
