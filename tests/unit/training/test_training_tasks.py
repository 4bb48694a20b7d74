"""Trainings of each task, held against plain torch; their losses against scikit-learn and scipy; labels as they are judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import poisson
from sklearn.metrics import log_loss, mean_pinball_loss, mean_squared_error, roc_auc_score
from torch.nn import functional
from training_rows import SPEC, ThreadGroup, table, task, usable, write

from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.network import build
from sparkml_ops.model.target import TASKS, Target
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Checkpoints, Progress
from sparkml_ops.training.labels import LabelRule, SplitCounts, judge
from sparkml_ops.training.launch.local import LocalCommunicator
from sparkml_ops.training.objective import UNITS, summed
from sparkml_ops.training.validation import Validation
from sparkml_ops.training.weighting import RowWeights, row_weights

TARGETS = {
    "regression": Target("regression", mean=40.0, scale=7.0),
    "count": Target("count", mean=2.5),
    "quantile": Target("quantile", quantiles=(0.1, 0.5, 0.9), mean=40.0, scale=7.0),
    "multiclass": Target("multiclass", classes=("10", "9", "-1"), type="bigint"),
    "multilabel": Target("multilabel", classes=("late", "lost")),
}


def labels(name: str, rows: int) -> pa.Array:
    """Labels of a task that follow x of `table`."""
    rng = np.random.default_rng(9)
    x = table(rows).to_pandas().x.fillna(0).to_numpy()
    number = 40 + 5 * x + rng.normal(0, 3, rows)
    found: dict[str, Any] = {
        "regression": number,
        "quantile": number,
        "count": rng.poisson(np.exp(0.5 * x + 0.6)),
        "multiclass": np.array([10, 9, -1])[np.clip((x + rng.normal(0, 0.4, rows) + 1.5).astype(int), 0, 2)],
        "multilabel": [(["late"] if value > 0 else []) + (["lost"] if value > 1 else []) for value in x],
    }
    return pa.array(found[name], mask=None if name == "multilabel" else rng.random(rows) < 0.02)


def scan_of(name: str, folder: Path, rows: int = 401) -> tuple[Scan, pa.Table]:
    data = table(rows)
    data = data.set_column(data.schema.get_field_index("label"), "label", labels(name, rows))
    return write(folder / "t", data, [rows // 2], group=90), data


@pytest.mark.parametrize("name", TARGETS)
def test_a_run_is_that_of_plain_torch(name: str, tmp_path: Path) -> None:
    """Two epochs of one batch each, weighted, on three workers: the same weights as torch's own loss on all rows."""
    spec = replace(SPEC, dropout=0.0, target=TARGETS[name])
    (scan, data), weights = scan_of(name, tmp_path), None
    rows = data.take(usable(data, "train"))
    if name == "multiclass":
        weights = RowWeights(False, (0.5, 1.0, 2.0))
    settings = TrainingSection(workers=1, epochs=2, batch_size=10_000, shards=6, dtype="float64", optimizer={"lr": 0.02, "schedule": "constant"})
    ours = replace(task(scan, Storage(str(tmp_path / "s")), settings, spec), row_weights=weights)
    progress = Progress.from_json(ThreadGroup(3).run(ours)[0])

    encoded, network = Encoder(spec).encode(rows), build(spec, 7, torch.float64)
    truth = torch.from_numpy(spec.target.encode(rows.column("label")))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=1e-4)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = of_torch(name, network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)), truth)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    found = Checkpoints(ours.storage, ours.folder).weights(progress)

    assert [epoch.train_loss for epoch in progress.history] == pytest.approx(losses, rel=1e-12)
    assert all(torch.allclose(found[key], value, rtol=1e-9, atol=1e-12) for key, value in network.state_dict().items())
    assert all(epoch.validation_loss is not None and epoch.validation_auc is None for epoch in progress.history)


