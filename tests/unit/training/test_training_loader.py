from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_rows import SPEC, table, usable, write

from feature_store.scan import Scan
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.training.group_reader import GroupReader
from sparkml_ops.training.loader import Batch, Loader
from sparkml_ops.training.plan import Plan, plan_groups


def loader(scan: Scan, split: str = "train", *, rank: int = 0, size: int = 1, budget: int = 1 << 20, shuffle: bool = True) -> Loader:
    groups = plan_groups(scan, label="label", splits=(split,))[split]
    reader = GroupReader(SPEC, label="label", split=split, dtype="float64", budget=budget)
    return Loader(Plan(groups, 5, 64, 9, shuffle=shuffle, block_rows=70), reader, rank=rank, size=size)


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
    """The batches from step k on are those of the unbroken epoch."""
    whole = ids(list(loader(scan).batches(3)))

    assert all(ids(list(loader(scan).batches(3, first))) == whole[first:] for first in (0, 1, 7, len(whole) - 1, len(whole)))


def test_memory_for_row_groups_changes_nothing(scan: Scan) -> None:
    """With nothing kept, row groups are read again and give the same batches."""
    poor = loader(scan, budget=0)

    assert [ids(list(poor.batches(epoch))) for epoch in range(2)] == [ids(list(loader(scan).batches(epoch))) for epoch in range(2)]


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
