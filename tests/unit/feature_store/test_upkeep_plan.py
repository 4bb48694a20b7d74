"""What is due, read from logs and folders alone: no test here starts Spark."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import deltalake
import pyarrow as pa
import pytest
from pyspark.sql.types import LongType, StructField, StructType

from feature_store.delta import TableFiles, Tables, table_names
from feature_store.errors import ContractError, TableNotFound
from feature_store.health import health
from feature_store.maintenance import Maintenance, Policy
from feature_store.names import Warehouse

SCHEMA = StructType([StructField("id", LongType())])
WEEK = timedelta(days=7)


def no_session() -> NoReturn:
    raise AssertionError("Spark was asked for")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """A warehouse with a ledger of nine commits, a training set's table of nine files, and a folder of something else."""
    made = Tables(no_session, Warehouse(root=str(tmp_path)))
    for number in range(9):
        made.add("runs", SCHEMA, [{"id": number}])
        made.add("training_set_late_0f", SCHEMA, [{"id": number}])
    (tmp_path / "notes").mkdir()
    return made


def test_small_files_are_merged_when_there_are_many(tables: Tables) -> None:
    """Nine of them in one partition; a training set's own table is left alone, whatever it holds."""
    runs, training_set = Maintenance(tables).plan()

    assert table_names(tables) == ("runs", "training_set_late_0f") == (runs.table, training_set.table)
    assert [(step.kind, step.files) for step in runs.steps] == [("compact", 9)]
    assert training_set.steps == ()
    assert training_set.note
    assert Maintenance(tables).plan(["runs"], Policy(few=10))[0].steps == ()
    assert Maintenance(tables).plan(["runs"], Policy(leave=("runs",)))[0].steps == ()
    with pytest.raises(TableNotFound, match="`walks`"):
        Maintenance(tables).plan(["walks"])


def test_partitions_are_not_merged_with_each_other(tmp_path: Path) -> None:
    """Nine files in nine partitions are as few as there can be."""
    rows = pa.table({"id": list(range(9)), "window": [f"2013-{month:02}" for month in range(1, 10)]})
    deltalake.write_deltalake(str(tmp_path / "scores"), rows, partition_by=["window"])
    tables = Tables(no_session, Warehouse(root=str(tmp_path)))

    assert Maintenance(tables).plan(["scores"])[0].steps == ()
    for _ in range(7):
        deltalake.write_deltalake(str(tmp_path / "scores"), rows.slice(0, 1), mode="append")
    assert [(step.kind, step.files) for step in Maintenance(tables).plan(["scores"])[0].steps] == [("compact", 8)]


def test_health_is_what_the_log_says(tables: Tables, tmp_path: Path) -> None:
    """Rows, files and bytes as they lie there; commits since the last checkpoint; files that nothing needs."""
    found = health(tables, "runs")
    files = list((tmp_path / "runs").glob("*.parquet"))

    assert (found.version, found.rows, found.files, found.small_files, found.small_share) == (9, 9, 9, 9, 1.0)
    assert found.bytes == sum(path.stat().st_size for path in files)
    assert (found.commits_since_checkpoint, found.removable_files, found.format, found.deletion_vectors) == (10, 0, 1, 0)
    deltalake.DeltaTable(str(tmp_path / "runs")).create_checkpoint()
    assert health(tables, "runs").commits_since_checkpoint == 0
    deltalake.DeltaTable(str(tmp_path / "runs")).delete("id < 4")
    assert health(tables, "runs").removable_files == 0
    assert len(TableFiles(tables, "runs").removable(timedelta(0))) == 4
    stray = tmp_path / "runs" / "part-of-a-killed-write.parquet"
    stray.write_bytes(b"PAR1")
    os.utime(stray, (0, 0))
    assert health(tables, "runs").removable_files == 1


def test_a_version_is_lost_with_its_files_or_its_log(tables: Tables, tmp_path: Path) -> None:
    """Files of the newest version are not looked for: no retention takes them."""
    table = deltalake.DeltaTable(str(tmp_path / "runs"))
    before = set(TableFiles(tables, "runs").paths(9))
    table.delete("id = 0")
    assert [TableFiles(tables, "runs").lost(version) for version in (9, 10)] == [False, False]

    (left,) = before - set(TableFiles(tables, "runs").paths(10))
    (tmp_path / "runs" / left).unlink()
    assert [TableFiles(tables, "runs").lost(version) for version in (9, 10)] == [True, False]
    table.create_checkpoint()
    (tmp_path / "runs" / "_delta_log" / f"{0:020}.json").unlink()
    assert TableFiles(tables, "runs").lost(3)


def test_a_pinned_file_is_found_whatever_its_partition_is_called(tmp_path: Path) -> None:
    """Folder names are escaped, and escaped once more in the log: a version's files and those of a vacuum are told in one spelling."""
    rows = pa.table({"id": [1, 2, 3], "part": ["2013-07-14T05:00", "a b%c", "\u00e9"]})
    for _ in range(2):
        deltalake.write_deltalake(str(tmp_path / "scores"), rows, partition_by=["part"], mode="overwrite")
    files = TableFiles(Tables(no_session, Warehouse(root=str(tmp_path))), "scores")

    assert files.removable(timedelta(0)) == files.paths(0)
    assert not files.lost(0)
    assert {file.path for file in files.live} == files.paths(1)
    assert len(files.sizes(files.paths(0) | files.paths(1))) == 6


@pytest.mark.parametrize(("asked", "kept"), [("interval 2 weeks", True), ("interval 3 hours", False), ("for a while", True)])
def test_a_table_that_asks_to_keep_its_files_longer_does(tables: Tables, tmp_path: Path, asked: str, kept: bool) -> None:
    """Its owner knows who reads old versions; a length that cannot be read is as long as can be."""
    table = deltalake.DeltaTable(str(tmp_path / "runs"))
    table.alter.set_table_properties({"delta.deletedFileRetentionDuration": asked}, raise_if_not_exists=False)
    stray, age = tmp_path / "runs" / "part-of-a-killed-write.parquet", timedelta(days=10)
    stray.write_bytes(b"PAR1")
    os.utime(stray, (stray.stat().st_mtime - age.total_seconds(),) * 2)

    due = Maintenance(tables).plan(["runs"])[0]

    assert [(step.kind, step.files) for step in due.steps] == [("compact", 9), *([] if kept else [("vacuum", 1)])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"retain": timedelta(days=6)}, "a retention of 6 days.*7 days or more"),
        ({"retain": timedelta(seconds=-1), "short": True}, "a retention of"),
        ({"small": 2, "target": 1}, "0 < small <= target"),
        ({"few": 1}, "few of 2 or more"),
    ],
)
def test_a_policy_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    """A short retention must be said twice."""
    with pytest.raises(ContractError, match=message):
        Policy(**changes)
    assert Policy(retain=timedelta(0), short=True).retain < WEEK
