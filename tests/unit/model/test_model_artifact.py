from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from unpickling import unpickling

from sparkml_ops.errors import ContractError
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput, digest, load, save
from sparkml_ops.model.network import build
from sparkml_ops.model.pyfunc import _load_pyfunc

SPEC = ModelSpec("mlp", (NumericInput("x", "double", 0.0, 0.0, 1.0),), (CategoricalInput("c", "string", ("a", "b"), 2),), (5,), 0.1)
ROWS = pd.DataFrame({"x": [0.5, np.nan, -2.0], "c": ["a", "z", None]}, index=[7, 8, 9])


def test_a_model_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    """Two files; the same description, weights and predictions."""
    network = build(SPEC, 3)
    save(tmp_path / "model", SPEC, network.state_dict())
    found = load(tmp_path / "model")

    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "weights.safetensors"]
    assert found.spec == SPEC
    np.testing.assert_array_equal(found.predict(ROWS), load(tmp_path / "model").predict(ROWS))


def test_loading_runs_no_pickle(tmp_path: Path) -> None:
    """It loads and predicts while whoever unpickles is heard."""
    save(tmp_path / "model", SPEC, build(SPEC, 3).state_dict())
    with unpickling() as found:
        load(tmp_path / "model").predict(ROWS)
        assert found == []
        pickle.loads(pickle.dumps(Path("x")))
        assert found


def test_the_same_model_has_the_same_digest(tmp_path: Path) -> None:
    """Bytes do not depend on when or where a model was saved; another weight changes the digest."""
    other = build(SPEC, 3).state_dict()
    other["output.bias"] = torch.tensor([0.25])
    for name, state in {"a": build(SPEC, 3).state_dict(), "b": build(SPEC, 3).state_dict(), "c": other}.items():
        save(tmp_path / name, SPEC, state)

    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_a_renamed_file_changes_the_digest(tmp_path: Path) -> None:
    """Names and bytes cannot stand in for each other."""
    for folder, name, data in (("a", "ab", b"c"), ("b", "a", b"bc")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(data)

    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_a_folder_with_files_is_not_overwritten(tmp_path: Path) -> None:
    """An artifact holds nothing else."""
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(ContractError, match=r"notes\.txt"):
        save(tmp_path, SPEC, build(SPEC, 3).state_dict())


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """Nothing is written."""
    state = build(SPEC, 3).state_dict()
    state["output.bias"] = torch.tensor([torch.nan])

    with pytest.raises(ContractError, match=r"output\.bias"):
        save(tmp_path / "model", SPEC, state)
    assert not (tmp_path / "model").exists()


def test_an_incomplete_folder_is_refused(tmp_path: Path) -> None:
    """The error names the missing file."""
    save(tmp_path / "model", SPEC, build(SPEC, 3).state_dict())
    (tmp_path / "model" / "model.json").unlink()

    with pytest.raises(ContractError, match=r"model\.json"):
        load(tmp_path / "model")


def test_the_pyfunc_keeps_the_index(tmp_path: Path) -> None:
    """One float64 column `probability`, row by row as the frame."""
    save(tmp_path / "model", SPEC, build(SPEC, 3).state_dict())
    found = _load_pyfunc(str(tmp_path / "model")).predict(ROWS)

    assert found.index.tolist() == [7, 8, 9]
    assert found.dtypes.to_dict() == {"probability": np.dtype("float64")}
    np.testing.assert_array_equal(found["probability"], load(tmp_path / "model").predict(ROWS))
