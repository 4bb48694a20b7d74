"""Where a two-tower model places the items of the validation split, among all items of the catalogue, after an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.nearest import Catalogue
from sparkml_ops.model.network import TwoTower
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.performance.ranking import RankCounts
from sparkml_ops.storage import Storage
from sparkml_ops.training.catalogue import read
from sparkml_ops.training.launch import Communicator

__all__ = ["CUTOFF", "Items", "Placement"]

#: Of the recall that is told after each epoch.
CUTOFF = 10


class Items:
    """The catalogue's items as the item tower reads them; each rank holds all, at most 2^18.

    Args:
        spec: Of kind `two_tower`.
        storage: Where the catalogue lies.
        names: Its objects.
        dtype: Of the numbers.
    """

    def __init__(self, spec: ModelSpec, storage: Storage, names: Sequence[str], dtype: torch.dtype) -> None:
        encoded = Encoder(spec.tower("item")).encode(read(spec, storage, names), str(dtype).removeprefix("torch."))
        self._numeric, self._categories = torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)

    def vectors(self, model: torch.nn.Module, communicator: Communicator) -> torch.Tensor:
        """[items, dimension] on every rank; each computes its share of them."""
        if not isinstance(model, TwoTower):
            raise ContractError(f"vectors of items by {type(model).__name__}", expected="a two_tower model", mend="train one")
        items, rank, size = len(self._numeric), communicator.rank, communicator.size
        mine = slice(items * rank // size, items * (rank + 1) // size)
        place = next(model.parameters()).device
        found = model.unit(model.item(self._numeric[mine].to(place), self._categories[mine].to(place)))
        return communicator.all_gather(found.to(self._numeric.dtype)).cpu()


class Placement:
    """Rows of one rank, measured.

    Args:
        spec: Of kind `two_tower`.
        vectors: [items, dimension] of the whole catalogue.
    """

    def __init__(self, spec: ModelSpec, vectors: torch.Tensor) -> None:
        self._catalogue, self._temperature = Catalogue(vectors), spec.towers.temperature if spec.towers is not None else 1.0
        self._loss, self._counts = 0.0, RankCounts.of(np.zeros(0, np.int64))

    def add(self, outputs: torch.Tensor, label: torch.Tensor) -> None:
        """Measure a batch.

        Args:
            outputs: [rows, 2 dimensions] of the network.
            label: [rows] positions of the seen items.
        """
        queries = outputs[:, : self._catalogue.dimension].cpu()
        ranks, losses = self._catalogue.ranked(queries, label.long().cpu().numpy(), self._temperature)
        self._loss += float(losses.sum())
        self._counts = self._counts.merge(RankCounts.of(ranks))

    def merged(self, communicator: Communicator) -> tuple[float, float]:
        """Sum of the log losses over the whole catalogue of all ranks' rows, and recall at 10: counts, so the same on any number of ranks."""
        loss = communicator.all_reduce(torch.tensor([self._loss], dtype=torch.float64))
        counts = communicator.all_reduce(torch.from_numpy(self._counts.counts))
        whole = RankCounts(counts.numpy())
        return float(loss[0]), whole.recall(CUTOFF)
