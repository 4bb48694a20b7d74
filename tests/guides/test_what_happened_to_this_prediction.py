"""The guide "what happened to this prediction?", block by block, on the project of the night before."""

from __future__ import annotations

import pytest
from night_shell import Night, guide

GUIDE, BLOCKS = guide("what_happened_to_this_prediction")

pytestmark = pytest.mark.timeout(900)


def test_each_block_tells_what_the_guide_says(night: Night) -> None:
    """In the order of the guide; after the rollback the window is what it was, and can be scored."""
    project = night.place.project(night.spark)
    before = project.predictions("2020-01", slot="champion").count()
    ended = {name: night.block(name, BLOCKS) for name in BLOCKS}

    assert {name: done.status for name, done in ended.items()} == dict.fromkeys(BLOCKS, 0), [done.errors for done in ended.values()]
    assert "2020-01" in ended["scored"].output
    assert "id=7 at 2020-01-01" in ended["explain"].output
    assert "from     customers version" in ended["explain"].output
    assert "  because  probability is" in ended["explain"].output
    assert "score: done" in ended["changed"].errors
    assert "probability" in ended["compare"].output
    assert [run.key.verb for run in project.runs()][-1] == "withdraw"
    assert project.predictions("2020-01", slot="champion").count() == before
    assert {run.key.generation for run in project.runs() if (run.key.verb, run.key.window, run.key.slot) == ("score", "2020-01", "champion")} == {
        0,
        1,
    }
