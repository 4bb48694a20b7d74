"""Figures of recommendations: those of scikit-learn, from parts in any cut."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

from sparkml_ops.errors import ContractError
from sparkml_ops.performance.ranking import DEPTH, RankCounts

RNG = np.random.default_rng(2)
SCORES, TRUE = RNG.normal(size=(400, 60)), np.arange(400) % 60
RANKS = (SCORES[np.arange(400), TRUE][:, None] < SCORES).sum(axis=1)


@pytest.mark.parametrize("k", [1, 5, 10, 50])
def test_recall_and_gain_are_those_of_scikit_learn(k: int) -> None:
    """One relevant item a row, no ties."""
    found = RankCounts.of(RANKS)

    assert found.recall(k) == pytest.approx(top_k_accuracy_score(TRUE, SCORES, k=k), abs=1e-12)
    assert found.ndcg(k) == pytest.approx(ndcg_score(np.eye(60)[TRUE], SCORES, k=k), abs=1e-12)


def test_the_reciprocal_rank_is_that_of_scikit_learn() -> None:
    """With one relevant item a row, average precision is the reciprocal rank; here no rank is beyond the depth."""
    assert RankCounts.of(RANKS).reciprocal == pytest.approx(label_ranking_average_precision_score(np.eye(60)[TRUE], SCORES), abs=1e-12)


def test_parts_are_the_whole() -> None:
    """In any cut, one of them empty, also as pairs of rank and rows: the same counts, not nearly the same figures."""
    whole = RankCounts.of(RANKS)
    parts = RankCounts.of(RANKS[:0]).merge(RankCounts.of(RANKS[:123])).merge(RankCounts.of(RANKS[123:]))
    paired = RankCounts.of_pairs([(rank, 1) for rank in RANKS.tolist()])

    assert parts.figures(60) == whole.figures(60) == paired.figures(60)
    assert list(whole.figures(6)) == ["recall_at_1", "recall_at_5", "ndcg_at_1", "ndcg_at_5", "mrr_at_100"]


def test_ranks_below_the_depth_are_misses() -> None:
    """They count as rows, and have no gain."""
    found = RankCounts.of(np.array([DEPTH, 10 * DEPTH, DEPTH - 1]))

    assert (found.rows, found.recall(DEPTH), found.reciprocal) == (3, 1 / 3, pytest.approx(1 / DEPTH / 3))
    with pytest.raises(ContractError, match="a cutoff of 101; expected 1 to 100"):
        found.recall(DEPTH + 1)
