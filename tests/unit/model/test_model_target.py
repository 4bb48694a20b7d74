"""What a model predicts: labels to numbers and outputs to predictions, for each task."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.preprocessing import MultiLabelBinarizer

from sparkml_ops.errors import ContractError
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput, Target
from sparkml_ops.model.network import build
from sparkml_ops.model.predictor import Predictor

NUMERIC = tuple(NumericInput(f"x{index}", "double", 0.0, 0.1, 1.5, indicator=index == 0) for index in range(9))
CATEGORY = CategoricalInput("c", "string", ("a", "b", "d"), 3)
TARGETS = {
    "regression": Target("regression", mean=40.0, scale=7.0),
    "count": Target("count", mean=2.5),
    "quantile": Target("quantile", quantiles=(0.05, 0.5, 0.975), mean=1.0, scale=2.0),
    "multiclass": Target("multiclass", classes=("10", "9", "-1"), type="bigint"),
    "multilabel": Target("multilabel", classes=("late", "Late", "a b")),
}


def model(task: str, kind: str = "mlp", dtype: torch.dtype = torch.float64) -> tuple[ModelSpec, torch.nn.Module]:
    hidden, category = ((33, 7), CATEGORY) if kind == "mlp" else ((), CategoricalInput("c", "string", ("a", "b", "d")))
    spec = ModelSpec(kind, NUMERIC, (category,), hidden, target=TARGETS[task])  # type: ignore[arg-type]
    network = build(spec, 5, dtype)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.linspace(-0.2, 0.3, weight.numel(), dtype=torch.float64).view_as(weight))
    return spec, network


def rows(count: int = 1500) -> pa.Table:
    rng = np.random.default_rng(1)
    columns = {f"x{index}": pa.array(rng.normal(size=count), mask=rng.random(count) < 0.1) for index in range(9)}
    return pa.table({**columns, "c": rng.choice(["a", "b", "z"], count)})


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize("task", TARGETS)
def test_predictions_are_those_of_the_trained_network(task: str, kind: str) -> None:
    """In the label's own unit, each output after its own link."""
    spec, network = model(task, kind)
    predictor, target = Predictor(spec, network.state_dict()), spec.target
    encoded = predictor._encoder.encode(rows())
    outputs = network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)).detach().numpy().reshape(-1, target.width)
    expected = {
        "regression": 40 + 7 * outputs,
        "count": 2.5 * np.exp(outputs),
        "quantile": np.sort(1 + 2 * outputs, axis=1),
        "multiclass": softmax(outputs, axis=1),
        "multilabel": 1 / (1 + np.exp(-outputs)),
    }[task]

    np.testing.assert_allclose(predictor.predict(rows()).reshape(expected.shape), expected, rtol=1e-12)


@pytest.mark.parametrize("task", TARGETS)
def test_a_prediction_depends_on_its_row_alone(task: str) -> None:
    """Bit-identical for any cut into batches and any order of rows."""
    spec, network = model(task, dtype=torch.float32)
    predictor, data = Predictor(spec, network.state_dict()), rows()
    whole = predictor.predict(data)

    @settings(max_examples=3, deadline=None)
    @given(st.lists(st.integers(0, len(whole)), max_size=3), st.integers(0, 9))
    def check(cuts: list[int], seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(whole))
        mixed, bounds = data.take(order), [0, *sorted(cuts), len(whole)]
        parts = [predictor.predict(mixed.slice(start, stop - start)) for start, stop in pairwise(bounds)]
        assert np.concatenate(parts).tobytes() == whole[order].tobytes()

    check()


def test_columns_of_predictions_have_names_and_types() -> None:
    """A class by name where names are plain, else by its position; the likeliest class has the label's own type."""
    assert {task: target.columns for task, target in TARGETS.items()} == {
        "regression": (("value", "double"),),
        "count": (("value", "double"),),
        "quantile": (("q5", "double"), ("q50", "double"), ("q97_5", "double")),
        "multiclass": (("class", "bigint"), ("confidence", "double"), *((f"probability_{index}", "double") for index in range(3))),
        "multilabel": tuple((f"probability_{index}", "double") for index in range(3)),
    }
    assert Target("multilabel", classes=("late", "cancelled")).columns[0] == ("probability_late", "double")


def test_the_likeliest_class_is_predicted() -> None:
    """With its probability; a row with an infinite number has neither."""
    spec, network = model("multiclass")
    data = rows(4).to_pandas()
    data.loc[2, "x3"] = np.inf
    predictor = Predictor(spec, network.state_dict())
    named, probability, *each = predictor.columns(data)
    best = predictor.predict(data).argmax(axis=1)

    assert named.to_pylist() == [None if row == 2 else (10, 9, -1)[best[row]] for row in range(4)]
    assert [value for row, value in enumerate(probability.to_pylist()) if row != 2] == [each[best[row]][row].as_py() for row in (0, 1, 3)]
    assert np.isnan(probability[2].as_py())


def test_labels_become_numbers() -> None:
    """Standardised where outputs are; classes by position; what applies as zeros and ones, as scikit-learn has it."""
    applies = [["late"], [], ["a b", "late", "late"]]
    expected = MultiLabelBinarizer(classes=TARGETS["multilabel"].classes).fit_transform(applies)

    assert TARGETS["regression"].encode(pa.chunked_array([[47], [40]])).tolist() == [1.0, 0.0]
    assert TARGETS["count"].encode(pa.array([3, 0])).tolist() == [3.0, 0.0]
    assert TARGETS["multiclass"].encode(pa.array([-1, 10], pa.int32())).tolist() == [2.0, 0.0]
    assert TARGETS["multilabel"].encode(pa.array([["a b"], *applies]).slice(1)).tolist() == expected.tolist()


@pytest.mark.parametrize("task", TARGETS)
def test_a_target_survives_json(task: str) -> None:
    """In a format of its own; a binary model keeps the one that older readers know, byte for byte."""
    spec, _ = model(task)

    assert ModelSpec.from_json(spec.to_json()) == spec
    assert json.loads(spec.to_json())["format"] == 2
    binary = json.loads(ModelSpec("mlp", NUMERIC, (CATEGORY,), (4,)).to_json())
    assert (binary["format"], sorted(binary)) == (1, ["categorical", "dropout", "format", "hidden", "kind", "numeric", "output"])


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ({"task": "ranking"}, "the task 'ranking'"),
        ({"task": "multiclass", "classes": ("a",)}, "1 classes; expected 2 to 1000"),
        ({"task": "multilabel", "classes": ("a", "a")}, "a class twice"),
        ({"task": "regression", "classes": ("a",)}, "classes in the task regression"),
        ({"task": "quantile"}, r"quantiles=\(\)"),
        ({"task": "quantile", "quantiles": (0.5, 0.1)}, "rising levels between 0 and 1"),
        ({"task": "quantile", "quantiles": (0.5, 1.0)}, "rising levels between 0 and 1"),
        ({"task": "regression", "scale": 0.0}, "scale above 0"),
        ({"task": "count", "mean": 0.0}, "the mean 0.0 of counts"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Any], found: str) -> None:
    """The error names what was found and what was expected."""
    with pytest.raises(ContractError, match=found):
        Target(**parts)
