"""What training makes small, by task: the sum of the losses of some rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn import functional

from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.model.target import Target
from sparkml_ops.training.in_batch import InBatchSoftmax
from sparkml_ops.training.launch import Communicator

__all__ = ["UNITS", "Losses", "objective", "summed"]

#: What a mean loss over rows is called.
UNITS = {
    "binary": "log loss, nats a row",
    "regression": "squared error, variances of the label",
    "count": "Poisson log loss, nats a row",
    "quantile": "pinball loss, deviations of the label",
    "multiclass": "log loss, nats a row",
    "multilabel": "log loss of all classes, nats a row",
    "retrieval": "log loss, nats a row (train: in the batch)",
}

#: Outputs, labels and weights (None: all the same) of a rank's rows to a sum to differentiate and the detached sum of the losses of these rows.
Losses: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]]


def objective(spec: ModelSpec, communicator: Communicator) -> Losses:
    """What a training makes small."""
    if spec.kind == "two_tower":
        return InBatchSoftmax(spec, communicator)

    def of_rows(outputs: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        losses = summed(spec.target, outputs, label, weight)
        return losses, losses.detach()

    return of_rows


def summed(target: Target, outputs: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Sum of the losses of some rows.

    In nats: log loss for `binary`, `multiclass` and `multilabel` (all classes of a row together), the Poisson distribution's negative log
    likelihood for `count`. Squared error for `regression` and the mean pinball loss of all levels for `quantile` (Koenker & Bassett 1978),
    both in units of the label's deviation, so that a learning rate means the same for any unit.

    Args:
        target: The task.
        outputs: [rows] or [rows, outputs] of the network.
        label: [rows], or [rows, outputs] for `multilabel`, as `Target.encode` made them.
        weight: [rows] how much each row counts; None: all the same.

    >>> float(summed(Target("regression"), torch.tensor([1.0, 0.0]), torch.tensor([3.0, 1.0]), torch.tensor([0.5, 2.0])))
    4.0
    """
    if target.task == "binary":
        return functional.binary_cross_entropy_with_logits(outputs.reshape(label.shape), label, weight=weight, reduction="sum")
    losses = _losses(target, outputs.reshape(len(label), target.width), label)
    return (losses if weight is None else losses * weight).sum()


def _losses(target: Target, outputs: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """[rows] losses; outputs are [rows, outputs]."""
    if target.task == "multiclass":
        return functional.cross_entropy(outputs, label.long(), reduction="none")
    if target.task == "multilabel":
        return functional.binary_cross_entropy_with_logits(outputs, label, reduction="none").sum(1)
    if target.task == "quantile":
        levels = torch.tensor(target.quantiles, dtype=outputs.dtype, device=outputs.device)
        distance = label[:, None] - outputs
        return torch.maximum(levels * distance, (levels - 1) * distance).mean(1)
    if target.task == "count":
        margin = outputs[:, 0] + torch.log(torch.tensor(target.mean, dtype=outputs.dtype, device=outputs.device))
        return margin.exp() - label * margin + torch.lgamma(label + 1)
    return (outputs[:, 0] - label) ** 2
