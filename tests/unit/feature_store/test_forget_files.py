"""What a file tells of an entity, without Spark: rows, statistics, paths, conditions, notes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import feature_store as fs
from feature_store.delta.folder import CHECKPOINT, DATA, LOG, OTHER, LeftFile, committed_since, left_files
from feature_store.erasure.decode import Sought, inspect, mentions
from feature_store.erasure.entity import Entity
from sparkml_ops.cli.forget import keys_of

ONE = Sought(((("customer", "col-1f"),),), ("17",))
PAIR = Sought(((("origin",), ("carrier",)),), ("EWR", "UA"))
LONG = "a-very-long-customer-name-of-more-than-32-letters"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"add": {"path": "p", "size": 17, "stats": '{"numRecords":17,"minValues":{"customer":"17"}}'}}, True),
        ({"add": {"stats": '{"maxValues":{"customer":17}}'}}, True),
        ({"add": {"stats": '{"maxValues":{"customer":170},"nullCount":{"customer":17}}'}}, False),
        ({"add": {"stats": '{"maxValues":{"customer":170,"other":17}}'}}, False),
        ({"add": {"stats_parsed": {"minValues": {"col-1f": 17}}}}, True),
        ({"remove": {"path": "customer=17/part-0.parquet"}}, True),
        ({"remove": {"path": "customer=170/part-17.parquet"}}, False),
        ({"add": {"partitionValues": [("customer", "17")]}}, True),
        ({"commitInfo": {"operationParameters": {"predicate": '["(customer#12L = 17)"]'}}}, True),
        ({"commitInfo": {"operationParameters": {"predicate": '["(customer#17 = 12)"]'}}}, False),
        ({"commitInfo": {"userMetadata": json.dumps({"details": {"customer": "17"}})}}, True),
        ({"commitInfo": {"timestamp": 17, "readVersion": 17, "operation": "17"}}, False),
    ],
)
def test_an_entry_of_a_log(entry: dict[str, object], told: bool) -> None:
    """A number that stands everywhere in a log tells of the entity beside its column alone."""
    assert mentions(entry, ONE) is told


def test_bounds_of_a_pair_are_an_entitys_where_they_agree() -> None:
    """The least origin and the least carrier may be of different rows."""
    both = {"origin": "EWR", "carrier": "UA"}
    assert mentions({"add": {"stats": json.dumps({"minValues": both, "maxValues": both})}}, PAIR)
    assert not mentions({"add": {"stats": json.dumps({"minValues": both, "maxValues": {**both, "origin": "JFK"}})}}, PAIR)
    assert mentions({"add": {"path": "origin=EWR/carrier=UA/p.parquet"}}, PAIR)
    assert not mentions({"add": {"path": "origin=EWR/carrier=AA/p.parquet"}}, PAIR)


def test_a_long_text_is_found_in_bounds_that_are_cut_and_alone() -> None:
    """Delta keeps 32 characters of a text; a text that is like nothing else needs no column."""
    sought = Sought(((("customer",),),), (LONG,))
    assert mentions({"add": {"stats": json.dumps({"maxValues": {"customer": LONG[:32] + "\x7f"}})}}, sought)
    assert not mentions({"add": {"stats": json.dumps({"maxValues": {"customer": LONG[:31] + "z"}})}}, sought)
    assert mentions({"commitInfo": {"note": f"wrote {LONG}."}}, sought)


def test_every_row_is_decoded(tmp_path: Path) -> None:
    """Integers and text, nulls, a file without the column, a value in the folder's name, several row groups."""
    table = pa.table({"customer": pa.array([1, None, 17, 17] * 50, pa.int64()), "other": ["17"] * 200})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=64)
    pq.write_table(table.select(["other"]), tmp_path / "b.parquet")
    pq.write_table(pa.table({"origin": ["EWR", "EWR", None], "carrier": ["AA", "UA", "UA"]}), tmp_path / "c.parquet")

    def found(name: str, sought: Sought, folder: str = "") -> tuple[int, int]:
        return inspect(str(tmp_path / name), f"{folder}{name}", DATA, sought)

    assert found("a.parquet", ONE) == (200, 100)
    assert found("b.parquet", ONE) == (200, 0)
    assert found("b.parquet", ONE, "customer=17/")[1] > 0
    assert found("c.parquet", PAIR) == (3, 1)
    pq.write_table(pa.table({"carrier": ["AA", "UA", "UA"]}), tmp_path / "d.parquet")
    assert [found("d.parquet", PAIR, folder) for folder in ("origin=EWR/", "origin=JFK/", "")] == [(3, 2), (3, 0), (3, 0)]
    assert found("c.parquet", Sought(((("carrier",),), (("origin",),)), ("EWR",))) == (3, 2)


