"""A trained two-tower model: vectors of queries and of items, and the items of its catalogue that fit a query best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Columns
from sparkml_ops.model.nearest import Catalogue
from sparkml_ops.model.predictor import Predictor
from sparkml_ops.model.spec import ModelSpec, Side

__all__ = ["CATALOGUE", "Applied", "Nearest", "Retriever", "listed", "tower", "vectors"]

#: Positions in a catalogue and scores, [rows, items] each, and [rows] whether a row has any.
Nearest: TypeAlias = "tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]"

#: Among the weights: [items, dimension], the vectors of `spec.target.items`.
CATALOGUE = "catalogue"
_SHORTEST = 1e-12  # as torch's normalize has it


class Retriever:
    """Applies a model of kind `two_tower`.

    Args:
        spec: The model's description.
        state: Weights by name, as `TwoTower.state_dict()` names them, and the catalogue's vectors.

    Raises:
        ContractError: The weights are not those of the description.
    """

    def __init__(self, spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> None:
        self.spec, target = spec, spec.target
        items = state.get(CATALOGUE)
        if items is None or tuple(items.shape) != (len(target.items), target.dimension):
            shape = None if items is None else list(items.shape)
            raise ContractError(
                f"a catalogue of shape {shape}", expected=f"{[len(target.items), target.dimension]}", mend="take the artifact of a finished training"
            )
        self._catalogue, self._dtype = Catalogue(items), items.dtype
        self._towers = {side: tower(spec, state, side) for side in get_args(Side)}
        if strange := sorted(name for name in state if name != CATALOGUE and name.partition(".")[0] not in self._towers):
            raise ContractError(f"weights {strange[:5]} in a model of two towers", expected="those of `query` and `item`", mend="save both again")

    def vectors(self, side: Side, batch: Columns) -> npt.NDArray[np.float64]:
        """Vectors of queries or of items.

        Args:
            side: Which tower.
            batch: Rows with the columns that it reads; null and NaN are missing values, other columns are ignored.

        Returns:
            [rows, dimension]; NaN for a row with an infinite number.

        Raises:
            ContractError: A column is missing or of another type.
        """
        return vectors(self.spec, self._towers[side], batch)

    def catalogue_of(self, vectors: npt.NDArray[np.float64]) -> Catalogue:
        """Other items than the model's own, as `vectors` gave them."""
        return Catalogue(self._cast(vectors))

    def nearest(self, batch: Columns, most: int | None = None, catalogue: Catalogue | None = None) -> Nearest:
        """The best items of a catalogue for each query.

        Args:
            batch: Rows with the columns that the query's tower reads.
            most: Items for each query; None: `spec.target.top`.
            catalogue: None: the model's own.

        Returns:
            [rows, items] positions in the catalogue, best first, their scores, and [rows] whether a row has any: an infinite number has none.
        """
        queries = self.vectors("query", batch)
        fine = _whole(queries)
        asked = self._cast(np.where(fine[:, None], queries, 0.0))
        places, scores = (catalogue or self._catalogue).nearest(asked, most or self.spec.target.top)
        return places, scores, fine

    def ranked(self, batch: Columns, true: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Where the items that were seen with queries come among all, and the log loss of each row; see `Catalogue.ranked`.

        Args:
            batch: Rows with the columns that the query's tower reads.
            true: [rows] positions of the seen items in the catalogue.

        Returns:
            [rows] ranks from 0, and [rows] losses in nats; NaN for a row with an infinite number.
        """
        queries = self.vectors("query", batch)
        fine = _whole(queries)
        temperature = self.spec.towers.temperature if self.spec.towers is not None else 1.0
        ranks, losses = self._catalogue.ranked(self._cast(np.where(fine[:, None], queries, 0.0)), true, temperature)
        return ranks, np.where(fine, losses, np.nan)

    def columns(self, batch: Columns) -> list[pa.Array]:
        """The recommended items and their scores, an array of each for every row; arguments and errors are those of `vectors`."""
        target = self.spec.target
        names = pa.array(target.items, pa.string()).cast(pa.int64() if target.type == "bigint" else pa.string())
        return listed(names, *self.nearest(batch))

    def predict(self, batch: Columns) -> npt.NDArray[np.float64]:
        """[rows, items] scores of the recommended items, best first; NaN for a row with an infinite number."""
        _, scores, fine = self.nearest(batch)
        return np.where(fine[:, None], scores, np.nan)

    def _cast(self, queries: npt.NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(queries).to(self._dtype)


#: What `artifact.load` gives.
Applied: TypeAlias = Predictor | Retriever


def _whole(found: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """[rows] whether a row has a vector."""
    return np.asarray(np.isfinite(found).all(axis=1), np.bool_)


def listed(names: pa.Array, places: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], fine: npt.NDArray[np.bool_]) -> list[pa.Array]:
    """Items and scores as an array of each for every row, null where a row has none.

    Args:
        names: Of the items of the catalogue.
        places: [rows, items] positions among them, at least one a row.
        scores: [rows, items].
        fine: [rows] whether a row has any.
    """
    ends = pa.array(np.arange(0, places.size + 1, places.shape[1], dtype=np.int32))
    lists = (pa.ListArray.from_arrays(ends, values) for values in (names.take(pa.array(places.reshape(-1))), pa.array(scores.reshape(-1))))
    return [values if fine.all() else pc.if_else(pa.array(fine), values, pa.scalar(None, values.type)) for values in lists]


def tower(spec: ModelSpec, state: Mapping[str, torch.Tensor], side: Side) -> Predictor:
    """One tower with its weights."""
    head = f"{side}."
    return Predictor(spec.tower(side), {name.removeprefix(head): value for name, value in state.items() if name.startswith(head)})


def vectors(spec: ModelSpec, applied: Predictor, batch: Columns) -> npt.NDArray[np.float64]:
    """What a tower gives, normalised where the model says so."""
    found = applied.predict(batch)
    if spec.towers is None or not spec.towers.normalised:
        return found
    return np.asarray(found / np.maximum(np.sqrt((found**2).sum(axis=1, keepdims=True)), _SHORTEST))
