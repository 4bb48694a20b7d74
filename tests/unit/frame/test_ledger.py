"""The order of finished runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from finished_work import Night


def test_generations_keep_their_order_when_a_wall_clock_steps_back(tmp_path: Path) -> None:
    """A later generation stands in place of an earlier one, even where the machine that made it lives in the past."""
    night = Night(tmp_path)
    night.score("2020-01")
    night.score("2020-02")
    night.wall -= timedelta(days=365)
    night.score("2020-02", generation=1)
    night.score("2020-03")

    runs = night.work.ledger.runs({"verb": "score"})
    newest = night.work.ledger.newest("score", "tiny")

    assert [(run.key.window, run.key.generation) for run in runs] == [("2020-02", 0), ("2020-03", 0), ("2020-01", 0), ("2020-02", 1)]
    assert newest is not None
    assert newest.key.generation == 1
