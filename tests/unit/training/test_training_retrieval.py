"""Two-tower trainings, held against plain torch and against themselves on other numbers of ranks; what cannot be trained is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from retrieval_rows import pairs, retrieval_task, spec_of
from torch.nn import functional
from training_rows import ThreadGroup, write

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.network import build
from sparkml_ops.storage import Storage
from sparkml_ops.training.catalogue import read, with_catalogue
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.in_batch import InBatchSoftmax, in_batch
from sparkml_ops.training.labels import LabelRule, judge
from sparkml_ops.training.loop import Trainer
from sparkml_ops.training.towers import divided

MODEL = {"kind": "two_tower", "item": ("kind", "price", "product"), "dimension": 6, "temperature": 0.2, "top": 5, "hidden": (8,), "dropout": 0.2}
SETTINGS: dict[str, Any] = {
    "workers": 1,
    "task": "retrieval",
    "label": "product",
    "epochs": 2,
    "batch_size": 100,
    "shards": 6,
    "dtype": "float64",
    "model": MODEL,
    "optimizer": {"lr": 0.02},
}
DATA = pairs(1001)


def settings(**changes: Any) -> TrainingSection:
    return TrainingSection(**{**SETTINGS, **changes})


def run(folder: Path, size: int, dropout: float, **changes: Any) -> tuple[Progress, dict[str, torch.Tensor]]:
    """A training on so many ranks: where it ended, and its weights with the vectors of its items."""
    spec, storage = spec_of(DATA, dropout), Storage(str(folder / f"s{size}"))
    scan = write(folder / f"t{size}", DATA, [400], group=150)
    ours = retrieval_task(scan, DATA, storage, settings(**changes), spec)
    progress = Progress.from_json(ThreadGroup(size).run(ours)[0])
    return progress, with_catalogue(spec, Checkpoints(storage, ours.folder).weights(progress), storage, ours.catalogue)


def by_rows(vectors: torch.Tensor, items: torch.Tensor, shares: torch.Tensor, temperature: float) -> torch.Tensor:
    """[rows] losses, each the logarithm of what torch's softmax gives to the rows of the right item."""
    losses = []
    for row in range(len(items)):
        logits = torch.stack([vectors[row, :6] @ vectors[other, 6:] / temperature - torch.log(shares[other]) for other in range(len(items))])
        losses.append(-torch.log(functional.softmax(logits, 0)[items == items[row]].sum()))
    return torch.stack(losses)


def test_the_loss_is_torch_s_row_by_row() -> None:
    """Popularity is taken off, the same item elsewhere in the batch is right too, and a row alone has nothing to learn from."""
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    items, shares = torch.randint(0, 9, (40,), generator=generator), torch.rand(40, generator=generator, dtype=torch.float64)
    found = in_batch(vectors, items, torch.log(shares), 0.3)

    assert torch.allclose(found, by_rows(vectors, items, shares, 0.3), rtol=1e-12, atol=1e-13)
    assert in_batch(vectors[:1], items[:1], torch.log(shares[:1]), 0.3).tolist() == [0.0]
    apart = in_batch(vectors[:5], torch.arange(5), torch.log(shares[:5]), 0.3)
    logits = vectors[:5, :6] @ vectors[:5, 6:].T / 0.3 - torch.log(shares[:5])
    assert torch.allclose(apart, functional.cross_entropy(logits, torch.arange(5), reduction="none"), rtol=1e-12, atol=0)


