"""The network that is trained; predictions are made by `predictor.py` from its weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

import torch
from torch import nn

from sparkml_ops.model.network_factors import FIRST, SECOND, THIRD
from sparkml_ops.model.spec import ModelSpec, Side

__all__ = ["Network", "TwoTower", "Wide", "build", "crossed"]


class Network(nn.Module):
    """Embeddings and standardised numbers through hidden layers to the outputs of the task.

    Args:
        spec: The model's description.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.linear, outputs = spec.kind == "linear", spec.target.width
        # A linear model's categories add to each output.
        self.embeddings = nn.ModuleList(nn.Embedding(column.size, outputs if self.linear else column.dimension) for column in spec.categorical)
        first = spec.numeric_width + (0 if self.linear else sum(column.dimension for column in spec.categorical))
        widths = (first, *spec.hidden)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.output = nn.Linear(widths[-1], outputs)
        self.wide = Wide(spec) if spec.kind == "wide_deep" else None

    def forward(self, numeric: torch.Tensor, categories: torch.Tensor, masks: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Outputs before they become predictions: logits, logarithms of rates, standardised values.

        Args:
            numeric: [rows, spec.numeric_width].
            categories: [rows, categorical inputs], integers.
            masks: [rows, width] factors of each hidden layer's units (dropout), or none at all.

        Returns:
            [rows], or [rows, outputs] of several.
        """
        embedded = [embedding(categories[:, index]) for index, embedding in enumerate(self.embeddings)]
        if self.linear:
            return torch.stack([self.output(numeric), *embedded]).sum(0).squeeze(1)  # of several outputs none is squeezed
        values = torch.cat([numeric, *embedded], dim=1) if embedded else numeric
        for index, layer in enumerate(self.hidden):
            values = torch.relu(layer(values))
            if masks:
                values = values * masks[index]
        outputs: torch.Tensor = self.output(values)
        return (outputs if self.wide is None else outputs + self.wide(numeric, categories)).squeeze(1)


class Wide(nn.Module):
    """The linear part of `wide_deep`: weights of numbers, of categories and of hashed pairs of them.

    Args:
        spec: The model's description.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        outputs, names = spec.target.width, [column.name for column in spec.categorical]
        self.numeric = nn.Linear(spec.numeric_width, outputs, bias=False)
        self.categories = nn.ModuleList(nn.Embedding(column.size, outputs) for column in spec.categorical)
        self.crosses = nn.ModuleList(nn.Embedding(cross.buckets, outputs) for cross in spec.crosses)
        self.pairs = [(names.index(cross.first), names.index(cross.second), cross.buckets) for cross in spec.crosses]

    def forward(self, numeric: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """[rows, outputs] to add to those of the hidden layers; arguments as of `Network`."""
        total: torch.Tensor = self.numeric(numeric)
        for index, weights in enumerate(self.categories):
            total = total + weights(categories[:, index])
        for (first, second, buckets), weights in zip(self.pairs, self.crosses, strict=True):
            total = total + weights(crossed(categories[:, first], categories[:, second], buckets))
        return total


class TwoTower(nn.Module):
    """A vector of the query's inputs and a vector of the item's, by hidden layers of their own.

    Args:
        spec: The model's description, of kind `two_tower`.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.query, self.item = Network(spec.tower("query")), Network(spec.tower("item"))
        self.normalised = spec.towers is not None and spec.towers.normalised
        self._reads = {side: _reads(spec, spec.tower(side)) for side in get_args(Side)}

    def forward(self, numeric: torch.Tensor, categories: torch.Tensor, masks: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """[rows, 2 dimensions]: the query's vector, then the item's; arguments as of `Network`, with masks of both towers."""
        cut, vectors = len(masks) // 2, []
        for side, tower, mine in (("query", self.query, masks[:cut]), ("item", self.item, masks[cut:])):
            numbers, places = self._reads[side]
            vectors.append(self.unit(tower(numeric[:, numbers], categories[:, places], mine)))
        return torch.cat(vectors, dim=1)

    def unit(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors of length 1, where the model has such."""
        return nn.functional.normalize(vectors, dim=1) if self.normalised else vectors


def _reads(spec: ModelSpec, tower: ModelSpec) -> tuple[list[int], list[int]]:
    """Columns of the numbers and of the categories of a model that a tower reads."""
    names = {name for name, _ in tower.inputs}
    numbers = [index for index, name in enumerate(spec.numeric_names) if name in names]
    return numbers, [index for index, column in enumerate(spec.categorical) if column.name in names]


def crossed(first: torch.Tensor, second: torch.Tensor, buckets: int) -> torch.Tensor:
    """[rows] buckets of pairs of positions: whole numbers multiplied and folded, the same on every machine.

    >>> crossed(torch.tensor([1, 1, 2]), torch.tensor([5, 5, 5]), 1000).tolist()
    [417, 417, 342]
    """
    # Products wrap around.
    mixed = (first.long() * FIRST + second.long()) * SECOND
    mixed = (mixed ^ (mixed >> 32)) * THIRD
    return torch.remainder(mixed ^ (mixed >> 29), buckets)


def build(spec: ModelSpec, seed: int, dtype: torch.dtype = torch.float32) -> Network | TwoTower:
    """A network with its first weights, which depend on the seed and the description only."""
    generator, linear = torch.Generator().manual_seed(seed), spec.kind == "linear"
    network = (TwoTower(spec) if spec.kind == "two_tower" else Network(spec)).to(dtype)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "embeddings." in name:
                # The unknown category starts neutral: where training has none, it stays so.
                draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * (0.0 if linear else 0.1)
                draw[0] = 0.0
            elif linear or weight.dim() == 1 or name.startswith("wide."):
                draw = torch.zeros(weight.shape, dtype=torch.float64)
            else:
                # He et al. 2015, for layers followed by a rectifier.
                draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * (2.0 / weight.shape[1]) ** 0.5
            weight.copy_(draw)
    return network
