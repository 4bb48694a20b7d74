"""Files that tasks have written, on their way into a version: without Spark, against the library that reads the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql.types import LongType, StringType, StructField, StructType

from feature_store.delta import PlacedFile, Tables, Transaction, folder_of, refusal_of, remove_left
from feature_store.delta.commits import history
from feature_store.names import Warehouse

SCHEMA = StructType([StructField("id", LongType()), StructField("window", StringType()), StructField("slot", StringType())])
JULY, AUGUST = {"window": "2013-07", "slot": "champion"}, {"window": "2013-08", "slot": "champion"}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """A warehouse whose session nobody needs."""

    def none() -> Any:
        raise AssertionError("a session was asked for")

    tables = Tables(none, Warehouse(root=str(tmp_path)))
    tables.ensure("scores", SCHEMA, partition_by=("window", "slot"))
    return tables


def placed(tables: Tables, name: str, here: dict[str, str], ids: list[int]) -> PlacedFile:
    """A file as a task leaves it."""
    path = Path(tables.location("scores"), folder_of(here), f"{name}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": ids}), path)
    return PlacedFile(path.relative_to(tables.location("scores")).as_posix(), path.stat().st_size, here, json.dumps({"numRecords": len(ids)}))


def ids(tables: Tables) -> dict[str, list[int]]:
    """Rows by window, as the library reads them."""
    found: dict[str, list[int]] = {}
    for row in tables.rows("scores"):
        found.setdefault(row["window"], []).append(row["id"])
    return {window: sorted(values) for window, values in found.items()}


def test_files_take_the_place_of_a_partition_once(tables: Tables) -> None:
    """The commit replaces its own partitions, carries the note, and a second one of the same transaction is none."""
    tables.place("scores", [placed(tables, "a", JULY, [1])], JULY, transaction=Transaction("july/0"))
    tables.place("scores", [placed(tables, "b", AUGUST, [2])], AUGUST, transaction=Transaction("august/0"))

    landed = tables.place("scores", [placed(tables, "c", JULY, [3, 4])], JULY, transaction=Transaction("july/1"), details={"rows": 2})
    again = tables.place("scores", [placed(tables, "d", JULY, [5])], JULY, transaction=Transaction("july/1"))

    assert ids(tables) == {"2013-07": [3, 4], "2013-08": [2]}
    assert (landed.fresh, again.fresh) == (True, False)
    assert again.details == landed.details == {"rows": 2}
    assert again.snapshot == landed.snapshot == tables.newest("scores")


def test_no_files_empty_a_partition(tables: Tables) -> None:
    """An empty window that is meant is a commit too."""
    tables.place("scores", [placed(tables, "a", JULY, [1])], JULY, transaction=Transaction("july/0"))

    emptied = tables.place("scores", [], JULY, transaction=Transaction("july/1"))

    assert ids(tables) == {}
    assert tables.landed("scores", Transaction("july/1")) == emptied.__class__(emptied.snapshot, {}, fresh=False)


def test_a_commit_in_between_is_looked_at_again(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that came after the version whose files are removed goes too: the library's own retry would let it stay."""
    late, real = [placed(tables, "late", JULY, [9])], deltalake.DeltaTable.create_write_transaction

    def interrupted(log: deltalake.DeltaTable, *arguments: Any, **options: Any) -> None:
        if late:
            tables.place("scores", [late.pop()], JULY, transaction=Transaction("july/0"))
        real(log, *arguments, **options)

    monkeypatch.setattr(deltalake.DeltaTable, "create_write_transaction", interrupted)
    tables.place("scores", [placed(tables, "mine", JULY, [1])], JULY, transaction=Transaction("july/1"))

    assert ids(tables) == {"2013-07": [1]}
    assert tables.newest("scores").version == 2


def test_versions_of_the_history_are_right_though_others_commit(tables: Tables) -> None:
    """The library counts them from the version that it loaded, and lists what came since: the newest commit would get the number before."""
    log = deltalake.DeltaTable(tables.location("scores"))
    tables.place("scores", [placed(tables, "a", JULY, [1])], JULY, transaction=Transaction("july/0"))

    assert [entry["version"] for entry in log.history(10)] == [0, -1]  # why `history` is there
    log = deltalake.DeltaTable(tables.location("scores"), version=0)
    assert [entry["version"] for entry in history(log, 10)] == [1, 0]


def test_what_attempts_left_goes_and_what_landed_stays(tables: Tables) -> None:
    """Only files of the mark, and none that the landed or the newest version needs."""
    kept = placed(tables, "mark-1-kept", JULY, [1])
    landed = tables.place("scores", [kept], JULY, transaction=Transaction("july/0"))
    placed(tables, "mark-1-left", JULY, [2])
    placed(tables, "mark-2-other", JULY, [3])

    remove_left(tables, "scores", folder_of(JULY), "mark-1-", version=landed.snapshot.version)

    names = {path.name for path in Path(tables.location("scores")).rglob("mark-*")}
    assert names == {"mark-1-kept.parquet", "mark-2-other.parquet"}


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("delta.constraints.positive", "id > 0", "it declares constraints (delta.constraints.positive)"),
        ("delta.appendOnly", "true", "it only takes additions"),
        ("delta.enableDeletionVectors", "true", "its protocol asks more of a reader than Parquet"),
    ],
)
def test_tables_that_ask_more_of_a_writer_are_left_to_spark(tables: Tables, setting: str, value: str, why: str) -> None:
    """The log says so, and the words go to plans and logs."""
    assert refusal_of(tables, "scores") == ""
    assert refusal_of(tables, "nothing_yet") == ""
    tables.ensure("strict", SCHEMA, properties={setting: value})
    assert refusal_of(tables, "strict") == why


def test_tables_of_a_catalog_are_left_to_spark() -> None:
    """How commits are kept apart there only Spark knows."""
    assert "no folder" in refusal_of(Tables(lambda: None, Warehouse(catalog="lake.scores")), "scores")  # type: ignore[arg-type, return-value]
