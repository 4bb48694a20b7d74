"""Sites: rows that stay where they are at home, and federated averaging against one plain model a site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score
from training_rows import SPEC, ThreadGroup, table, usable

from feature_store.records import Snapshot
from feature_store.scan import Scan, ScanFile
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.network import build
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.group_reader import GroupReader
from sparkml_ops.training.job import plans_of
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.loader import Loader
from sparkml_ops.training.loop import NotFiniteError, Trainer, TrainingTask
from sparkml_ops.training.optimizer import SGD, AdamW
from sparkml_ops.training.plan import Group, Plan, plan_groups
from sparkml_ops.training.sites import SitePlan, deal, settle

PLAIN = replace(SPEC, dropout=0.0)
SITES = {"south": 60, "east": 25, "north": 110}
RANKS = ("north", "south", "east")  # the largest first
EPOCHS = 2
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "lr": 0.2, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"},
    "adamw": {"lr": 0.02, "weight_decay": 0.1, "schedule": "constant"},
}


def rows() -> pa.Table:
    """The rows of all sites, one site after the other, and where each is at home."""
    data = table(sum(SITES.values()), seed=4)
    return data.append_column("clinic", pa.array(np.repeat(list(SITES), list(SITES.values()))))


def by_site(folder: Path) -> Scan:
    """The same as files of one site each, as a training set of sites is laid out: the site stands in the log alone."""
    data, files = rows(), []
    for site in SITES:
        path = folder / f"clinic={site}" / "part-000.parquet"
        path.parent.mkdir(parents=True)
        own = data.filter(pa.compute.equal(data.column("clinic"), site)).drop_columns(["clinic"])
        pq.write_table(own, path, row_group_size=20)
        files.append(ScanFile(str(path), own.num_rows, path.stat().st_size, {"clinic": site}))
    return Scan(Snapshot("training_set_sites", 0), data.schema, tuple(sorted(files, key=lambda file: file.path)))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return by_site(tmp_path_factory.mktemp("rows"))


def told(folder: Path, scan: Scan, *, every: int = 10_000, kind: str = "sgd", **changes: Any) -> TrainingTask:
    """A federated training, a site on each rank."""
    values = {"epochs": EPOCHS, "workers": 3, "batch_size": 24, "shards": 7, "dtype": "float64", "optimizer": OPTIMIZERS[kind], **changes}
    section = TrainingSection(**values, sites=True, collectives={"local_steps": every})
    groups = plan_groups(scan, label="label", splits=("train", "validation"))
    return TrainingTask(PLAIN, plans_of(groups, section), section, Storage(str(folder)), "training/test/checkpoints")


def trained(ours: TrainingTask) -> tuple[dict[str, torch.Tensor], Progress]:
    progress = Progress.from_json(ThreadGroup(3).run(ours)[0])
    return Checkpoints(ours.storage, ours.folder).weights(progress), progress


def loader(plan: Plan, rank: int, size: int = 3, budget: int = 0) -> Loader:
    return Loader(plan, GroupReader(PLAIN, label="label", split="train", dtype="float64"), rank=rank, size=size, budget=budget)


def federated(plan: Plan, kind: str, every: int) -> dict[str, torch.Tensor]:
    """The reference: a model for each site, a bare loop over the site's rows of the whole table, means by rows.

    Only the order of a site's rows is the loader's.
    """
    data = rows()
    encoded, labels, homes = Encoder(PLAIN).encode(data), data.column("label").to_numpy(), np.array(data.column("clinic").to_pylist())
    models = {site: build(PLAIN, 7, torch.float64) for site in RANKS}
    options = {name: value for name, value in OPTIMIZERS[kind].items() if name in ("lr", "momentum", "weight_decay")}
    optimizers = {site: (SGD if kind == "sgd" else AdamW)(model.parameters(), **options) for site, model in models.items()}
    loaders = {site: loader(plan, rank) for rank, site in enumerate(RANKS)}
    for epoch in range(EPOCHS):
        orders = {site: [batch.position.numpy() for batch in found.batches(epoch)] for site, found in loaders.items()}
        seen = dict.fromkeys(RANKS, 0)
        steps = max(map(len, orders.values()))
        for step in range(steps):
            for site, model in models.items():
                places = orders[site][step]
                assert set(homes[places]) <= {site}
                if len(places):
                    optimizers[site].zero_grad()
                    numeric, categories = torch.from_numpy(encoded.numeric[places]), torch.from_numpy(encoded.categories[places])
                    target = torch.from_numpy(labels[places].astype(np.float64))
                    torch.nn.functional.binary_cross_entropy_with_logits(model(numeric, categories), target).backward()
                    optimizers[site].step()
                    seen[site] += len(places)
            if (step + 1) % every == 0 or step + 1 == steps:
                average(models, optimizers, seen)
                seen = dict.fromkeys(RANKS, 0)
    return models[RANKS[0]].state_dict()


@torch.no_grad()
def average(models: Mapping[str, Any], optimizers: Mapping[str, torch.optim.Optimizer], seen: Mapping[str, int]) -> None:
    """Weights and moments become their mean over sites, weighted by the rows that each has seen."""
    for weights in zip(*(model.parameters() for model in models.values()), strict=True):
        states = [optimizer.state[weight] for optimizer, weight in zip(optimizers.values(), weights, strict=True)]
        names = sorted({name for state in states for name, value in state.items() if torch.is_tensor(value)})
        for tensors in [weights, *([state[name] for state in states] for name in names)]:
            mean = sum(rows * tensor.clone() for rows, tensor in zip(seen.values(), tensors, strict=True)) / sum(seen.values())
            for tensor in tensors:
                tensor.copy_(mean)


def close(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], tolerance: float = 1e-10) -> bool:
    return all(float((found[name] - value).abs().max()) <= tolerance for name, value in expected.items())


@pytest.mark.parametrize(
    ("kind", "every"),
    [pytest.param("sgd", 10_000, id="federated averaging, a round an epoch"), pytest.param("adamw", 2, id="every second step, moments too")],
)
def test_training_by_site_is_federated_averaging(scan: Scan, tmp_path: Path, kind: str, every: int) -> None:
    """One model a site, each on its own rows alone; a site that has no rows left waits for the others."""
    ours = told(tmp_path, scan, every=every, kind=kind)

    found, progress = trained(ours)

    assert close(found, federated(ours.plans["train"], kind, every))
    model, data = build(PLAIN, 7, torch.float64), rows()
    model.load_state_dict(found)
    held = usable(data, "validation")
    encoded = Encoder(PLAIN).encode(data)
    with torch.inference_mode():
        logits = model(torch.from_numpy(encoded.numeric[held]), torch.from_numpy(encoded.categories[held]))
    scores, label = torch.sigmoid(logits).numpy(), data.column("label").to_numpy()[held]
    last = progress.history[-1]
    # Of all sites' rows together, each judged where it is.
    assert (last.validation_loss, last.validation_auc) == pytest.approx((log_loss(label, scores), roc_auc_score(label, scores)), abs=1e-12)


def test_a_rank_reads_the_row_groups_of_its_sites_and_no_other(scan: Scan, tmp_path: Path) -> None:
    """In training, in validation and when it goes on from a checkpoint."""
    ours = told(tmp_path, scan, every=2, checkpoint_every=4)
    read: dict[int, list[str]] = {rank: [] for rank in range(3)}

    def noted(context: RankContext, read_group: Callable[[Group], Any], group: Group) -> Any:
        read[context.rank].append(group.path)
        return read_group(group)

    def work(context: RankContext) -> None:
        trainer = Trainer(ours, context)
        for found in trainer.loaders.values():
            reader = found._reader
            reader.read = partial(noted, context, reader.read)  # type: ignore[method-assign]
        trainer.fit()

    ThreadGroup(3).run(work)

    assert {rank: {Path(path).parent.name for path in paths} for rank, paths in read.items()} == {
        rank: {f"clinic={site}"} for rank, site in enumerate(RANKS)
    }
    for rank, site in enumerate(RANKS):
        used = [group for plan in ours.plans.values() for group in plan.groups if f"clinic={site}" in group.path]
        assert sorted(read[rank]) == sorted(group.path for group in used), "each once for each split: rows stay in memory"


@pytest.mark.parametrize("budget", [0, 1 << 20])
def test_a_rank_needs_no_file_of_another_site(tmp_path: Path, budget: int) -> None:
    """Streamed or kept in memory: it reads all of its own rows where the others' files are not even there."""
    scan, data = by_site(tmp_path), rows()
    plan = told(tmp_path, scan, batch_size=9).plans["train"]
    homes, train = np.array(data.column("clinic").to_pylist()), usable(data, "train")
    for rank, site in reversed(list(enumerate(RANKS))):
        for file in scan.files:
            if file.partition["clinic"] != site:
                Path(file.path).rename(f"{file.path}.away")
        batches = list(loader(plan, rank, budget=budget).batches(1))
        for file in scan.files:
            if file.partition["clinic"] != site:
                Path(f"{file.path}.away").rename(file.path)

        own = [row for row in train if homes[row] == site]
        assert sorted(row for batch in batches for row in batch.position.tolist()) == own
        assert [len(batch.position) for batch in batches] == [max(0, min(3, len(own) - 3 * step)) for step in range(plan.steps)]
        with closing(loader(plan, rank, budget=budget).batches(1, first=5)) as rest:
            assert [batch.position.tolist() for batch in rest] == [batch.position.tolist() for batch in batches[5:]]


