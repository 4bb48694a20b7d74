from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkml_ops.errors import ContractError
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.network import build
from sparkml_ops.model.predictor import Predictor

# Odd widths: the last bits of a plain matrix product depend on them and on where a row lies.
SPEC = ModelSpec(
    "mlp",
    tuple(NumericInput(f"x{index}", "double", 0.0, 0.1, 1.5, indicator=index == 0) for index in range(9)),
    (CategoricalInput("c", "string", ("a", "b", "d"), 3),),
    hidden=(33, 7),
    dropout=0.5,
)


def rows(count: int = 2500) -> pa.Table:
    rng = np.random.default_rng(1)
    columns = {f"x{index}": pa.array(rng.normal(size=count), mask=rng.random(count) < 0.1) for index in range(9)}
    return pa.table({**columns, "c": rng.choice(["a", "b", "z"], count)})


def test_a_small_model_is_ready_without_torchs_compiler() -> None:
    """Each worker makes one: its algebra of shapes (sympy) takes seconds to load."""
    make = "from sparkml_ops.model.network import build; from sparkml_ops.model.predictor import Predictor; from test_model_predictor import SPEC"
    told = "Predictor(SPEC, build(SPEC, 5).state_dict()); import sys; print('sympy' in sys.modules)"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    found = subprocess.run(
        [sys.executable, "-c", f"{make}; {told}"], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_probability_depends_on_its_row_alone(dtype: torch.dtype) -> None:
    """Bit-identical for any cut into batches, any order of rows and any number of threads."""
    predictor, data, threads = Predictor(SPEC, build(SPEC, 5, dtype).state_dict()), rows(), torch.get_num_threads()
    whole = predictor.predict(data)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.integers(0, len(whole)), max_size=4), st.integers(0, 9), st.sampled_from([1, 2]))
    def check(cuts: list[int], seed: int, used: int) -> None:
        torch.set_num_threads(used)
        order = np.random.default_rng(seed).permutation(len(whole))
        mixed, bounds = data.take(order), [0, *sorted(cuts), len(whole)]
        parts = [predictor.predict(mixed.slice(start, stop - start)) for start, stop in pairwise(bounds)]
        assert np.concatenate(parts).tobytes() == whole[order].tobytes()

    check()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_predictions_are_those_of_the_trained_network(kind: str) -> None:
    """The inference path and the network agree, without dropout."""
    narrow = ModelSpec("linear", SPEC.numeric, (CategoricalInput("c", "string", ("a", "b", "d")),))
    spec = SPEC if kind == "mlp" else narrow
    network = build(spec, 2, torch.float64)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.linspace(-0.5, 0.5, weight.numel(), dtype=torch.float64).view_as(weight))
    predictor = Predictor(spec, network.state_dict())
    encoded = predictor._encoder.encode(rows())
    expected = torch.sigmoid(network(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categories)))

    np.testing.assert_allclose(predictor.predict(rows()), expected.detach().numpy(), rtol=1e-12)


def test_pandas_and_arrow_predict_the_same_bits() -> None:
    """All engines of scoring agree."""
    predictor = Predictor(SPEC, build(SPEC, 5).state_dict())

    assert predictor.predict(rows().to_pandas()).tobytes() == predictor.predict(rows()).tobytes()


def test_an_infinite_number_has_no_prediction() -> None:
    """Its row alone is NaN; also a number beyond float32."""
    data = rows(5).to_pandas()
    data.loc[1, "x3"], data.loc[2, "x3"], data.loc[3, "x3"] = np.inf, -np.inf, 1e300
    found = Predictor(SPEC, build(SPEC, 5).state_dict()).predict(data)

    assert np.isnan(found).tolist() == [False, True, True, True, False]


def test_no_rows_give_no_predictions() -> None:
    """An empty batch is fine."""
    assert Predictor(SPEC, build(SPEC, 5).state_dict()).predict(rows(3).slice(0, 0)).shape == (0,)


def test_weights_of_another_model_are_refused() -> None:
    """The error names the weights that differ."""
    state = build(SPEC, 5).state_dict()

    with pytest.raises(ContractError, match=r"output.bias"):
        Predictor(SPEC, {name: value for name, value in state.items() if name != "output.bias"})


def test_extra_columns_and_their_order_do_not_matter() -> None:
    """Columns are found by name."""
    predictor, data = Predictor(SPEC, build(SPEC, 5).state_dict()), rows(50).to_pandas()
    shuffled = pd.DataFrame({"extra": 1, **{name: data[name] for name in reversed(data.columns)}})

    np.testing.assert_array_equal(predictor.predict(shuffled), predictor.predict(data))
