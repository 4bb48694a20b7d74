"""One retraining at a time: leases taken, refused, taken over and given up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import psutil
import pytest
from pyspark.sql import SparkSession

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops.errors import RetryableError
from sparkml_ops.retraining import lease as module
from sparkml_ops.retraining.lease import Lease, give_up, in_flight, leases, take

WALL = datetime(2026, 1, 1, 12, tzinfo=UTC)
AS_OF = datetime(2013, 11, 1, tzinfo=UTC)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Tables of a folder: a lease needs no session."""

    def session() -> SparkSession:
        raise AssertionError("a lease started Spark")

    return Tables(session, Warehouse(root=str(tmp_path / "warehouse")))


def never(key: str) -> bool:
    return False


def taken(tables: Tables, key: str, reason: str = "because", finished: Callable[[str], bool] = never) -> Lease:
    return take(tables, "flights", key, {"reason": reason}, as_of=AS_OF, wall=WALL, length=timedelta(hours=6), finished=finished)


def foreign(tables: Tables, of: Lease, host: str, pid: int, born: float) -> None:
    """The same lease as another process would have written it."""
    assert module._append(tables, replace(of, number=of.number + 1, host=host, pid=pid, born=born))


def test_a_lease_holds_until_its_run_is_in_the_ledger(tables: Tables) -> None:
    """Who looks sees it in flight; its own work does not see itself; a finished run holds nothing."""
    mine = taken(tables, "a")
    held = leases(tables, "flights")

    assert held == (mine,)
    assert mine.mine
    assert in_flight(held, never, "b", WALL) == mine
    assert in_flight(held, never, "a", WALL) is None
    assert in_flight(held, lambda key: key == "a", "b", WALL) is None
    assert leases(tables, "others") == ()


def test_a_dead_process_holds_nothing_and_its_work_goes_on_by_its_decision(tables: Tables) -> None:
    """Its end is seen on this machine; the same work takes the lease over, with the decision of before."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        born = psutil.Process(child.pid).create_time()
        foreign(tables, taken(tables, "a", "the first reason"), module._self()[0], child.pid, born)
        with pytest.raises(RetryableError, match=f"process {child.pid}"):
            taken(tables, "a")
    held = leases(tables, "flights")

    assert in_flight(held, never, "b", WALL) is None
    assert taken(tables, "a", "another reason").decision == {"reason": "the first reason"}


def test_a_process_elsewhere_is_believed_until_its_lease_runs_out(tables: Tables) -> None:
    """Nobody can look into another machine."""
    foreign(tables, taken(tables, "a"), "elsewhere", 1, 0.0)
    held = leases(tables, "flights")

    assert in_flight(held, never, "b", WALL + timedelta(hours=5)) is not None
    assert in_flight(held, never, "b", WALL + timedelta(hours=6)) is None


def test_work_that_failed_gives_its_lease_up(tables: Tables) -> None:
    """The process lives on, as a notebook does, and blocks nobody."""
    give_up(tables, taken(tables, "a"), WALL)

    assert in_flight(leases(tables, "flights"), never, "b", WALL) is None


def test_another_training_is_seen_when_the_lease_is_taken(tables: Tables) -> None:
    """A driver that looked before the other one began is told then; what finished or was given up holds nobody."""
    first = taken(tables, "a")

    with pytest.raises(RetryableError, match=f"a in training in process {first.pid}"):
        taken(tables, "b")
    assert leases(tables, "flights") == (first,)
    assert taken(tables, "b", finished=lambda key: key == "a").number == 2


def test_of_two_at_once_one_gets_it(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a lease is a transaction: the second to write it is told to come again, also when others came after."""
    before = leases(tables, "flights")
    first = taken(tables, "a")
    give_up(tables, first, WALL)
    with monkeypatch.context() as blind:
        looks = [before]
        blind.setattr(module, "leases", lambda *given: looks.pop() if looks else leases(*given))
        with pytest.raises(RetryableError, match="took the lease first"):
            taken(tables, "b")
    give_up(tables, first, WALL)

    assert [lease.number for lease in leases(tables, "flights")] == [1, 2]


def test_of_many_drivers_that_race_one_holds_a_lease(tables: Tables) -> None:
    """Each with its own window, all at the same moment, on the real table; who lost comes again, and too early."""
    drivers = 6
    for number in range(3):
        start = Barrier(drivers)

        def drive(key: str, start: Barrier = start) -> Lease | None:
            start.wait()
            for _ in range(2):
                with suppress(RetryableError):
                    return taken(tables, key)
            return None

        with ThreadPoolExecutor(drivers) as pool:
            got = [lease for lease in pool.map(drive, [f"{number}-{driver}" for driver in range(drivers)]) if lease]

        newest = {lease.key: lease for lease in leases(tables, "flights")}
        assert len(got) == 1
        assert [lease for lease in newest.values() if lease.alive(WALL)] == got
        give_up(tables, got[0], WALL)