splits = st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.integers(1, 40), min_size=1, max_size=3), min_size=1)


@settings(max_examples=60, deadline=None)
@given(splits, st.integers(1, 7), st.integers(7, 11), st.integers(1, 5), st.integers(1, 30))
def test_a_plan_by_site_holds_each_row_once_on_its_own_rank(sites: dict[str, list[int]], workers: int, shards: int, each: int, block: int) -> None:
    """Shards of a rank cut its rows, and batches take as many of each rank."""
    workers = min(workers, len(sites))
    groups = tuple(
        Group(site, index, count, (("site", site, pa.string()),)) for site, counts in sorted(sites.items()) for index, count in enumerate(counts)
    )
    plan = settle({"train": Plan(groups, shards, each * workers, 3, block_rows=block)}, workers)["train"]
    assert isinstance(plan, SitePlan)
    dealt = deal({site: sum(counts) for site, counts in sites.items()}, workers)

    for rank, own in enumerate(dealt):
        taken: list[int] = []
        for shard in plan.shards_of(rank, workers):
            order = [start.start + int(row) for start in plan.blocks(shard, 2) for row in plan.order(start, 2)]
            taken += order
            assert plan.most(range(shard, shard + 1), 3) >= max(plan.dealt(shard, step + 3) - plan.dealt(shard, step) for step in range(plan.steps))
            assert {piece.group.path for start in plan.blocks(shard, 2) for piece in plan.pieces(start)} <= set(own)
        first, held = sum(plan.ranks[:rank]), sum(sum(sites[site]) for site in own)
        assert sorted(taken) == list(range(first, first + held))
        quotas = plan.quotas(plan.shards_of(rank, workers), range(plan.steps))
        assert quotas.tolist() == [[plan.quota(shard, step) for step in range(plan.steps)] for shard in plan.shards_of(rank, workers)]
        assert quotas.sum(axis=0).tolist() == [max(0, min(each, held - each * step)) for step in range(plan.steps)]
    assert sum(plan.batch_rows(step) for step in range(plan.steps)) == plan.rows