def test_logs_checkpoints_and_the_rest(tmp_path: Path) -> None:
    """Each kind is read in its own way."""
    (tmp_path / "0.json").write_text('{"txn":{"appId":"x"}}\n{"add":{"stats":"{\\"minValues\\":{\\"customer\\":\\"17\\"}}"}}\n')
    pq.write_table(pa.table({"add": [{"path": "p", "stats": '{"minValues":{"customer":"17"}}'}, None]}), tmp_path / "0.checkpoint.parquet")
    (tmp_path / "vector.bin").write_bytes(b"\x00customer=17\x00")
    assert inspect(str(tmp_path / "0.json"), "0.json", LOG, ONE) == (2, 1)
    assert inspect(str(tmp_path / "0.checkpoint.parquet"), "0.checkpoint.parquet", CHECKPOINT, ONE) == (2, 1)
    assert inspect(str(tmp_path / "vector.bin"), "vector.bin", OTHER, ONE) == (0, 1)


def test_files_by_kind_and_what_commits_speak_of(tmp_path: Path) -> None:
    """A young file that no young commit names is a writer's."""
    log = tmp_path / "_delta_log"
    for name in ("part-a.parquet", "k=a b/part-b.parquet", "_change_data/cdc-c.parquet", "_delta_log/00000000000000000000.crc", "vector.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    actions = [{"add": {"path": "k=a%20b/part-b.parquet"}}, {"cdc": {"path": "_change_data/cdc-c.parquet"}}, {"commitInfo": {}}]
    (log / "00000000000000000000.json").write_text("\n".join(map(json.dumps, actions)))
    files = left_files(str(tmp_path))
    assert {file.name: file.kind for file in files} == {
        "part-a.parquet": "data",
        "k=a b/part-b.parquet": "data",
        "_change_data/cdc-c.parquet": "change",
        "_delta_log/00000000000000000000.crc": "log",
        "_delta_log/00000000000000000000.json": "log",
        "vector.bin": "other",
    }
    hour = timedelta(hours=1)
    assert committed_since(files, datetime.now(UTC) - hour) == {"k=a b/part-b.parquet", "_change_data/cdc-c.parquet"}
    assert committed_since(files, datetime.now(UTC) + hour) == frozenset()
    assert all(isinstance(file, LeftFile) and file.modified > datetime.now(UTC) - hour for file in files)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "no key to forget"),
        ({"customer": None}, "found null as `customer`"),
        ({"customer": ""}, "found an empty text as `customer`"),
        ({"customer": 1.5}, "a value of type float as `customer`"),
        ({"customer": True}, "a value of type bool as `customer`"),
    ],
)
def test_what_is_no_entity_is_refused(keys: dict[str, object], message: str) -> None:
    """Before Spark starts, and without the value."""
    with pytest.raises(fs.ContractError, match=message):
        Entity.of(keys)


def test_an_entity_is_one_and_is_shown_nowhere() -> None:
    """17 and "17" are the same; values do not run together; neither repr shows one."""
    assert Entity.of({"customer": 17}) == Entity.of({"customer": "17"})
    assert Entity.of({"a": "1", "b": "x"}).digest(b"s") != Entity.of({"a": "1", "b": "x"}).digest(b"t")
    assert LONG not in repr(Entity.of({"customer": LONG})) + repr(Sought(((("customer",),),), (LONG,)))
    with pytest.raises(Exception, match="column=value"):
        keys_of(["customer"], "--key")