def test_the_best_scores_are_the_probabilities_that_rows_were_drawn_from() -> None:
    """Items that no query prefers: the slope is nothing where their softmax is their popularity, however often they meet themselves in a batch."""
    popularity = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03], dtype=torch.float64)
    items = torch.repeat_interleave(torch.arange(5), (100 * popularity).round().long())

    def slope(probabilities: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        scores = torch.log(probabilities).requires_grad_()
        vectors = torch.stack([torch.ones(100, dtype=torch.float64), scores[items]], 1)
        return torch.autograd.grad(in_batch(vectors, items, torch.log(shares[items]), 1.0).mean(), scores)[0]

    even = torch.full((5,), 0.2, dtype=torch.float64)
    assert slope(popularity, popularity).abs().max() < 1e-12
    assert slope(even, popularity).abs().max() > 0.1
    assert slope(popularity, even).abs().max() > 0.1  # without the correction


def test_weights_count_and_ranks_may_hold_any_rows() -> None:
    """Three ranks, one of them empty: their losses and gradients add up to those of one process, each row times its weight."""
    generator = torch.Generator().manual_seed(4)
    spec = spec_of(DATA)
    outputs = torch.randn(20, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 7, (20,), generator=generator).double()
    weight = torch.rand(20, generator=generator, dtype=torch.float64)
    shares = torch.tensor(spec.target.counts, dtype=torch.float64)[label.long()] / sum(spec.target.counts)
    expected = (weight * by_rows(outputs, label.long(), shares, 0.2)).sum()
    (slopes,) = torch.autograd.grad(expected, outputs)

    def work(context: Any) -> tuple[torch.Tensor, torch.Tensor]:
        mine = [slice(0, 13), slice(13, 13), slice(13, 20)][context.rank]
        own = outputs.detach()[mine].requires_grad_()
        whole, part = InBatchSoftmax(spec, context.communicator)(own, label[mine], weight[mine])
        assert torch.allclose(whole.detach(), expected.detach(), rtol=1e-12)
        return part, torch.autograd.grad(whole, own)[0]

    parts, gradients = zip(*ThreadGroup(3).run(work), strict=True)
    assert torch.allclose(torch.stack(parts).sum(), expected.detach(), rtol=1e-12)
    assert torch.allclose(torch.cat(gradients), slopes, rtol=1e-9, atol=1e-12)


def test_a_run_is_that_of_plain_torch(tmp_path: Path) -> None:
    """Two epochs of one batch each on three ranks: the weights of torch's own loss on all rows, and its optimiser."""
    progress, state = run(tmp_path, 3, 0.0, batch_size=10_000, optimizer={"lr": 0.02, "schedule": "constant"})
    spec, rows = spec_of(DATA), DATA.filter(pa.compute.equal(DATA["split"], "train"))
    encoded, network = Encoder(spec).encode(rows), build(spec, 7, torch.float64)
    items = torch.from_numpy(spec.target.values(rows.column("product"))).long()
    shares = torch.tensor(spec.target.counts, dtype=torch.float64)[items] / len(items)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=1e-4)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        vectors = network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories))
        logits = vectors[:, :6] @ vectors[:, 6:].T / 0.2 - torch.log(shares)
        loss = -torch.log((functional.softmax(logits, 1) * (items[:, None] == items)).sum(1)).mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()

    assert [epoch.train_loss for epoch in progress.history] == pytest.approx(losses, rel=1e-12)
    assert all(torch.allclose(state[name], value, rtol=1e-9, atol=1e-12) for name, value in network.state_dict().items())


def test_the_result_does_not_depend_on_the_number_of_ranks(tmp_path: Path) -> None:
    """Dropout, an uneven last batch and a seventh rank without rows included: each row sees the whole batch, wherever it lies."""
    expected, weights = run(tmp_path, 1, 0.2)
    for size in (2, 3, 7):
        found, state = run(tmp_path, size, 0.2)

        for mine, theirs in zip(found.history, expected.history, strict=True):
            assert (mine.train_loss, mine.validation_loss) == pytest.approx((theirs.train_loss, theirs.validation_loss), rel=1e-12)
            assert (mine.validation_auc, mine.validation_recall_at_10) == (None, theirs.validation_recall_at_10)
        assert all(torch.allclose(state[name], value, rtol=1e-8, atol=1e-12) for name, value in weights.items())


def test_taste_is_learned(tmp_path: Path) -> None:
    """Of thirty products the ten of a kind stand before the others for who likes it: far more than chance finds, on rows held out."""
    progress, state = run(tmp_path, 1, 0.0, epochs=12)
    first, last = progress.history[0], progress.history[-1]
    spec = spec_of(DATA)
    held = DATA.to_pandas().query("split == 'validation'")
    encoded, network = Encoder(spec).encode(held), build(spec, 7, torch.float64)
    network.load_state_dict({name: value for name, value in state.items() if name != "catalogue"})
    vectors = network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)).detach()
    logits = vectors[:, :6] @ state["catalogue"].T / 0.2
    true = torch.from_numpy(spec.target.values(pa.array(held["product"]))).long()

    assert last.validation_loss == pytest.approx(functional.cross_entropy(logits, true).item(), rel=1e-9)
    assert last.validation_recall_at_10 == pytest.approx((logits.argsort(1, descending=True)[:, :10] == true[:, None]).any(1).double().mean().item())
    assert last.validation_recall_at_10 is not None
    assert last.validation_recall_at_10 > 0.8
    assert last.train_loss < first.train_loss