def test_sites_are_dealt_by_rows() -> None:
    """The largest first, each to the rank with the fewest; one that has none to train on is judged somewhere too."""
    assert deal({"a": 5, "b": 5, "c": 8, "d": 0}, 2) == (("c", "d"), ("a", "b"))


@pytest.mark.parametrize(
    ("constants", "workers", "found"),
    [
        ((), 1, r"a file that is not of one site; .* declare training_set.site"),
        ((("site", "a", pa.string()), ("day", "1", pa.string())), 1, "a file that is not of one site"),
        ((("site", "a", pa.string()),), 2, "2 workers for 1 sites with rows to train on; .* set training.workers to 1 or fewer"),
    ],
)
def test_rows_that_cannot_stay_at_home_are_refused(constants: Any, workers: int, found: str) -> None:
    """Before any worker starts."""
    with pytest.raises(ContractError, match=found):
        settle({"train": Plan((Group("file", 0, 9, constants),), 4, 4, 1)}, workers)


def test_a_plan_is_of_as_many_workers_as_it_was_made_for() -> None:
    """With others, rows would have to leave their sites."""
    plan = SitePlan((Group("file", 0, 9),), 4, 4, 1, ranks=(5, 4))

    with pytest.raises(ContractError, match="3 workers for rows that were dealt to 2"):
        loader(plan, 0, 3)


def test_an_error_tells_no_value_of_a_site(scan: Scan, tmp_path: Path) -> None:
    """Without sites it names the rows that are farthest out, and by how much."""
    ours = told(tmp_path, scan, optimizer={**OPTIMIZERS["sgd"], "lr": 1e308})

    with pytest.raises(NotFiniteError, match=r"in step \d+ of epoch 0; of \d+ rows of its sites; ") as raised:
        trained(ours)

    assert "row_position" not in str(raised.value)
