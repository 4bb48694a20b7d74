from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from training_rows import SPEC, Killed, Mortal, ThreadGroup, table, task, usable, write

from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.launch.local import LocalCommunicator
from sparkml_ops.training.loop import NotFiniteError, Trainer

SETTINGS: dict[str, Any] = {"workers": 1, "epochs": 3, "batch_size": 100, "shards": 6, "dtype": "float64", "optimizer": {"lr": 0.02}}


STEPS = 7  # of an epoch


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", table(1001), [400], group=150)


def settings(**changes: Any) -> TrainingSection:
    return TrainingSection(**{**SETTINGS, **changes})


def run(scan: Scan, folder: Path, size: int = 1, **changes: Any) -> Progress:
    results = ThreadGroup(size).run(task(scan, Storage(str(folder)), settings(**changes)))
    assert results[1:] == [None] * (size - 1)
    return Progress.from_json(results[0])


def state(folder: Path, progress: Progress) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(Storage(str(folder)).read(f"training/test/checkpoints/{progress.name}/state.safetensors"))


def losses(progress: Progress) -> list[tuple[float, float | None]]:
    return [(epoch.train_loss, epoch.validation_loss) for epoch in progress.history]


def context(communicator: LocalCommunicator) -> RankContext:
    return RankContext(communicator=communicator, attempt=0, publish=lambda _: None)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_result_does_not_depend_on_the_number_of_workers(scan: Scan, tmp_path: Path, size: int) -> None:
    """Dropout included; the seventh of seven workers has no shard and so no rows."""
    one, several = run(scan, tmp_path / "one"), run(scan, tmp_path / "several", size)

    np.testing.assert_allclose(np.array(losses(several)), np.array(losses(one)), rtol=1e-10)
    weights, expected = state(tmp_path / "several", several), state(tmp_path / "one", one)
    assert all(torch.allclose(weights[name], value, rtol=1e-8, atol=1e-10) for name, value in expected.items() if name != "rng")


def test_a_batch_larger_than_the_data_and_more_workers_than_row_groups(tmp_path: Path) -> None:
    """One step an epoch, shared by workers of whom each reads a part of the one row group."""
    single = write(tmp_path / "rows", table(1001), [], group=2000)
    changes = {"batch_size": 100_000, "shards": 8}
    one, several = run(single, tmp_path / "one", **changes), run(single, tmp_path / "several", 5, **changes)

    np.testing.assert_allclose(np.array(losses(several)), np.array(losses(one)), rtol=1e-12)
    weights, expected = state(tmp_path / "several", several), state(tmp_path / "one", one)
    assert all(torch.allclose(weights[name], value, rtol=1e-10, atol=1e-12) for name, value in expected.items() if name != "rng")


def test_the_same_seed_gives_the_same_bits(scan: Scan, tmp_path: Path) -> None:
    """And another seed gives others."""
    first, again, other = run(scan, tmp_path / "a"), run(scan, tmp_path / "b"), run(scan, tmp_path / "c", seed=8)

    assert losses(first) == losses(again) != losses(other)
    assert all(torch.equal(value, state(tmp_path / "b", again)[name]) for name, value in state(tmp_path / "a", first).items())


