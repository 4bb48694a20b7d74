"""The nearest items of a catalogue and the ranks of seen ones, held against sorting all scores and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import log_loss, top_k_accuracy_score

from sparkml_ops.model.nearest import Catalogue


@pytest.fixture(params=[7, 4100], ids=lambda items: f"{items} items")
def whole(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Queries and items of small whole numbers, whose products are exact and often equal: less than a block and more than one."""
    rng = np.random.default_rng(3)
    return rng.integers(-2, 3, (1030, 5)).astype(float), rng.integers(-2, 3, (request.param, 5)).astype(float)


def test_the_best_come_first_and_equal_ones_by_place(whole: tuple[np.ndarray, np.ndarray]) -> None:
    """What a stable sort of all scores gives, where blocks end and in the middle of ties."""
    queries, items = whole
    places, scores = Catalogue(torch.from_numpy(items)).nearest(torch.from_numpy(queries), 9)
    order = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :9]

    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(scores, np.take_along_axis(queries @ items.T, order, 1))


def test_a_rank_is_the_place_in_that_order(whole: tuple[np.ndarray, np.ndarray]) -> None:
    """An item is at rank r exactly where it would be the r-th recommended; its loss is that of the softmax over all."""
    queries, items = whole
    true = np.random.default_rng(4).integers(0, len(items), len(queries))
    ranks, losses = Catalogue(torch.from_numpy(items)).ranked(torch.from_numpy(queries), true, 0.5)
    logits = queries @ items.T
    order = np.argsort(-logits, axis=1, kind="stable")

    np.testing.assert_array_equal(np.take_along_axis(order, ranks[:, None], 1)[:, 0], true)
    np.testing.assert_allclose(losses, logsumexp(logits / 0.5, axis=1) - logits[np.arange(len(true)), true] / 0.5, rtol=1e-12, atol=1e-13)


def test_ranks_and_losses_are_those_of_scikit_learn() -> None:
    """Without ties, over a catalogue whose every item is seen."""
    rng = np.random.default_rng(5)
    queries, items, true = rng.normal(size=(200, 4)), rng.normal(size=(20, 4)), np.arange(200) % 20
    ranks, losses = Catalogue(torch.from_numpy(items)).ranked(torch.from_numpy(queries), true)
    scores = queries @ items.T

    assert [float((ranks < k).mean()) for k in (1, 3, 10)] == [top_k_accuracy_score(true, scores, k=k) for k in (1, 3, 10)]
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert losses.mean() == pytest.approx(log_loss(true, softmax), rel=1e-9)


def test_a_query_s_scores_do_not_depend_on_its_batch() -> None:
    """To the last bit in float32: alone, among few and among many."""
    rng = np.random.default_rng(6)
    queries, items = torch.from_numpy(rng.normal(size=(1500, 24)).astype("float32")), torch.from_numpy(rng.normal(size=(5000, 24)).astype("float32"))
    catalogue = Catalogue(items)
    places, scores = catalogue.nearest(queries, 20)
    for start, stop in ((0, 1), (3, 900), (1100, 1500)):
        some = catalogue.nearest(queries[start:stop], 20)
        np.testing.assert_array_equal(some[0], places[start:stop])
        np.testing.assert_array_equal(some[1], scores[start:stop])
    assert (catalogue.ranked(queries, places[:, 7])[0] == 7).all()
    assert catalogue.nearest(queries[:0], 20)[0].shape == (0, 20)
