"""Rows of our own small tables, added without Spark."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any, NoReturn

import deltalake
import pytest
from pyspark.sql.types import IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from feature_store.errors import ContractError
from feature_store.names import Warehouse

SCHEMA = StructType([StructField("id", IntegerType(), nullable=False), StructField("name", StringType()), StructField("at", TimestampType())])
AT = datetime(2020, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def no_session() -> NoReturn:
    raise AssertionError("Spark was asked for")


def tables(folder: Path) -> Tables:
    return Tables(no_session, Warehouse(root=str(folder)))


def row(number: int) -> dict[str, Any]:
    return {"id": number, "name": None, "at": AT}


def test_rows_come_back_as_they_were_with_the_writer_s_note(tmp_path: Path) -> None:
    """One commit holds them all; its details are found again."""
    here = tables(tmp_path)
    commit = here.add("events", SCHEMA, [row(1), row(2) | {"name": "b"}], details={"kind": "test"})

    assert sorted(here.rows("events"), key=lambda found: found["id"]) == [row(1), row(2) | {"name": "b"}]
    assert commit.fresh
    assert here.details("events") == type(commit)(commit.snapshot, {"kind": "test"}, fresh=False)
    assert here.add("events", SCHEMA, [row(3)]).snapshot.version == commit.snapshot.version + 1
    assert here.columns("events") == {"id": "int", "name": "string", "at": "timestamp"}


def test_a_transaction_lands_once(tmp_path: Path) -> None:
    """Its repeat writes nothing and returns what landed; an older one than the last is refused."""
    here = tables(tmp_path)
    first = here.add("events", SCHEMA, [row(1)], transaction=Transaction("a", 3), details={"made": 1})
    again = tables(tmp_path).add("events", SCHEMA, [row(2)], transaction=Transaction("a", 3))

    assert (first.fresh, again.fresh) == (True, False)
    assert (again.snapshot, again.details) == (first.snapshot, {"made": 1})
    assert here.rows("events") == [row(1)]
    with pytest.raises(ContractError, match="use a higher generation"):
        here.add("events", SCHEMA, [row(2)], transaction=Transaction("a", 2))


def test_a_commit_is_what_spark_would_have_made(tmp_path: Path) -> None:
    """The note and the transaction stand in the log where Delta on Spark puts and seeks them."""
    tables(tmp_path).add("events", SCHEMA, [row(1)], transaction=Transaction("a", 3))
    actions = [json.loads(line) for line in (tmp_path / "events" / "_delta_log" / f"{1:020}.json").read_text().splitlines()]
    found = {name: action[name] for action in actions for name in action}

    assert (found["txn"]["appId"], found["txn"]["version"]) == ("a", 3)
    assert json.loads(found["commitInfo"]["userMetadata"])["transaction"] == ["a", 3]


@pytest.mark.parametrize("apps", [("a", "a"), ("a", "b")], ids=["one", "two"])
def test_writers_at_once(apps: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the same version when they commit: of one transaction one lands, of two both do."""
    tables(tmp_path).ensure("events", SCHEMA)
    meeting, write = Barrier(2, timeout=60), deltalake.write_deltalake

    def at_once(*words: Any, **options: Any) -> None:
        meeting.wait()
        write(*words, **options)

    monkeypatch.setattr(deltalake, "write_deltalake", at_once)
    with ThreadPoolExecutor(2) as pool:
        commits = list(
            pool.map(lambda number: tables(tmp_path).add("events", SCHEMA, [row(number)], transaction=Transaction(apps[number])), range(2))
        )

    landed = len(set(apps))
    assert sum(commit.fresh for commit in commits) == landed
    assert len(tables(tmp_path).rows("events")) == landed
    assert len({commit.snapshot.version for commit in commits}) == landed