def of_torch(name: str, outputs: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The mean loss, by torch's own words."""
    if name == "multiclass":
        weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
        return functional.cross_entropy(outputs, truth.long(), weight=weights, reduction="sum") / len(truth)
    if name == "multilabel":
        return functional.multilabel_soft_margin_loss(outputs, truth) * 2
    if name == "count":
        rate = 2.5 * outputs.exp()
        return -torch.distributions.Poisson(rate).log_prob(truth).mean()
    if name == "quantile":
        distance = truth[:, None] - outputs
        levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
        return torch.where(distance >= 0, levels * distance, (levels - 1) * distance).mean()
    return functional.mse_loss(outputs, truth)


def test_losses_are_those_of_scikit_learn_and_scipy() -> None:
    """Of rows with weights, in the units that are named."""
    rng, rows = np.random.default_rng(3), 50
    outputs, weight = rng.normal(size=(rows, 3)), rng.gamma(2.0, size=rows)
    number, count, place = rng.normal(size=rows), rng.poisson(2.0, rows).astype(float), rng.integers(0, 3, rows)
    softmax = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)

    def ours(name: str, values: np.ndarray[Any, Any], label: np.ndarray[Any, Any]) -> float:
        return float(summed(TARGETS[name], *(torch.from_numpy(np.asarray(each, np.float64)) for each in (values, label, weight))))

    assert ours("regression", outputs[:, 0], number) / weight.sum() == pytest.approx(mean_squared_error(number, outputs[:, 0], sample_weight=weight))
    assert ours("count", outputs[:, 0], count) == pytest.approx(-(weight * poisson.logpmf(count, 2.5 * np.exp(outputs[:, 0]))).sum())
    assert ours("multiclass", outputs, place) / weight.sum() == pytest.approx(log_loss(place, softmax, sample_weight=weight))
    pinball = [mean_pinball_loss(number, outputs[:, index], sample_weight=weight, alpha=level) for index, level in enumerate((0.1, 0.5, 0.9))]
    assert ours("quantile", outputs, number) / weight.sum() == pytest.approx(np.mean(pinball))
    assert set(UNITS) == set(TASKS) == set(get_args(TrainingSection.model_fields["task"].annotation))


