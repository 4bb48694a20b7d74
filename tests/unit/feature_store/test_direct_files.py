"""Which files of a table hold a stretch of time, which ones came, and which can be read without Delta: from its log, without Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_store.delta import Tables
from feature_store.delta.direct import Files
from feature_store.delta.log import ERASED, FORMAT
from feature_store.errors import ContractError
from feature_store.names import Warehouse
from feature_store.records import Snapshot

START = datetime(2024, 3, 2, tzinfo=UTC)
DAY = 86_400 * 1_000_000


class SparkAskedForError(Exception):
    """A session was needed."""


def _no_spark() -> NoReturn:
    raise SparkAskedForError


def write(root: Path, *days: float, **options: Any) -> None:
    """A file with a row for each of some days after the start, and one without a time."""
    times = [START + timedelta(days=day) for day in days]
    rows = pa.table({"k": ["a"] * (len(days) + 1), "at": pa.array([*times, None], pa.timestamp("us", "UTC"))})
    deltalake.write_deltalake(str(root / "raw"), rows, **{"mode": "append", **options})


def configure(root: Path, settings: dict[str, str]) -> None:
    """Properties as the log has them, those too that the library would not set."""
    log = root / "raw" / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        action.get("metaData", {}).get("configuration", {}).update(settings)
    log.write_text("\n".join(map(json.dumps, actions)))


def files(root: Path, version: int) -> Files:
    return Files(Tables(_no_spark, Warehouse(root=str(root))), Snapshot("raw", version))


def micros(day: float) -> int:
    return int(START.timestamp()) * 1_000_000 + round(day * DAY)


def test_a_stretch_is_looked_for_where_it_may_lie(tmp_path: Path) -> None:
    """By what the files hold, read back: no row of the stretch lies in another file, and a file of another time is not named."""
    for days in ((0.0, 1.5), (1.0, 3.0000000001), (5.0,), (9.0, 9.25)):
        write(tmp_path, *days)
    pinned = files(tmp_path, 3)
    every = {unquote(path).rsplit("/", 1)[-1] for path in deltalake.DeltaTable(str(tmp_path / "raw")).file_uris()}
    held = {path: pc.min_max(pq.read_table(tmp_path / "raw" / path)["at"].cast(pa.int64()).drop_null()).as_py() for path in every}

    for start, end in ((0.0, 1.0), (1.0, 1.25), (3.0000000001, 4.0), (1.500000001, 4.9), (6.0, 8.9), (-5.0, 50.0)):
        first, last = micros(start), micros(end)
        wanted = {path for path, found in held.items() if found["min"] < last and found["max"] >= first}
        loosely = {path for path, found in held.items() if found["min"] < last and found["max"] >= first - 1_000}
        assert wanted <= (pinned.near("at", first, last) or frozenset()) <= loosely

    newest = pinned.added_since(2)
    assert newest is not None
    first, last = pinned.span(newest, "at") or (0, 0)
    assert (first, last) == (micros(9.0), micros(9.25) + 1_000)
    assert pinned.span(frozenset(["gone.parquet"]), "at") is None
    assert pinned.near("k", 0, 1) == every  # text tells no time
    assert pinned.near("elsewhere", 0, 1) is None


@pytest.mark.parametrize(
    ("change", "came"),
    [
        (lambda log: log.optimize.compact(), 2),
        (lambda log: log.delete("k = 'a'"), None),
        (lambda log: log.alter.set_table_properties({"delta.appendOnly": "false"}), None),
    ],
)
def test_rows_that_came_are_told_from_other_changes(change: Callable[[deltalake.DeltaTable], object], came: int | None, tmp_path: Path) -> None:
    """A compaction changes no row; what took rows away or changed the table is not read as files that came."""
    write(tmp_path, 0.0)
    write(tmp_path, 1.0)
    change(deltalake.DeltaTable(str(tmp_path / "raw")))
    write(tmp_path, 2.0)
    found = files(tmp_path, 3).added_since(0)

    assert (found if found is None else len(found)) == came
    assert files(tmp_path, 3).added_since(2) == {path.name for path in (tmp_path / "raw").glob("*.parquet")} - _before(tmp_path)


def _before(root: Path) -> set[str]:
    """Files that versions up to the second held."""
    logs = (deltalake.DeltaTable(str(root / "raw"), version=version) for version in range(3))
    return {unquote(uri).rsplit("/", 1)[-1] for log in logs for uri in log.file_uris()}


@pytest.mark.parametrize(
    ("folder", "options", "settings", "plain"),
    [
        ("here", {}, {}, True),
        ("with space % and ü", {}, {}, True),
        ("{a,b}", {}, {}, False),
        ("here", {"partition_by": ["k"]}, {}, False),
        ("here", {}, {ERASED: "now"}, False),
        ("here", {}, {"delta.columnMapping.mode": "name"}, False),
        ("here", {}, {"delta.enableDeletionVectors": "true"}, False),
    ],
)
def test_only_plain_files_are_read_without_delta(folder: str, options: dict[str, Any], settings: dict[str, str], plain: bool, tmp_path: Path) -> None:
    """What a feature of Delta's says of the rows in a file, Spark's reader of Parquet does not know."""
    root = tmp_path / folder
    root.mkdir()
    write(root, 0.0, **options)
    configure(root, settings)
    pinned = files(root, 0)
    paths = pinned.near("at", micros(-1), micros(1))
    assert paths is not None
    if plain:
        with pytest.raises(SparkAskedForError):
            pinned.rows(paths)
    else:
        assert pinned.rows(paths) is None


def test_many_files_and_newer_formats_are_left_to_delta(tmp_path: Path) -> None:
    """Spark lists more files by a job; a table of a newer format is refused as everywhere."""
    write(tmp_path, 0.0)
    configure(tmp_path, {FORMAT: "99"})
    pinned = files(tmp_path, 0)

    assert pinned.rows(frozenset(f"{number}.parquet" for number in range(33))) is None
    assert pinned.rows(frozenset()) is None
    with pytest.raises(ContractError, match="format 99"):
        pinned.rows(frozenset(["0.parquet"]))
