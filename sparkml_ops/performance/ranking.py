"""How high recommendations place the item that was seen: counts of ranks that merge exactly, and the usual figures from them.

Each row has one relevant item among all of a catalogue, so recall at k (also called hit rate) is the share of rows whose item is among the
first k, and the discounted gain of a row is 1 / log2(rank + 2) with an ideal of 1 (Järvelin & Kekäläinen 2002, "Cumulated gain-based
evaluation of IR techniques").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_ops.errors import ContractError

__all__ = ["CUTOFFS", "DEPTH", "RankCounts"]

#: Ranks from 0 that are told apart; all below count as one.
DEPTH = 100
CUTOFFS = (1, 5, 10, 20, 50, 100)
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankCounts:
    """Rows by the rank of their item; parts merge.

    Args:
        counts: [DEPTH + 1] rows with rank 0, 1 and so on; the last are all of rank `DEPTH` and below.

    >>> found = RankCounts.of(np.array([0, 3, 250])).merge(RankCounts.of(np.array([0])))
    >>> found.rows, found.recall(1), round(found.ndcg(5), 4), found.reciprocal
    (4, 0.5, 0.6077, 0.5625)
    """

    counts: Counts

    @classmethod
    def of(cls, ranks: Counts) -> RankCounts:
        """Count rows.

        Args:
            ranks: [rows] from 0: how many other items were placed before the row's own.
        """
        return cls(np.bincount(np.minimum(ranks, DEPTH), minlength=DEPTH + 1).astype(np.int64))

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[int, int]]) -> RankCounts:
        """From (rank, rows), each rank once or more, as a distributed pass sums them up."""
        counts = np.zeros(DEPTH + 1, np.int64)
        for rank, rows in pairs:
            counts[min(rank, DEPTH)] += rows
        return cls(counts)

    def merge(self, other: RankCounts) -> RankCounts:
        """Both parts of the rows together."""
        return RankCounts(self.counts + other.counts)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    def recall(self, k: int) -> float:
        """Share of the rows whose item is among the first k.

        Raises:
            ContractError: k is not 1 to `DEPTH`.
        """
        return float(self.counts[: _cut(k)].sum()) / self.rows

    def ndcg(self, k: int) -> float:
        """Mean normalised discounted gain of the first k.

        Raises:
            ContractError: k is not 1 to `DEPTH`.
        """
        gains = 1 / np.log2(np.arange(_cut(k)) + 2)
        return float((self.counts[:k] * gains).sum()) / self.rows

    @property
    def reciprocal(self) -> float:
        """Mean of 1 / (rank + 1), and of 0 from rank `DEPTH` on."""
        return float((self.counts[:DEPTH] / (np.arange(DEPTH) + 1)).sum()) / self.rows

    def figures(self, items: int) -> dict[str, float]:
        """`recall_at_<k>` and `ndcg_at_<k>` for each cutoff below the number of items, and `mrr_at_100`.

        Args:
            items: Of the catalogue: where there are no more than k, recall at k is 1 whatever the model.
        """
        cutoffs = [k for k in CUTOFFS if k < items]
        recalls, gains = ({f"{name}_at_{k}": of(k) for k in cutoffs} for name, of in (("recall", self.recall), ("ndcg", self.ndcg)))
        return {**recalls, **gains, f"mrr_at_{DEPTH}": self.reciprocal}


def _cut(k: int) -> int:
    if not 1 <= k <= DEPTH:
        raise ContractError(f"a cutoff of {k}", expected=f"1 to {DEPTH}", mend="ranks below are not told apart")
    return k