@pytest.mark.parametrize("size", [1, 3])
def test_the_validation_auc_is_that_of_scikit_learn(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all ranks, one of them without rows, ties included: exact, however close the scores lie."""
    monkeypatch.setattr("sparkml_ops.training.validation._CHUNK", 100)
    rng = np.random.default_rng(2)
    outputs = torch.from_numpy(1e-7 * rng.normal(size=900).round(2))
    label = torch.from_numpy((rng.random(900) < 0.5 + 1e6 * outputs.numpy()).astype(float))

    def work(context: Any) -> tuple[float, float | None]:
        found = Validation(Target())
        for part in np.array_split(np.arange(900), 7):
            mine = part[part % max(size - 1, 1) == context.rank]
            found.add(outputs[mine], label[mine])
        return found.merged(context.communicator)

    results = ThreadGroup(size).run(work)
    scores = torch.sigmoid(outputs).numpy()

    assert results == [results[0]] * size
    assert results[0][1] == pytest.approx(roc_auc_score(label.numpy(), scores), abs=1e-12)
    assert results[0][0] == pytest.approx(900 * log_loss(label.numpy(), scores), rel=1e-9)
    assert Validation(Target()).merged(LocalCommunicator()) == (0.0, None)


def counted(rule: LabelRule, values: Any, splits: list[str], settings: TrainingSection) -> tuple[Target, dict[str, SplitCounts]]:
    """Labels in two parts, as tasks count them."""
    kinds = {"string": pa.string(), "array<string>": pa.list_(pa.string()), "double": pa.float64()}
    label, counts = pa.array(values, kinds[rule.cast]), Counter[tuple[str, str | None, str | None]]()
    trained = [
        rule.count(label.slice(start, stop - start), pa.array(splits).slice(start, stop - start), counts)[0]
        for start, stop in ((0, 3), (3, len(label)))
    ]
    found: dict[str, list[tuple[str | None, str | None, int]]] = {"label": [], "class": []}
    for (kind, split, meaning), rows in counts.items():
        found[kind].append((split, meaning, rows))
    numbers = label.filter(pa.array(np.concatenate(trained))).to_numpy() if rule.cast == "double" else None
    moments = None if numbers is None or not len(numbers) else (float(numbers.mean()), float(numbers.std()))
    return judge(rule, found, moments, settings)


SPLITS = ["train"] * 5 + ["evaluation"] * 2


def test_targets_are_fitted_to_the_train_split() -> None:
    """Classes in the order of their values, whole numbers as numbers; statistics of numbers; pending labels are counted apart."""
    whole, splits = counted(LabelRule("multiclass", "y", "int"), ["9", "10", "-1", "9", None, "10", "9"], SPLITS, TrainingSection(task="multiclass"))
    assert whole == Target("multiclass", ("-1", "9", "10"), "bigint")
    assert splits == {"train": SplitCounts(4, 0, 1, (1, 2, 1)), "evaluation": SplitCounts(2, 0, 0, (0, 1, 1))}
    several = [["b", "a", "b"], [], None, ["a"], [], ["b"], None]
    some, splits = counted(LabelRule("multilabel", "y", "array<string>"), several, SPLITS, TrainingSection(task="multilabel"))
    assert (some.classes, splits["train"], splits["evaluation"].pending) == (("a", "b"), SplitCounts(4, 0, 1, (2, 1)), 1)
    number, _ = counted(LabelRule("quantile", "y", "double"), [1.0, 3, 2, 2, None, 9, 9], SPLITS, TrainingSection(task="quantile"))
    assert (number.quantiles, number.mean, number.scale) == ((0.1, 0.5, 0.9), 2.0, pytest.approx(np.std([1, 3, 2, 2])))


@pytest.mark.parametrize(
    ("task_name", "type_", "values", "found"),
    [
        ("count", "int", [1, 2, -1, 2, 0, 1, 1], "1 labels that the task count cannot have in `y`; expected whole numbers from 0"),
        ("count", "double", [1.5, 2, 1, 2, 0, 1.5, 1], "2 labels that the task count cannot have"),
        ("regression", "double", [1, np.inf, np.nan, 2, 0, 1, 1], "2 labels that the task regression cannot have.*expected finite numbers"),
        ("regression", "double", [2.0] * 7, "one label only, 2, in the train split"),
        ("count", "int", [0] * 5 + [1, 2], "one label only, 0, in the train split"),
        ("regression", "double", [1, 2, 3, 4, 5, None, None], "no labelled rows in split evaluation"),
        ("regression", "string", None, "label `y` of type string for the task regression; expected one of tinyint"),
        ("multiclass", "double", None, "label `y` of type double for the task multiclass; expected one of .*string"),
        ("multilabel", "string", None, "label `y` of type string for the task multilabel; expected one of array<tinyint>"),
        ("binary", "timestamp", None, "label `y` of type timestamp for the task binary"),
        ("multiclass", "string", ["a"] * 5 + ["a", "a"], "1 classes in `y` in the train split; expected 2 to 1000"),
        ("multiclass", "string", ["a", "b", "a", "b", "b", "c", "c"], r"classes \['c'\] of `y` in split evaluation \(2 rows\)"),
        ("multilabel", "array<string>", [["a"], [], ["a", None], None, [], [], []], "1 labels that the task multilabel cannot have"),
        ("multilabel", "array<string>", [[]] * 7, "0 classes in `y`"),
    ],
)
def test_labels_that_a_task_cannot_have_are_refused(task_name: Any, type_: str, values: Any, found: str) -> None:
    """Before any worker starts: with their number, what was expected and what to do."""
    with pytest.raises(ContractError, match=found):
        counted(LabelRule(task_name, "y", type_), values, SPLITS, TrainingSection(task=task_name))


def test_an_identifier_is_no_class() -> None:
    """More classes than a model may have are refused, not trained."""
    values, splits = [f"k{index}" for index in range(1001)] + ["k1"], ["train"] * 1001 + ["evaluation"]
    with pytest.raises(ContractError, match=r"more than 1000 classes.*not an identifier"):
        counted(LabelRule("multiclass", "y", "string"), values, splits, TrainingSection(task="multiclass"))


def test_weights_of_several_classes_are_those_of_scikit_learn() -> None:
    """n / (k n_c); of a label that is no class, own weights alone."""
    assert row_weights("balanced", (10, 30, 20)) == RowWeights(False, pytest.approx((2.0, 2 / 3, 1.0)))
    assert row_weights(None, (60,), (0.5,)) == RowWeights(True, (2.0,))
    assert RowWeights(True, (2.0,)).of(np.array([0.3, 7.0]), np.array([1.0, 3.0])).tolist() == [2.0, 6.0]
