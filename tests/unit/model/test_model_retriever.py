"""A two-tower model on disk: its towers are those that were trained, its recommendations those of brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from retrieval_rows import pairs, spec_of

from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.network import TwoTower, build
from sparkml_ops.model.pyfunc import Classifier
from sparkml_ops.model.retriever import CATALOGUE, Retriever, tower, vectors
from sparkml_ops.model.spec import ModelSpec, Towers
from sparkml_ops.model.target import Target

DATA = pairs(300)
SPEC = spec_of(DATA)


@pytest.fixture(scope="module", params=[True, False], ids=["cosine", "product"])
def model(request: pytest.FixtureRequest) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """A description and weights, its catalogue made of the rows' own items."""
    spec = replace(SPEC, towers=Towers(("customer", "hour"), 0.2, normalised=request.param))
    state = build(spec, 3, torch.float64).state_dict()
    rows = DATA.to_pandas().drop_duplicates("product").sort_values("product")
    return spec, {**state, CATALOGUE: torch.from_numpy(vectors(spec, tower(spec, state, "item"), rows))}


def of_torch(spec: ModelSpec, state: dict[str, torch.Tensor]) -> np.ndarray:
    """[rows, 2 dimensions] as training computes them."""
    network, encoded = build(spec, 0, torch.float64), Encoder(spec).encode(DATA)
    network.load_state_dict({name: value for name, value in state.items() if name != CATALOGUE})
    found: np.ndarray = network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)).detach().numpy()
    return found


def test_recommendations_are_those_of_brute_force(model: tuple[ModelSpec, Any], tmp_path: Path) -> None:
    """After a way through the artifact, which holds two files and no pickle; the query's columns are all that is read."""
    spec, state = model
    artifact.save(tmp_path / "a", spec, state)
    found = artifact.load(tmp_path / "a").columns(DATA.select(["hour", "customer"]))
    scores = of_torch(spec, state)[:, :6] @ state[CATALOGUE].numpy().T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]

    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["model.json", "weights.safetensors"]
    assert (spec.requested, spec.outputs) == ((("hour", "double"), ("customer", "string")), (("items", "array<string>"), ("scores", "array<double>")))
    assert found[0].to_pylist() == np.array(spec.target.items)[order].tolist()
    np.testing.assert_allclose(np.array(found[1].to_pylist()), np.take_along_axis(scores, order, 1), rtol=1e-12)


def test_a_server_can_send_what_it_predicts(model: tuple[ModelSpec, Any]) -> None:
    """As rows of JSON: items and scores are lists, in the order of the frame."""
    retriever = Retriever(*model)
    frame = pd.DataFrame({"customer": ["ann", "bob"], "hour": [9.0, None]}, index=[7, 3])
    found = Classifier(retriever).predict(frame)
    items, scores = retriever.columns(frame)

    assert json.loads(found.to_json(orient="records", double_precision=15))[1]["items"] == items[1].as_py()
    assert (found.index.tolist(), found["scores"].tolist()) == ([7, 3], scores.to_pylist())


def test_vectors_are_those_of_the_trained_network(model: tuple[ModelSpec, Any]) -> None:
    """Of both sides, to rounding; normalised where the description says so."""
    spec, state = model
    whole, retriever = of_torch(spec, state), Retriever(spec, state)

    np.testing.assert_allclose(retriever.vectors("query", DATA), whole[:, :6], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(retriever.vectors("item", DATA), whole[:, 6:], rtol=1e-10, atol=1e-14)
    assert spec.towers is not None
    assert np.allclose(np.linalg.norm(whole[:, :6], axis=1), 1) == spec.towers.normalised


def test_each_side_reads_its_own_inputs_alone() -> None:
    """Another price moves no query, another hour no item."""
    network, encoded = build(SPEC, 3, torch.float64), Encoder(SPEC).encode(DATA)
    assert isinstance(network, TwoTower)
    numeric, categories = torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)
    before = network(numeric, categories)
    numeric[:, SPEC.numeric_names.index("price")] += 1
    dearer = network(numeric, categories)
    categories[:, 0] = 1

    assert torch.equal(before[:, :6], dearer[:, :6])
    assert not torch.isclose(before[:, 6:], dearer[:, 6:]).all()
    assert torch.equal(network(numeric, categories)[:, 6:], dearer[:, 6:])
    assert SPEC.numeric_names == ("hour", "price", "hour")


def test_a_row_with_an_infinite_number_has_no_items() -> None:
    """Others keep theirs; whole numbers come back as such."""
    target = replace(SPEC.target, items=tuple(str(index) for index in range(len(SPEC.target.items))), type="bigint")
    spec = replace(SPEC, target=target)
    state = build(spec, 3).state_dict()
    retriever = Retriever(spec, {**state, CATALOGUE: torch.eye(len(target.items))[:, :6].contiguous()})
    items, scores = retriever.columns(pa.table({"hour": [1.0, np.inf, None], "customer": ["ann", "ann", None]}))

    assert (items.type, items.is_null().to_pylist(), scores.is_null().to_pylist()) == (
        pa.list_(pa.int64()),
        [False, True, False],
        [False, True, False],
    )
    assert len(items[2]) == 5
    assert np.isnan(retriever.predict(pa.table({"hour": [np.inf], "customer": ["ann"]}))).all()


def test_a_description_survives_json_and_others_stay_as_they_were() -> None:
    """Towers and catalogue come back; a model of another task knows nothing of them."""
    other = json.loads(ModelSpec("mlp", SPEC.numeric, (), (4,), target=Target("regression", mean=1.0)).to_json())

    assert ModelSpec.from_json(SPEC.to_json()) == SPEC
    assert "towers" not in other
    assert sorted(other["target"]) == ["classes", "mean", "quantiles", "scale", "task", "type"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"towers": None}, "without towers"),
        ({"towers": Towers(("customer", "age"))}, "the query's inputs"),
        ({"towers": Towers(())}, "the query's inputs"),
        ({"towers": Towers(("customer", "hour", "price", "kind", "product"))}, "some left for the item"),
        ({"towers": Towers(("customer",), temperature=0.0)}, "temperature=0.0; expected above 0"),
        ({"target": Target()}, "two towers for the task binary"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], found: str) -> None:
    """Before anything is built of them."""
    with pytest.raises(ContractError, match=found):
        replace(SPEC, **changes)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"items": ("a",), "counts": (1,)}, "1 items; expected 2 to 262144"),
        ({"counts": (1,)}, "items with 1 counts"),
        ({"dimension": 1}, "vectors of 1 numbers"),
        ({"top": 0}, "top=0"),
        ({"task": "binary"}, "items in the task binary"),
    ],
)
def test_catalogues_that_cannot_be_are_refused(changes: dict[str, Any], found: str) -> None:
    """An item twice, a count too few, nothing to recommend."""
    with pytest.raises(ContractError, match=found):
        replace(SPEC.target, **changes)


def test_weights_without_the_catalogue_are_refused() -> None:
    """Those of a checkpoint are no model yet; strange ones are named."""
    state = build(SPEC, 3).state_dict()
    with pytest.raises(ContractError, match=r"a catalogue of shape None; expected \[\d+, 6\]"):
        Retriever(SPEC, state)
    with pytest.raises(ContractError, match=r"weights \['other.weight'\] in a model of two towers"):
        Retriever(SPEC, {**state, CATALOGUE: torch.zeros(len(SPEC.target.items), 6), "other.weight": torch.zeros(1)})
