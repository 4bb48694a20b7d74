from __future__ import annotations

import errno
from contextlib import closing
from datetime import date
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training_rows import SPEC, table, usable, write

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import Snapshot
from feature_store.scan import Scan, plan_scan
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.training import dealing, group_reader
from sparkml_ops.training.group_reader import GroupReader
from sparkml_ops.training.loader import Batch, Loader
from sparkml_ops.training.plan import Plan, plan_groups
from sparkml_ops.training.weighting import RowWeights


def loader(
    scan: Scan,
    split: str = "train",
    *,
    rank: int = 0,
    size: int = 1,
    budget: int = 1 << 20,
    shuffle: bool = True,
    shape: tuple[int, int, int] = (5, 64, 70),
) -> Loader:
    """Of so many shards, rows of a batch and of a block."""
    groups = plan_groups(scan, label="label", splits=(split,))[split]
    reader = GroupReader(SPEC, label="label", split=split, dtype="float64")
    shards, batch, block = shape
    return Loader(Plan(groups, shards, batch, 9, shuffle=shuffle, block_rows=block), reader, rank=rank, size=size, budget=budget)


def ids(batches: list[Batch]) -> list[list[int]]:
    return [batch.position.tolist() for batch in batches]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", table(1501), [400, 900], group=200)


def test_an_epoch_holds_every_usable_row_once(scan: Scan) -> None:
    """Rows of other splits and rows without a label are left out."""
    found = sorted(row for batch in ids(list(loader(scan).batches(0))) for row in batch)

    assert found == usable(table(1501), "train")


def test_rows_carry_their_own_values(scan: Scan) -> None:
    """Numbers, categories and label of a position are those of the table's row."""
    data = table(1501)
    expected = Encoder(SPEC).encode(data)
    for batch in loader(scan).batches(2):
        rows = batch.position.numpy()
        np.testing.assert_array_equal(batch.numeric.numpy(), expected.numeric[rows])
        np.testing.assert_array_equal(batch.categories.numpy(), expected.categories[rows])
        np.testing.assert_array_equal(batch.label.numpy(), data.column("label").to_numpy()[rows])


@pytest.mark.parametrize("size", [2, 3, 7])
def test_workers_share_each_global_batch(scan: Scan, size: int) -> None:
    """Together they hold the rows of one worker's batch; a worker without a shard has empty parts."""
    whole = ids(list(loader(scan).batches(1)))
    parts = [list(loader(scan, rank=rank, size=size).batches(1)) for rank in range(size)]

    assert [sorted(row for part in parts for row in part[step].position.tolist()) for step in range(len(whole))] == [sorted(batch) for batch in whole]
    assert {batch.rows for part in parts for batch in part[:-1]} == {64}


def test_an_epoch_goes_on_from_any_step(scan: Scan) -> None:
    """The batches from step k on are those of the unbroken epoch, and lie in memory alike, on which the last bit of a sum may depend."""
    whole = ids(list(loader(scan).batches(3)))
    rest = {first: list(loader(scan).batches(3, first)) for first in (0, 1, 7, len(whole) - 1, len(whole))}

    assert all(ids(batches) == whole[first:] for first, batches in rest.items())
    assert all(batch.numeric.is_contiguous() for batch in rest[1])
    assert {tensor.data_ptr() % 64 for batches in rest.values() for batch in batches for tensor in (batch.numeric, batch.label, batch.weight)} == {0}


@pytest.mark.parametrize("together", [1, 16_384])
@pytest.mark.parametrize(("rank", "size"), [(0, 1), (1, 3)])
def test_memory_for_rows_changes_nothing(scan: Scan, monkeypatch: pytest.MonkeyPatch, rank: int, size: int, together: int) -> None:
    """With nothing kept, row groups are read again, some pages at a time, and give the same batches; also from inside an epoch on."""
    monkeypatch.setattr(group_reader, "_PAGES_ROWS", 37)
    monkeypatch.setattr(dealing, "_ROWS", together)
    poor, rich = (loader(scan, rank=rank, size=size, budget=budget) for budget in (0, 1 << 20))

    for epoch, first in ((0, 0), (1, 0), (2, 5), (0, 1)):
        found, expected = (list(each.batches(epoch, first)) for each in (poor, rich))
        assert ids(found) == ids(expected)
        assert all(torch.equal(mine.numeric, other.numeric) for mine, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("shape", [(3, 700, 20), (7, 10, 3), (40, 33, 11), (2, 5000, 1000)])
def test_blocks_and_batches_of_any_size_are_dealt(scan: Scan, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int]) -> None:
    """Rows of many blocks in one step, of one block in many, and shards with fewer rows than a block, from places that are used again."""
    monkeypatch.setattr(dealing, "_ROWS", 90)
    reading = loader(scan, budget=0, shape=shape)
    expected = usable(table(1501), "train")
    plan = reading.plan

    for epoch in (0, 1):
        rows = [[block.start + int(row) for block in plan.blocks(shard, epoch) for row in plan.order(block, epoch)] for shard in range(plan.shards)]
        found = list(reading.batches(epoch))
        for step, batch in enumerate(found):
            dealt = [row for shard in range(plan.shards) for row in rows[shard][plan.dealt(shard, step) : plan.dealt(shard, step + 1)]]
            assert batch.position.tolist() == [expected[row] for row in dealt]
            assert batch.shards == tuple((shard, plan.quota(shard, step)) for shard in range(plan.shards) if plan.quota(shard, step))
        assert len(found) == plan.steps


