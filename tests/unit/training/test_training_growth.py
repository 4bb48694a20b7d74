"""A vocabulary that grows: known values keep their weights, new ones begin with those that stood for them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest
import torch

from sparkml_ops.config.optimizer import OptimizerSection
from sparkml_ops.model.network import Network, build
from sparkml_ops.model.predictor import Predictor
from sparkml_ops.model.spec import CategoricalInput, Cross, ModelSpec, NumericInput
from sparkml_ops.training.checkpoint import load_moments
from sparkml_ops.training.growth import grow, grown_moments, grown_weights
from sparkml_ops.training.optimizer import build_optimizer

X = NumericInput("x", "double", 0.0, 0.0, 1.0)
CITY, KIND = CategoricalInput("city", "string", ("a", "b"), 3), CategoricalInput("kind", "string", ("k",), 2)
HASHED = CategoricalInput("tail", "string", (), 2, buckets=7)
FREQUENT = {"city": ["z", "a", "y", "b"], "kind": ["k"], "tail": ["n1"]}
ROWS = pa.table(
    {"x": [0.1, -2.0, 3.0, 0.5, 1.0], "city": ["a", "z", "y", None, "rare"], "kind": ["k", "k", None, "k", "other"], "tail": list("pqrst")}
)


def spec(kind: str, *, rare: bool) -> ModelSpec:
    categorical = tuple(
        replace(column, rare=rare and not column.buckets, dimension=1 if kind == "linear" else column.dimension) for column in (CITY, KIND, HASHED)
    )
    hidden = () if kind == "linear" else (4,)
    return ModelSpec(kind, (X,), categorical, hidden, crosses=(Cross("kind", "tail", 11),) if kind == "wide_deep" else ())


@pytest.mark.parametrize("kind", ["mlp", "linear", "wide_deep"])
@pytest.mark.parametrize("rare", [False, True], ids=["unknown", "rare bucket"])
def test_it_predicts_as_before(kind: str, rare: bool) -> None:
    """For known, new, rare and missing values, until it is trained."""
    before = spec(kind, rare=rare)
    network = build(before, 3, torch.float64)
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64))
    after = grow(before, FREQUENT, 4)
    state = grown_weights(before, after, network.state_dict())

    assert [column.vocabulary for column in after.categorical] == [("a", "b", "z", "y"), ("k",), ()]
    assert Predictor(after, state).predict(ROWS).tolist() == Predictor(before, network.state_dict()).predict(ROWS).tolist()
    rows = state["embeddings.0.weight"]
    assert torch.equal(rows[3:5], (rows[-1:] if rare else rows[:1]).expand(2, -1))


def test_a_vocabulary_has_a_limit_and_a_network_of_ones_own_stays() -> None:
    """The most frequent of the new values come first."""
    before = spec("mlp", rare=False)

    assert grow(before, FREQUENT, 3).categorical[0].vocabulary == ("a", "b", "z")
    assert grow(before, FREQUENT, 2) == grow(before, {}, 100) == before
    own = ModelSpec("module", (X,), (CITY,), module="own")
    assert grow(own, FREQUENT, 100) == own


def test_the_optimisers_state_goes_on() -> None:
    """With nothing yet for the new values; a step of the grown network is one of the old on rows that have none."""
    before = spec("wide_deep", rare=True)
    after, settings = grow(before, FREQUENT, 4), OptimizerSection(lr=0.01, weight_decay=0.0)
    old = build(before, 3, torch.float64)
    optimizer = build_optimizer(settings, old.parameters())
    numeric, categories = torch.tensor([[0.3], [1.0]], dtype=torch.float64), torch.tensor([[1, 1, 3], [2, 0, 5]])
    _step(old, optimizer, numeric, categories)
    moments = {f"{index}.{name}": value.clone() for index, state in optimizer.state_dict()["state"].items() for name, value in state.items()}
    new = Network(after).to(torch.float64)
    new.load_state_dict(grown_weights(before, after, old.state_dict()))
    other = build_optimizer(settings, new.parameters())
    load_moments(other, grown_moments(before, after, moments))

    for one, two in pairwise([_step(old, optimizer, numeric, categories), _step(new, other, numeric, categories)]):
        assert one == two
    for name, value in grown_weights(before, after, old.state_dict()).items():
        assert torch.allclose(new.state_dict()[name], value, rtol=0, atol=1e-15), name


def _step(network: Network, optimizer: torch.optim.Optimizer, numeric: torch.Tensor, categories: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss = (network(numeric, categories) ** 2).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())
