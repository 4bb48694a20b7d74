"""The network that is trained; predictions are made by `predictor.py` from its weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from sparkml_ops.model.spec import ModelSpec

__all__ = ["Network", "build"]


class Network(nn.Module):
    """Embeddings and standardised numbers through hidden layers to the outputs of the task.

    Args:
        spec: The model's description.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.linear, outputs = spec.kind == "linear", spec.target.width
        # A linear model's categories add to each output.
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(column.vocabulary) + 1, outputs if self.linear else column.dimension) for column in spec.categorical
        )
        first = spec.numeric_width + (0 if self.linear else sum(column.dimension for column in spec.categorical))
        widths = (first, *spec.hidden)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.output = nn.Linear(widths[-1], outputs)

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
        values = torch.cat([numeric, *embedded], dim=1)
        for index, layer in enumerate(self.hidden):
            values = torch.relu(layer(values))
            if masks:
                values = values * masks[index]
        outputs: torch.Tensor = self.output(values).squeeze(1)
        return outputs


def build(spec: ModelSpec, seed: int, dtype: torch.dtype = torch.float32) -> Network:
    """A network with its first weights, which depend on the seed and the description only."""
    generator = torch.Generator().manual_seed(seed)
    network = Network(spec).to(dtype)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("embeddings."):
                # The unknown category starts neutral: where training has none, it stays so.
                draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * (0.0 if network.linear else 0.1)
                draw[0] = 0.0
            elif network.linear or weight.dim() == 1:
                draw = torch.zeros(weight.shape, dtype=torch.float64)
            else:
                # He et al. 2015, for layers followed by a rectifier.
                draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * (2.0 / weight.shape[1]) ** 0.5
            weight.copy_(draw)
    return network
