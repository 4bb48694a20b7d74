"""Explanations against what is known of a linear model; personal columns are nowhere in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.model.predictor import Predictor
from sparkml_ops.model.spec import ArrayInput, CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.target import Target
from sparkml_ops.release.explanation import explain

SPEC = ModelSpec(
    "linear",
    (NumericInput("strong", "double", 0.0, 0.0, 1.0), NumericInput("weak", "bigint", 0.0, 0.0, 1.0), NumericInput("idle", "double", 0.0, 0.0, 1.0)),
    (CategoricalInput("word", "string", ("a", "b")),),
    arrays=(ArrayInput("vector", "array<double>", (0.0, 0.0), (1.0, 1.0)),),
    target=Target("regression", mean=10.0, scale=1.0),
)


def rows(count: int = 120) -> pa.Table:
    rng = np.random.default_rng(2)
    words = rng.choice(["a", "b", "zz"], count)
    return pa.table(
        {
            "strong": pa.array(rng.normal(size=count), mask=rng.random(count) < 0.1),
            "weak": rng.integers(-3, 4, count),
            "idle": rng.normal(size=count),
            "word": words,
            "vector": [list(pair) for pair in rng.normal(size=(count, 2))],
        }
    )


def model(spec: ModelSpec = SPEC) -> Predictor:
    """10 + 3 strong + 0.5 weak + vector · (1, -1) + 1 for the word b."""
    state = {name: torch.zeros_like(value) for name, value in build(spec, 0, torch.float64).state_dict().items()}
    state["output.weight"][0] = torch.tensor([3.0, 0.5, 0.0, 1.0, -1.0], dtype=torch.float64)
    state["embeddings.0.weight"][2, 0] = 1.0
    return Predictor(spec, state)


def test_a_linear_model_is_explained_by_its_weights() -> None:
    """SHAP of an additive model is exact: the part of a row less its mean over the background; LIME finds nearly that."""
    given = rows()
    found = explain(model(), given)
    effect = {
        "strong": 3 * np.nan_to_num(given["strong"].to_numpy()),
        "weak": 0.5 * given["weak"].to_numpy(),
        "idle": np.zeros(120),
        "word": (given["word"].to_numpy() == "b").astype(float),
        "vector": np.array([pair[0] - pair[1] for pair in given["vector"].to_pylist()]),
    }
    predicted = 10 + sum(effect.values())
    high = found.single[-1]
    row = int(np.flatnonzero(np.isclose(predicted[:64], high.prediction))[0])
    drawn = np.random.default_rng(7).choice(120, 32, replace=False)

    assert found.base == pytest.approx(predicted[drawn].mean())
    for name, part in effect.items():
        assert high.shap[name] == pytest.approx(part[row] - part[drawn].mean(), abs=1e-9)
        assert high.lime[name] == pytest.approx(part[row] - part[drawn].mean(), abs=0.6)
    assert sum(high.shap.values()) == pytest.approx(high.prediction - found.base)
    assert high.prediction == max(predicted[:64])
    assert found.importance["idle"] == found.shap["idle"] == 0
    assert list(found.importance) == ["strong", "weak", "idle", "word", "vector"]
    assert max(found.importance, key=lambda name: found.importance[name]) == "strong"
    assert (found.output, found.measured) == ("value", "mean absolute change of the prediction")
    assert high.values["word"] == given["word"][row].as_py()
    assert not found.single[0].lime


def test_personal_columns_are_asked_as_missing_and_shown_nowhere() -> None:
    """Nothing of the result depends on what they hold."""
    given = rows()
    blanked = given.set_column(given.schema.get_field_index("word"), "word", pa.nulls(120, pa.string()))
    first, second = (explain(model(), table, withheld=("word",)) for table in (given, blanked))

    assert first == second
    assert first.withheld == ("word",)
    assert all("word" not in part for part in (first.importance, first.shap, first.single[0].values, first.single[-1].lime))


def test_a_binary_model_is_judged_by_its_labels_and_several_outputs_by_one(tmp_path: Path) -> None:
    """Importance is the rise of the log loss; of several classes the likeliest is explained."""
    binary = dataclasses.replace(SPEC, target=Target(), arrays=())
    state = {name: torch.zeros_like(value) for name, value in build(binary, 0, torch.float64).state_dict().items()}
    state["output.weight"][0] = torch.tensor([3.0, 0.5, 0.0], dtype=torch.float64)
    artifact.save(tmp_path / "model", binary, state)
    predictor = artifact.load(tmp_path / "model")
    given = rows()
    label = (np.random.default_rng(1).random(120) < predictor.predict(given)).astype(float)
    label[:7] = np.nan
    found = explain(predictor, given, label)
    classes = dataclasses.replace(SPEC, arrays=(), target=Target("multiclass", classes=("x", "y")))
    several = explain(Predictor(classes, build(classes, 3, torch.float64).state_dict()), given)

    assert found.measured == "mean rise of the log loss, nats a row"
    assert found.importance["strong"] > 10 * found.importance["weak"]
    assert several.output in ("probability_x", "probability_y")
    with pytest.raises(ContractError, match="5 rows with a prediction"):
        explain(predictor, given.slice(0, 5))
