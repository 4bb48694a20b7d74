"""Which items of a catalogue lie nearest to queries, exactly: by inner products, some queries and some items at a time.

Memory is that of one block of scores, whatever the catalogue. Every product has the same shape, padded with zeros, so that a query's scores
depend on the query and the catalogue alone (see `predictor.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Catalogue"]

_QUERIES, _ITEMS, _LINE = 1024, 4096, 16
Places = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class Catalogue:
    """Vectors of items, in the order in which equal scores are ranked.

    Args:
        vectors: [items, dimension].

    >>> catalogue = Catalogue(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    >>> places, scores = catalogue.nearest(torch.tensor([[2.0, 1.0]]), 2)
    >>> places.tolist(), scores.tolist()
    ([[0, 2]], [[2.0, 2.0]])
    >>> catalogue.ranked(torch.tensor([[2.0, 1.0]]), np.array([2]))[0].tolist()
    [1]
    """

    def __init__(self, vectors: torch.Tensor) -> None:
        self.items, self.dimension = vectors.shape
        self._width = min(_ITEMS, _up(self.items))
        rows = -(-self.items // self._width) * self._width
        self._vectors = torch.zeros(rows, _up(self.dimension), dtype=vectors.dtype)
        self._vectors[: self.items, : self.dimension] = vectors

    @torch.inference_mode()
    def nearest(self, queries: torch.Tensor, most: int) -> tuple[Places, Values]:
        """The items with the highest scores, best first; of equal ones the earlier in the catalogue.

        Args:
            queries: [rows, dimension], finite.
            most: Items for each; fewer where the catalogue has fewer.

        Returns:
            Positions in the catalogue and inner products, [rows, items] each.
        """
        most = min(most, self.items)
        places, found = np.empty((len(queries), most), np.int64), np.empty((len(queries), most))
        for rows, query in self._blocks(queries):
            best = np.empty((rows.stop - rows.start, 0), np.int64), np.empty((rows.stop - rows.start, 0))
            for first, scores in self._scores(query):
                best = _joined(best, _top(scores[: rows.stop - rows.start], first, most), most)
            places[rows], found[rows] = best
        return places, found

    @torch.inference_mode()
    def ranked(self, queries: torch.Tensor, true: Places, temperature: float = 1.0) -> tuple[Places, Values]:
        """Where the item that was seen with each query comes among all of them.

        Args:
            queries: [rows, dimension], finite.
            true: [rows] positions of the seen items.
            temperature: What scores are divided by in the softmax.

        Returns:
            [rows] how many items `nearest` would name before the seen one; [rows] log loss of the softmax over the whole catalogue, in nats.
        """
        ranks, losses = np.empty(len(queries), np.int64), np.empty(len(queries))
        for rows, query in self._blocks(queries):
            ranks[rows], losses[rows] = self._ranked(query, torch.from_numpy(true[rows]), temperature)
        return ranks, losses

    def _ranked(self, query: torch.Tensor, true: torch.Tensor, temperature: float) -> tuple[Places, Values]:
        count = len(true)
        own = torch.empty(count, dtype=self._vectors.dtype)
        # First the seen items' own scores, from the very products with which they are compared: another sum would differ in its last bits.
        for first, scores in self._scores(query):
            inside = ((true >= first) & (true < first + scores.shape[1])).nonzero()[:, 0]
            own[inside] = scores[inside, true[inside] - first]
        before, whole = torch.zeros(count, dtype=torch.int64), torch.full((count,), -torch.inf, dtype=torch.float64)
        for first, scores in self._scores(query):
            mine = scores[:count]
            before += (mine > own[:, None]).sum(1)
            rows, equal = (mine == own[:, None]).nonzero(as_tuple=True)
            before.index_add_(0, rows, (first + equal < true[rows]).long())
            whole = torch.logaddexp(whole, torch.logsumexp(mine / temperature, 1).double())
        return before.numpy(), (whole - own.double() / temperature).numpy()

    def _blocks(self, queries: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        for start in range(0, len(queries), _QUERIES):
            rows = slice(start, min(start + _QUERIES, len(queries)))
            block = torch.zeros(_QUERIES, self._vectors.shape[1], dtype=self._vectors.dtype)
            block[: rows.stop - start, : self.dimension] = queries[rows]
            yield rows, block

    def _scores(self, block: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """First item and scores of some items each; padding is left out."""
        for first in range(0, self.items, self._width):
            yield first, (block @ self._vectors[first : first + self._width].T)[:, : self.items - first]


def _top(scores: torch.Tensor, first: int, most: int) -> tuple[Places, Values]:
    """The best of a block, in any order."""
    most = min(most, scores.shape[1])
    values, best = torch.topk(scores, most, dim=1)
    # Where more are as good as the last one, torch takes any of them.
    for row in ((scores >= values[:, -1:]).sum(1) > most).nonzero()[:, 0].tolist():
        best[row] = torch.argsort(scores[row], descending=True, stable=True)[:most]
    return best.numpy() + first, scores.gather(1, best).double().numpy()


def _joined(before: tuple[Places, Values], more: tuple[Places, Values], most: int) -> tuple[Places, Values]:
    places, scores = np.concatenate([before[0], more[0]], axis=1), np.concatenate([before[1], more[1]], axis=1)
    order = np.lexsort((places, -scores), axis=1)[:, :most]
    return np.take_along_axis(places, order, 1), np.take_along_axis(scores, order, 1)


def _up(width: int) -> int:
    return max(_LINE, -(-width // _LINE) * _LINE)