def test_rows_that_fit_are_decoded_once(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first epoch was left in its midst. Of more rows only the places where shards begin are decoded twice."""
    decoded: list[int] = []
    for name in ("read", "pages"):
        plain = getattr(GroupReader, name)
        monkeypatch.setattr(GroupReader, name, lambda self, group, plain=plain: decoded.append(group.index) or plain(self, group))
    rich, poor = loader(scan), loader(scan, budget=0)
    with closing(rich.batches(0)) as batches:
        next(batches)
    for epoch in range(3):
        assert len(list(rich.batches(epoch))) == rich.plan.steps
    assert len(decoded) == len(rich.plan.groups)
    decoded.clear()
    list(poor.batches(0))
    # Each of the 5 shards begins inside a row group, and its epoch inside another one.
    assert len(decoded) <= len(poor.plan.groups) + 2 * 5


def test_the_cut_into_files_changes_nothing(scan: Scan, tmp_path: Path) -> None:
    """The same rows in other files and row groups are trained on in the same order."""
    other = write(tmp_path / "t", table(1501), [1200], group=333)

    assert ids(list(loader(other).batches(1))) == ids(list(loader(scan).batches(1)))


def test_validation_rows_keep_their_order(scan: Scan) -> None:
    """Without shuffling each shard runs through its rows."""
    found = list(loader(scan, "validation", shuffle=False).batches(0))
    first = [row for batch in found for row in batch.position[: batch.shards[0][1]].tolist()]

    assert first == usable(table(1501), "validation")[: len(first)]


def test_a_reader_that_stops_early_ends_its_thread(scan: Scan) -> None:
    """Closing the batches is enough."""
    batches = loader(scan).batches(0)
    next(batches)
    batches.close()

    assert next(batches, None) is None


def test_a_fault_of_the_reading_thread_reaches_the_caller(scan: Scan, tmp_path: Path) -> None:
    """A file that vanished is an error, not a silent end."""
    gone = write(tmp_path / "t", table(300), [], group=50)
    reading = loader(gone)
    for file in gone.files:
        Path(file.path).unlink()

    with pytest.raises(FileNotFoundError):
        list(reading.batches(0))


def test_a_mount_that_maps_no_files_is_read(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FUSE mounts with direct access are: mapping is an error of the system, reading is none."""
    plain = pq.ParquetFile

    def mount(source: str, *, memory_map: bool = False, **options: object) -> pq.ParquetFile:
        if memory_map:
            raise OSError(errno.ENODEV, "Memory mapping file failed")
        return plain(source, **options)

    monkeypatch.setattr(pq, "ParquetFile", mount)

    assert sorted(row for batch in ids(list(loader(scan).batches(0))) for row in batch) == usable(table(1501), "train")


STORED = ModelSpec(
    "linear",
    (
        NumericInput("x", "double", 0.0, 0.0, 1.0, indicator=True),
        NumericInput("day", "date", 1.0, 15000.0, 9.0, indicator=True),
        NumericInput("part_double", "double", 0.5, 0.0, 3.0, indicator=True),
        NumericInput("part_bool", "boolean", 0.5, 0.0, 3.0, indicator=True),
    ),
    (CategoricalInput("part_text", "string", ("b", "c d")), CategoricalInput("part_int", "int", ("3", "12"))),
)
PARTS: dict[str, list[object]] = {
    "day": [date(2013, 7, 1), None, date(2013, 7, 1), date(2013, 8, 2)],
    "part_double": [0.1, 1e-30, None, -5.0],
    "part_bool": [True, False, None, False],
    "part_text": ["b", None, "c d", "e=%2F/ü"],
    "part_int": [3, 12, None, 4],
    "split": ["train", "train", "validation", "train"],
    "label": [1, 0, 1, None],
    "sample_weight": [0.5, 2.0, 1.0, 1.0],
}


def test_partition_columns_come_from_the_log(tmp_path: Path) -> None:
    """Features, split, label and weight that no file holds have the values and types of the table, null included."""
    plain = table(800).drop_columns(["split", "label", "c", "n"])
    types = {"day": pa.date32(), "part_int": pa.int32(), "label": pa.int32()}
    parts = {name: pa.array([value for value in values for _ in range(200)], types.get(name)) for name, values in PARTS.items()}
    data = pa.table({**{name: plain.column(name) for name in plain.column_names}, **parts})
    deltalake.write_deltalake(str(tmp_path / "rows"), data, partition_by=list(PARTS))
    scan = plan_scan(Tables(lambda: None, Warehouse(root=str(tmp_path))), Snapshot("rows", 0))  # type: ignore[arg-type]
    assert scan is not None
    groups = plan_groups(scan, label="label", splits=("train", "validation"))
    reader = GroupReader(STORED, label="label", split="train", dtype="float64", weights=RowWeights(True, (1.0, 3.0)))

    found = list(Loader(Plan(groups["train"], 3, 64, 9, block_rows=50), reader, rank=0, size=1, budget=0).batches(0))

    assert [group.rows for group in groups["validation"]] == [200]
    expected = Encoder(STORED).encode(data)
    assert sorted(row for batch in ids(found) for row in batch) == list(range(400))
    for batch in found:
        rows = batch.position.numpy()
        np.testing.assert_array_equal(batch.numeric.numpy(), expected.numeric[rows])
        np.testing.assert_array_equal(batch.categories.numpy(), expected.categories[rows])
        np.testing.assert_array_equal(batch.label.numpy(), (rows < 200).astype(float))
        np.testing.assert_array_equal(batch.weight.numpy(), np.where(rows < 200, 1.5, 2.0))
