from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sparkml_ops.training.plan import Group, Plan
from sparkml_ops.training.shuffle_quality import shuffle_quality

ROWS, BATCH = 48_000, 400


def batches(order: np.ndarray) -> list[np.ndarray]:
    return list(order.reshape(-1, BATCH))


def test_the_distance_is_scipy_s() -> None:
    """Of places in the middle of their cells, from the uniform distribution."""
    some = batches(np.random.default_rng(1).permutation(ROWS))[:5]

    expected = np.mean([stats.kstest((batch + 0.5) / ROWS, "uniform").statistic for batch in some])
    assert shuffle_quality(some, ROWS).distance == pytest.approx(expected, rel=1e-12)


def test_known_orders() -> None:
    """As they are, permuted, and permuted inside blocks: what is expected of a random sample is met by the second alone."""
    rng = np.random.default_rng(2)
    still = shuffle_quality(batches(np.arange(ROWS)), ROWS)
    random = shuffle_quality(batches(rng.permutation(ROWS)), ROWS)
    blocks = shuffle_quality(batches(np.concatenate([start + rng.permutation(6000) for start in range(0, ROWS, 6000)])), ROWS)

    assert (still.run, still.neighbours) == (BATCH, pytest.approx(1 - 1 / BATCH))
    assert still.distance == pytest.approx(0.75, abs=0.01)
    assert random.distance == pytest.approx(random.random_distance, rel=0.05)
    assert random.neighbours < 20 * random.random_neighbours
    assert random.run < 1.001
    # An eighth of the data at a time: the mean of 7/8, 6/8, 5/8 and 4/8.
    assert blocks.distance == pytest.approx(0.6875, abs=0.01)
    assert blocks.run < 1.001


def test_a_plan_mixes_rows_from_all_over() -> None:
    """A batch takes from every shard's block, so it lies closer to the whole data than a random sample does, in every epoch another way."""
    plan = Plan((Group("file", 0, ROWS),), 24, BATCH, 3, block_rows=500)
    orders = [np.concatenate([block.start + plan.order(block, 1) for block in plan.blocks(shard, 1)]) for shard in range(plan.shards)]
    dealt = [
        np.concatenate([order[plan.dealt(shard, step) : plan.dealt(shard, step + 1)] for shard, order in enumerate(orders)]) for step in range(100)
    ]

    found = shuffle_quality(dealt, ROWS)

    assert found.distance < found.random_distance
    assert found.neighbours < 0.005