@pytest.mark.parametrize(("steps", "every"), [(3, 2), (8, 2), (14, 0), (15, 3)])
def test_a_killed_run_ends_where_the_unbroken_run_ends(scan: Scan, tmp_path: Path, steps: int, every: int) -> None:
    """To the last bit of weights, optimiser and losses, wherever it was killed; only the steps since the last checkpoint are done again."""
    unbroken = run(scan, tmp_path / "unbroken", checkpoint_every=every)
    broken = task(scan, Storage(str(tmp_path / "broken")), settings(checkpoint_every=every))
    with pytest.raises(Killed):
        Trainer(broken, context(Mortal(steps))).fit()
    again = Mortal()
    resumed = Trainer(broken, context(again)).fit()

    epochs, inside = divmod(steps, STEPS)
    assert again.steps == 3 * STEPS - (epochs * STEPS + (inside // every * every if every else 0))
    assert losses(resumed) == losses(unbroken)
    expected, found = state(tmp_path / "unbroken", unbroken), state(tmp_path / "broken", resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("cut", [0, 100, None], ids=["nothing left", "cut off", "a bit flipped"])
def test_a_run_with_a_torn_checkpoint_goes_on_from_the_one_before(scan: Scan, tmp_path: Path, cut: int | None) -> None:
    """And ends where the unbroken one ends; who asks for the torn one itself is told."""
    unbroken = run(scan, tmp_path / "unbroken", checkpoint_every=2)
    broken = task(scan, Storage(str(tmp_path / "broken")), settings(checkpoint_every=2))
    with pytest.raises(Killed):
        Trainer(broken, context(Mortal(8))).fit()
    checkpoints = Checkpoints(broken.storage, broken.folder)
    newest = checkpoints.newest()
    assert newest is not None
    shard = tmp_path / "broken" / broken.folder / newest.name / "state.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if cut is None else whole[:cut])

    with pytest.raises(ContractError, match="as it was published"):
        checkpoints.weights(newest)
    resumed = Trainer(broken, context(again := Mortal())).fit()
    assert again.steps > 3 * STEPS - 8  # the steps since the torn one once more
    assert losses(resumed) == losses(unbroken)
    expected, found = state(tmp_path / "unbroken", unbroken), state(tmp_path / "broken", resumed)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_goes_on_with_another_number_of_workers(scan: Scan, tmp_path: Path) -> None:
    """Killed on one, resumed on three: the same but for float summation order, from the epoch on in which it was killed."""
    unbroken = run(scan, tmp_path / "unbroken", checkpoint_every=2)
    broken = task(scan, Storage(str(tmp_path / "broken")), settings(checkpoint_every=2))
    with pytest.raises(Killed):
        Trainer(broken, context(Mortal(11))).fit()
    group = ThreadGroup(3)
    resumed = Progress.from_json(group.run(broken)[0])

    assert [report["epoch"] for report in group.reports if report["kind"] == "epoch"] == [1, 2]
    np.testing.assert_allclose(np.array(losses(resumed)), np.array(losses(unbroken)), rtol=1e-10)


def test_a_finished_run_is_not_trained_again(scan: Scan, tmp_path: Path) -> None:
    """Launched again it says where it ended."""
    done = run(scan, tmp_path / "a")

    assert Trainer(task(scan, Storage(str(tmp_path / "a")), settings()), context(Mortal(0))).fit() == done


def test_one_step_is_the_step_of_plain_torch(scan: Scan, tmp_path: Path) -> None:
    """A whole epoch as one batch of three workers equals AdamW on the mean loss of all rows."""
    spec = ModelSpec("mlp", SPEC.numeric, SPEC.categorical, SPEC.hidden, 0.0)
    rows = table(1001).take(usable(table(1001), "train"))
    encoded = Encoder(spec).encode(rows)
    network = build(spec, 7, torch.float64)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=1e-4)
    logits = network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories))
    labels = torch.from_numpy(rows.column("label").to_numpy().astype("float64"))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    loss.backward()
    optimizer.step()
    ours = task(scan, Storage(str(tmp_path)), settings(batch_size=10_000, epochs=1), spec)
    progress = Progress.from_json(ThreadGroup(3).run(ours)[0])
    found = Checkpoints(ours.storage, ours.folder).weights(progress)

    assert progress.history[0].train_loss == pytest.approx(loss.item(), rel=1e-12)
    assert all(torch.allclose(found[name], value, rtol=1e-9, atol=1e-12) for name, value in network.state_dict().items())


def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    """On every rank at once; the error names step, last checkpoint and, on the rank that has it, the row."""
    data = table(1001)
    place = usable(data, "train")[300]
    broken = data.set_column(0, "x", pa.array([float("inf") if row == place else 0.0 for row in range(1001)]))
    ours = task(write(tmp_path / "t", broken, [], group=500), Storage(str(tmp_path / "s")), settings(shards=3))

    with pytest.raises(NotFiniteError, match=r"step \d of epoch 0; .*last checkpoint is none yet"):
        ThreadGroup(3).run(ours)
    with pytest.raises(NotFiniteError, match=rf"of \d+ rows on this rank .*: `x` by inf at row_position {place}, `n` by \d"):
        ThreadGroup(1).run(ours)


def test_training_ends_when_validation_no_longer_gets_better(scan: Scan, tmp_path: Path) -> None:
    """All ranks stop after the same epoch, and the best epoch's checkpoint is still there."""
    done = run(scan, tmp_path, 2, epochs=40, patience=2, optimizer={"lr": 0.1, "schedule": "constant"})
    best = min(done.history, key=lambda epoch: epoch.validation_loss or 0.0)

    assert len(done.history) == best.epoch + 3 < 40
    assert Checkpoints(Storage(str(tmp_path)), "training/test/checkpoints").weights(Progress(best.epoch + 1))


def test_bfloat16_keeps_weights_in_float32(scan: Scan, tmp_path: Path) -> None:
    """Products are short, sums are not; it learns as float32 does, within its precision."""
    short, plain = run(scan, tmp_path / "short", dtype="bfloat16"), run(scan, tmp_path / "plain", dtype="float32")

    assert {value.dtype for name, value in state(tmp_path / "short", short).items() if name.startswith("model.")} == {torch.float32}
    np.testing.assert_allclose(np.array(losses(short)), np.array(losses(plain)), rtol=0.02)
    assert losses(short) != losses(plain)


def test_each_epoch_is_reported_once_by_one_rank(scan: Scan, tmp_path: Path) -> None:
    """The driver sees losses, speed and where the time went."""
    reports: list[dict[str, Any]] = []
    Trainer(task(scan, Storage(str(tmp_path)), settings()), RankContext(communicator=LocalCommunicator(), attempt=0, publish=reports.append)).fit()
    epochs = [report for report in reports if report["kind"] == "epoch"]

    assert [report["epoch"] for report in epochs] == [0, 1, 2]
    assert all(
        report["rows_per_second"] > 0 and report["compute_seconds"] > 0 and report["peak_memory_mib"] > 100 and 0 < report["validation_auc"] < 1
        for report in epochs
    )
