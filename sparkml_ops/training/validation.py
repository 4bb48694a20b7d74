"""What the validation split came to after an epoch, over all ranks: summed losses, and for a binary model the area under the ROC curve."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from sparkml_ops.model.target import Target
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.training.launch import Communicator
from sparkml_ops.training.objective import summed

__all__ = ["Validation"]

# Each merge costs as much as all counts so far.
_CHUNK = 1 << 18


class Validation:
    """Rows of one rank, measured.

    Args:
        target: The task.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loss = torch.zeros((), dtype=torch.float64)
        self._counts = ScoreCounts.empty()
        self._waiting: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []

    def add(self, outputs: torch.Tensor, label: torch.Tensor) -> None:
        """Measure a batch.

        Args:
            outputs: [rows] or [rows, outputs] of the network.
            label: [rows], or [rows, outputs] for `multilabel`.
        """
        self._loss += summed(self._target, outputs, label).cpu()
        if self._target.task == "binary":
            self._waiting.append((torch.sigmoid(outputs.double()).reshape(-1).cpu().numpy(), label.long().cpu().numpy()))
            if sum(len(scores) for scores, _ in self._waiting) >= _CHUNK:
                self._count()

    def merged(self, communicator: Communicator) -> tuple[float, float | None]:
        """Sum of the losses of all ranks, and the AUC over their rows: None for other tasks, and where a class is absent.

        The area is exact up to 2^20 distinct scores; above that scores are rounded down to multiples of 2^-20, as `ScoreCounts` does, so
        that memory does not grow with the split. Scores travel a rank at a time.
        """
        loss = float(communicator.all_reduce(self._loss.reshape(1))[0])
        if self._target.task != "binary":
            return loss, None
        self._count()
        lengths = torch.zeros(communicator.size, 2, dtype=torch.int64)
        lengths[communicator.rank] = torch.tensor([len(self._counts.scores), self._counts.exact])
        whole = ScoreCounts.empty()
        for root, (length, exact) in enumerate(communicator.all_reduce(lengths).tolist()):
            # Counts are below 2^53, so a double holds them.
            packed = torch.zeros(3, length, dtype=torch.float64)
            if root == communicator.rank:
                packed = torch.from_numpy(np.stack([self._counts.scores, self._counts.negatives, self._counts.positives]).astype(np.float64))
            scores, negatives, positives = (communicator.broadcast(packed, root) if length else packed).numpy()
            whole = whole.merge(ScoreCounts(scores, negatives.astype(np.int64), positives.astype(np.int64), bool(exact)))
        return loss, None if math.isnan(whole.auc) else whole.auc

    def _count(self) -> None:
        if self._waiting:
            scores, labels = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
            self._counts = self._counts.merge(ScoreCounts.of(scores.astype(np.float64), labels.astype(np.int64)))
            self._waiting = []