def test_a_catalogue_of_other_items_is_refused(tmp_path: Path) -> None:
    """Before the first step."""
    spec, storage = spec_of(DATA), Storage(str(tmp_path / "s"))
    ours = retrieval_task(write(tmp_path / "t", DATA, [], group=150), DATA, storage, settings(), spec)
    with pytest.raises(ContractError, match="7 items in the catalogue; expected the"):
        read(spec, storage, ours.catalogue[:1])
    assert read(spec, storage, ours.catalogue).column("product").to_pylist() == list(spec.target.items)
    ThreadGroup(1).run(lambda context: Trainer(ours, context))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"model": {**MODEL, "item": ()}}, "training.model.item is empty"),
        ({"model": {**MODEL, "query": ("customer", "price")}}, "price in item and in query"),
        ({"model": {**MODEL, "query": ("customer", "product"), "item": ("price",)}}, "query with training.label .product.: the item would be known"),
        ({"model": {"hidden": (8,)}}, "task=retrieval with training.model.kind=mlp"),
        ({"task": "binary"}, "task=binary with training.model.kind=two_tower"),
        ({"model": {"kind": "mlp", "top": 3}, "task": "binary"}, "top has no meaning with kind mlp"),
        ({"batch_size": 1}, "batch_size=1 with task retrieval"),
        ({"accumulate": 2}, "accumulate=2 with task retrieval"),
        ({"collectives": {"local_steps": 2}}, "local_steps=2 with task retrieval"),
        ({"class_weights": "balanced"}, "class_weights=balanced has no meaning with task retrieval"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, Any], found: str) -> None:
    """Before Spark starts."""
    with pytest.raises(ValidationError, match=found):
        settings(**changes)


@pytest.mark.parametrize(
    ("features", "model", "found"),
    [
        (("customer", "kind", "price"), {}, r"\.item or \.query with \['product'\]; expected some of the features"),
        (("customer", "kind", "price", "product", "hour"), {"query": ("customer",)}, r"features \['hour'\] of neither query nor item"),
        (("kind", "price", "product"), {}, "no feature left for the query"),
    ],
)
def test_features_belong_to_one_side(features: tuple[str, ...], model: dict[str, Any], found: str) -> None:
    """A typing error or a forgotten column ends before any job starts."""
    with pytest.raises(ContractError, match=found):
        divided(features, settings(model={**MODEL, **model}))


def test_the_query_has_what_the_item_has_not() -> None:
    """Where only the item's features are listed; a label that is no feature takes no side."""
    found = divided(("hour", "price", "customer", "kind"), settings(model={**MODEL, "item": ("kind", "price")}))

    assert found is not None
    assert (found.query, found.temperature, found.normalised) == (("hour", "customer"), 0.2, True)


def counted(values: list[Any], type_: str = "string") -> Any:
    """Five rows of the train split, then of the evaluation."""
    rule, counts = LabelRule("retrieval", "product", type_), Counter[tuple[str, str | None, str | None]]()
    rule.count(pa.array(values, pa.string()), pa.array(["train"] * 5 + ["evaluation"] * (len(values) - 5)), counts)
    found: dict[str, list[tuple[str | None, str | None, int]]] = {"label": [], "class": []}
    for (kind, split, meaning), rows in counts.items():
        found[kind].append((split, meaning, rows))
    return judge(rule, found, None, settings())


def test_items_are_counted_on_the_train_split() -> None:
    """One that only other splits have is in the catalogue with no rows; whole numbers are ordered as such."""
    target, splits = counted(["10", "9", "10", "10", "9", "30", "10"], "bigint")

    assert (target.items, target.counts, target.type) == (("9", "10", "30"), (2, 3, 0), "bigint")
    assert (splits["train"].rows, splits["evaluation"].rows, target.dimension, target.top) == (5, 2, 6, 5)
    assert target.values(pa.array([30, 9])).tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["a", None, "b", None, "b", "a"], "2 labels that the task retrieval cannot have in `product`; expected an item in each row"),
        (["a", "a", "a", "a", "a", "b"], "2 items in `product`, 1 in the train split; expected at least 2"),
    ],
)
def test_items_that_cannot_be_learned_are_refused(values: list[Any], found: str) -> None:
    """Null ones, one alone: before any worker starts."""
    with pytest.raises(ContractError, match=found):
        counted(values)


def test_a_catalogue_that_workers_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number of items, before any worker starts."""
    monkeypatch.setattr("sparkml_ops.training.labels.MOST_ITEMS", 3)
    with pytest.raises(ContractError, match=r"more than 3 items in `product`, 3 in the train split; expected .* each worker holds"):
        counted(["a", "b", "c", "a", "b", "d"])


def test_an_item_is_a_text_or_a_whole_number() -> None:
    """A price identifies nothing."""
    with pytest.raises(ContractError, match=r"label `product` of type double for the task retrieval; expected one of .*string"):
        LabelRule("retrieval", "product", "double")
