from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_rows import table, usable, write

from sparkml_ops.errors import ContractError
from sparkml_ops.training.plan import Block, Group, Plan, plan_groups

plans = st.builds(
    lambda groups, shards, batch, block: Plan(
        tuple(Group("file", index, rows) for index, rows in enumerate(groups)), shards, batch, seed=3, block_rows=block
    ),
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
    st.integers(1, 13),
    st.integers(1, 70),
    st.integers(1, 40),
)


def order(plan: Plan, shard: int, epoch: int) -> list[int]:
    """The rows of a shard in the order of an epoch."""
    return [block.start + int(row) for block in plan.blocks(shard, epoch) for row in plan.order(block, epoch)]


def step_rows(plan: Plan, step: int, epoch: int, rank: int, size: int) -> list[int]:
    """The rows of a worker in a step."""
    found: list[int] = []
    for shard in plan.shards_of(rank, size):
        found += order(plan, shard, epoch)[plan.dealt(shard, step) : plan.dealt(shard, step + 1)]
    return found


@settings(max_examples=40, deadline=None)
@given(plans, st.integers(0, 3))
def test_every_row_is_in_one_step_of_an_epoch(plan: Plan, epoch: int) -> None:
    """None is lost, none doubled, and each global batch but the last is full."""
    steps = [step_rows(plan, step, epoch, 0, 1) for step in range(plan.steps)]

    assert sorted(row for step in steps for row in step) == list(range(plan.rows))
    assert [len(step) for step in steps] == [plan.batch_rows(step) for step in range(plan.steps)]
    assert all(len(step) == plan.batch_size for step in steps[:-1])


@settings(max_examples=25, deadline=None)
@given(plans, st.sampled_from([2, 3, 8]))
def test_a_global_batch_is_the_same_for_any_number_of_workers(plan: Plan, size: int) -> None:
    """Workers share the shards, and together they hold the batch of one worker."""
    for step in range(plan.steps):
        together = [row for rank in range(size) for row in step_rows(plan, step, 1, rank, size)]
        assert sorted(together) == sorted(step_rows(plan, step, 1, 0, 1))


@settings(max_examples=25, deadline=None)
@given(plans)
def test_blocks_are_made_of_row_groups_without_gaps(plan: Plan) -> None:
    """The pieces of a block, end to end, are its rows."""
    starts = np.cumsum([0, *(group.rows for group in plan.groups)])
    for shard in range(plan.shards):
        for block in plan.blocks(shard, 0):
            pieces = [(int(starts[piece.group.index]) + piece.start, int(starts[piece.group.index]) + piece.stop) for piece in plan.pieces(block)]
            assert [row for start, stop in pieces for row in range(start, stop)] == list(range(block.start, block.stop))


def test_epochs_differ_and_come_again() -> None:
    """Another epoch is another order; the same epoch is the same, and so it is without shuffling."""
    plan, still = Plan((Group("file", 0, 500),), 4, 50, seed=3, block_rows=40), Plan((Group("file", 0, 500),), 4, 50, seed=3, shuffle=False)

    assert order(plan, 1, 0) != order(plan, 1, 1)
    assert order(plan, 1, 0) == order(plan, 1, 0)
    assert order(still, 1, 0) == order(still, 1, 5) == list(range(125, 250))


def test_shards_need_their_next_blocks_in_turn() -> None:
    """So that a few blocks read ahead are enough: no tenth of a block's rows has more than a few shards ask, where blocks of one size would have all."""
    plan = Plan((Group("file", 0, 240_000),), 24, 240, seed=3, block_rows=2000)
    asked = [offset for shard in range(24) for offset in np.cumsum([block.stop - block.start for block in plan.blocks(shard, 1)])[:-1]]

    assert max(np.bincount(np.array(asked) // 200)) <= 8
    assert Plan((Group("file", 0, 240_000),), 24, 240, seed=3, block_rows=10_000).blocks(5, 1) == (Block(50_000, 60_000),)


def test_groups_follow_row_position_and_not_file_names(tmp_path: Path) -> None:
    """Files are named against their order; only labelled rows of the split count."""
    data = table(1000)
    scan = write(tmp_path / "t", data, [300, 620], group=128)
    found = plan_groups(scan, label="label", splits=("train", "validation"))
    bounds = [0, 128, 256, 300, 428, 556, 620, 748, 876, 1000]

    for split, groups in found.items():
        rows = np.array(usable(data, split))
        expected = [int(((rows >= start) & (rows < stop)).sum()) for start, stop in pairwise(bounds)]
        assert [group.rows for group in groups] == [count for count in expected if count]
    assert [Path(group.path).stem[-3:] for group in found["train"]] == [*["004"] * 3, *["003"] * 3, *["002"] * 3]


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    """Row groups whose positions overlap were not written in order of row_position."""
    shuffled = write(tmp_path / "t", table(300).take(np.random.default_rng(0).permutation(300)), [100], group=64)

    with pytest.raises(ContractError, match="row_position"):
        plan_groups(shuffled, label="label", splits=("train",))


def test_a_table_without_split_is_refused(tmp_path: Path) -> None:
    """The error names the missing columns."""
    scan = write(tmp_path / "t", table(50).drop_columns(["split"]), [], group=64)

    with pytest.raises(ContractError, match=r"without \['split'\]"):
        plan_groups(scan, label="label", splits=("train",))
