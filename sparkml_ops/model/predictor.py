"""Predictions from a model's weights, the same to the last bit however rows are cut into batches.

A matrix product's last bits depend on its shape and on how rows lie in memory. Here every product has
the same number of rows, and its matrices are padded with zeros to whole cache lines, so that a row's
prediction depends on the row alone (checked on MKL in float32 and float64, with one thread and two).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Columns, Encoded, Encoder
from sparkml_ops.model.module import MakeModule, build_module
from sparkml_ops.model.network import Network, crossed
from sparkml_ops.model.spec import DEEP, ModelSpec

__all__ = ["Predictor"]

_BLOCK = 1024
# Of a block in its widest layer, and its fewest rows.
_NUMBERS, _FEWEST = 1 << 23, 8
# Bytes of weights of which a second set matters.
_LARGE = 1 << 27
_LINE = 16


class Predictor:
    """Applies a model to batches of rows.

    Args:
        spec: The model's description.
        state: Weights by name, as `Network.state_dict()` names them.
        module: The object that makes a team's own network, where no entry point does. Such a network gets blocks of the same number of rows
            too, but what its products' last bits depend on is its own matter.

    Raises:
        ContractError: The weights are not those of the description, or the network's entry point is not installed.
    """

    def __init__(self, spec: ModelSpec, state: Mapping[str, torch.Tensor], module: MakeModule | None = None) -> None:
        network = _shapes(spec, state) if spec.kind != "module" else build_module(spec, 0, _dtype(state), module).eval()
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        if (found := {name: tuple(value.shape) for name, value in state.items()}) != wanted:
            differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            raise ContractError(f"weights other than described in {differing[:5]}", expected="the network's shapes", mend="save both again")
        self.spec = spec
        self._encoder = Encoder(spec)
        self._dtype = _dtype(state)
        self._module = network if spec.kind == "module" else None
        # Of each product: by the description alone, so that a row's last bits are too.
        self._rows = _BLOCK
        if self._module is not None:
            self._module.load_state_dict(dict(state))
            return
        self._embeddings = [state[f"embeddings.{index}.weight"] for index in range(len(spec.categorical))]
        names = [*(f"hidden.{index}" for index in range(len(spec.hidden))), "output"]
        if isinstance(network, Network) and network.wide is not None:
            self._pairs = network.wide.pairs
            self._wide = _padded(state["wide.numeric.weight"], torch.zeros(spec.target.width, dtype=self._dtype))
            self._wide_categories = [state[f"wide.categories.{index}.weight"].double() for index in range(len(spec.categorical))]
            self._wide_crosses = [state[f"wide.crosses.{index}.weight"].double() for index in range(len(spec.crosses))]
        self._layers = [_padded(state[f"{name}.weight"], state[f"{name}.bias"]) for name in names]
        widest = max(max(weight.shape) for weight, _ in self._layers)
        while self._rows > _FEWEST and self._rows * widest > _NUMBERS:
            self._rows //= 2

    def predict(self, batch: Columns) -> npt.NDArray[np.float64]:
        """The prediction for each row: of a binary model the probability of label 1.

        Args:
            batch: Rows with the columns of `spec.inputs`; null and NaN are missing values, other columns are ignored.

        Returns:
            [rows] float64, or [rows, outputs] of several, in the label's unit; NaN for a row with an infinite number, which no model can judge.

        Raises:
            ContractError: A column is missing or of another type.
        """
        return self.predict_encoded(self._encoder.encode(batch, str(self._dtype).removeprefix("torch.")))

    def columns(self, batch: Columns) -> list[pa.Array]:
        """The predictions as one array for each column of `spec.outputs`; arguments and errors are those of `predict`."""
        predicted = self.predict(batch)
        return self.spec.target.arrays(predicted.reshape(len(predicted), self.spec.target.width))

    @torch.inference_mode()
    def predict_encoded(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """The prediction for each encoded row."""
        numeric, categories = torch.from_numpy(encoded.numeric).to(self._dtype), torch.from_numpy(encoded.categories)
        outputs = np.empty((len(numeric), self.spec.target.width), np.float64)
        for start in range(0, len(numeric), self._rows):
            part = slice(start, start + self._rows)
            outputs[part] = self._block(numeric[part], categories[part])
        outputs[~np.isfinite(encoded.numeric).all(axis=1)] = np.nan
        predicted = self.spec.target.decode(outputs)
        return predicted[:, 0] if self.spec.target.width == 1 else predicted

    def _block(self, numeric: torch.Tensor, categories: torch.Tensor) -> npt.NDArray[np.float64]:
        rows, width = numeric.shape
        if self._module is not None:
            padding = self._rows - rows
            padded = (torch.nn.functional.pad(part, (0, 0, 0, padding)) for part in (numeric, categories))
            found: npt.NDArray[np.float64] = self._module(*padded)[:rows].double().numpy()
            return found
        values = torch.zeros(self._rows, self._layers[0][0].shape[1], dtype=self._dtype)
        values[:rows, :width] = numeric
        embedded = [weights.index_select(0, categories[:, index]) for index, weights in enumerate(self._embeddings)]
        if self.spec.kind in DEEP:
            for vectors in embedded:
                values[:rows, width : width + vectors.shape[1]] = vectors
                width += vectors.shape[1]
        for index, (weight, bias) in enumerate(self._layers):
            values = torch.nn.functional.linear(values, weight, bias)
            if index < len(self._layers) - 1:
                values.relu_()
        outputs = values[:rows, : self.spec.target.width].double()
        if self.spec.kind == "linear":
            for vectors in embedded:
                outputs = outputs + vectors.double()
        if self.spec.kind == "wide_deep":
            outputs = outputs + self._widely(numeric, categories)
        return outputs.numpy()

    def _widely(self, numeric: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """[rows, outputs] of the linear part."""
        rows, width = numeric.shape
        values = torch.zeros(self._rows, self._wide[0].shape[1], dtype=self._dtype)
        values[:rows, :width] = numeric
        total = torch.nn.functional.linear(values, *self._wide)[:rows, : self.spec.target.width].double()
        for index, weights in enumerate(self._wide_categories):
            total = total + weights.index_select(0, categories[:, index])
        for (first, second, buckets), weights in zip(self._pairs, self._wide_crosses, strict=True):
            total = total + weights.index_select(0, crossed(categories[:, first], categories[:, second], buckets))
        return total


def _shapes(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> Network:
    """The network, a large one without memory for its weights: a second set would be as large as the first."""
    # The first embedding without memory has torch load its compiler: five seconds in every worker.
    if sum(value.nbytes for value in state.values()) < _LARGE:
        return Network(spec)
    with torch.device("meta"):
        return Network(spec)


def _dtype(state: Mapping[str, torch.Tensor]) -> torch.dtype:
    """Of the weights; whole numbers among them are buffers."""
    return next((value.dtype for value in state.values() if value.is_floating_point()), torch.float32)


def _padded(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer widened with zeros to a multiple of a cache line, inputs and outputs."""
    outputs, inputs = weight.shape
    wide = torch.zeros(_up(outputs), _up(inputs), dtype=weight.dtype)
    wide[:outputs, :inputs] = weight
    offset = torch.zeros(_up(outputs), dtype=weight.dtype)
    offset[:outputs] = bias
    return wide, offset


def _up(width: int) -> int:
    return max(_LINE, -(-width // _LINE) * _LINE)
