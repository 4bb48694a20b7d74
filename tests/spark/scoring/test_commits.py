"""One commit for each window, slot and generation, whoever comes at the same time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from scoring_rows import SETTINGS, good_rows, run, store_rows

from feature_store.delta import Commit, TableFiles, Tables
from sparkml_ops.errors import ContractError
from sparkml_ops.records import ScoredWindow
from sparkml_ops.scoring import predictions
from sparkml_ops.scoring.model import ScoringModel

TARGET, JULY, AUGUST = SETTINGS.target, "2013-07", "2013-08"


class Paused(Tables):
    """A driver that does something right before it replaces rows."""

    def __init__(self, tables: Tables, before: Callable[[], object]) -> None:
        super().__init__(tables.spark, tables.warehouse)
        self.before = before

    def replace(self, *args: Any, **options: Any) -> Commit:
        self.before()
        return super().replace(*args, **options)

    def place(self, *args: Any, **options: Any) -> Commit:
        self.before()
        return super().place(*args, **options)


def counts(tables: Tables) -> dict[tuple[str, str, str, int], int]:
    """Rows by window, slot, run and generation."""
    groups = predictions(tables, TARGET).groupBy("window", "slot", "run_id", "generation").count().collect()
    return {(row["window"], row["slot"], row["run_id"], row["generation"]): row["count"] for row in groups}


def both(first: Callable[[], ScoredWindow], second: Callable[[], ScoredWindow]) -> list[ScoredWindow]:
    with ThreadPoolExecutor(2) as pool:
        return [future.result(timeout=500) for future in [pool.submit(first), pool.submit(second)]]


def test_a_new_generation_rewrites_its_window_and_slot_alone(tables: Tables, model: ScoringModel) -> None:
    """Other windows and slots keep their rows; an older generation is refused afterwards."""
    july, august = store_rows(tables, good_rows(12), JULY), store_rows(tables, good_rows(5, AUGUST), AUGUST)
    run(tables, model, july, window=JULY)
    run(tables, model, august, window=AUGUST, slot="shadow")
    fewer = store_rows(tables, good_rows(7), JULY, generation=2)

    again = run(tables, model, fewer, window=JULY, generation=2, run_id="r2")

    assert again.rows == 7
    assert counts(tables) == {(JULY, "champion", "r2", 2): 7, (AUGUST, "shadow", "r1", 0): 5}
    with pytest.raises(ContractError, match=r"generation 2 .* score with --generation next"):
        run(tables, model, july, window=JULY, generation=1)


# The commit of the rows, in a new table: the files' engine makes that one beforehand.
FIRST = {"files": 1, "arrow": 0}


@pytest.mark.parametrize("engine", FIRST)
def test_two_drivers_on_one_window_make_one_commit(tables: Tables, model: ScoringModel, engine: str) -> None:
    """Both come to the commit at the same moment: one lands, the other returns its record."""
    snapshot, barrier = store_rows(tables, good_rows(12)), Barrier(2, timeout=400)
    first, second = (Paused(tables, barrier.wait) for _ in range(2))

    records = both(lambda: run(first, model, snapshot, run_id="a", engine=engine), lambda: run(second, model, snapshot, run_id="b", engine=engine))

    assert records[0] == records[1]
    assert list(counts(tables).values()) == [12]
    assert tables.newest(TARGET) == records[0].snapshot
    assert records[0].snapshot.version == FIRST[engine]
    assert len(list(Path(tables.location(TARGET)).rglob("*.parquet"))) == len(TableFiles(tables, TARGET).live)


@pytest.mark.parametrize("engine", FIRST)
def test_drivers_on_different_windows_both_commit(tables: Tables, model: ScoringModel, engine: str) -> None:
    """They touch other partitions, so neither waits for the other or fails."""
    july, august = store_rows(tables, good_rows(12), JULY), store_rows(tables, good_rows(5, AUGUST), AUGUST)
    barrier = Barrier(2, timeout=400)
    first, second = (Paused(tables, barrier.wait) for _ in range(2))

    both(
        lambda: run(first, model, july, window=JULY, run_id="a", engine=engine),
        lambda: run(second, model, august, window=AUGUST, run_id="b", engine=engine),
    )

    assert counts(tables) == {(JULY, "champion", "a", 0): 12, (AUGUST, "champion", "b", 0): 5}
    assert tables.newest(TARGET).version == FIRST[engine] + 1


def test_the_slower_driver_says_already_done_but_not_for_another_project(tables: Tables, model: ScoringModel) -> None:
    """The faster one has committed and removed all staged rows of the key before the slower one commits; a model of another name is no repeat."""
    snapshot = store_rows(tables, good_rows(6))
    faster: list[ScoredWindow] = []
    slower = Paused(tables, lambda: faster.append(run(tables, model, snapshot, run_id="faster")))

    record = run(slower, model, snapshot, run_id="slower")

    assert record == faster[0]
    assert counts(tables) == {(JULY, "champion", "faster", 0): 6}
    assert model.published.storage.list("staging") == []

    # Two projects with one target would each think that the other's window was theirs.
    other = dataclasses.replace(model, record=dataclasses.replace(model.record, name="taxis"))
    with pytest.raises(ContractError, match=r"scored by the model `flights`; expected `taxis`; give each project a scoring.target of its own"):
        run(tables, other, snapshot)
