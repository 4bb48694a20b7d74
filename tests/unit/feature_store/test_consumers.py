"""Who uses what the store keeps."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pytest
from known_features import no_session

from feature_store.consumers import CONSUMERS, Consumer, Consumers
from feature_store.delta import Tables
from feature_store.names import Warehouse

FIRST = Consumer("model", "late", "1", {"training_set_late_0a": 0, "delays": 3})
NINTH, TENTH = (Consumer("model", "late", version, {"planes": None}) for version in ("9", "10"))


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Of an empty warehouse; no session may start."""
    return Tables(no_session, Warehouse(root=str(tmp_path)))


def test_what_was_recorded_is_there_once(tables: Tables) -> None:
    """Another object reads it as it was; the same again, alone or beside a new one, adds nothing of its own."""
    Consumers(tables).record(TENTH, FIRST, TENTH)
    versions = [tables.newest(CONSUMERS).version]
    for again in ((FIRST,), (TENTH, FIRST), (FIRST, NINTH), ()):
        Consumers(tables).record(*again)
        versions.append(tables.newest(CONSUMERS).version)

    assert Consumers(tables).all() == (FIRST, NINTH, TENTH)
    assert [after - versions[0] for after in versions] == [0, 0, 0, 1, 1]


def test_a_version_is_found_by_each_of_its_inputs(tables: Tables) -> None:
    """By table, a training set's own among them; by none that it does not have."""
    known = Consumers(tables)
    known.record(FIRST, NINTH)

    assert known.of(["delays"]) == known.of(["training_set_late_0a", "delays"]) == (FIRST,)
    assert known.of(["planes", "delays"]) == (FIRST, NINTH)
    assert known.of(["late", "model:late:1"]) == known.of([]) == ()


def test_a_warehouse_without_consumers_has_none(tables: Tables) -> None:
    """And looking makes no table."""
    assert Consumers(tables).all() == ()
    assert not tables.exists(CONSUMERS)


def test_drivers_that_record_the_same_beside_others_leave_it_once(tables: Tables) -> None:
    """Two drivers that looked before either had written: both rows are there, it counts once."""
    Consumers(tables).record(FIRST)
    place = tables.location(CONSUMERS)
    deltalake.write_deltalake(place, deltalake.DeltaTable(place).to_pyarrow_table(), mode="append")

    assert len(tables.rows(CONSUMERS)) == 2
    assert Consumers(tables).all() == (FIRST,)
