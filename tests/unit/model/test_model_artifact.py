from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput, digest, load, save
from sparkml_ops.model.network import build
from sparkml_ops.model.pyfunc import _load_pyfunc

SPEC = ModelSpec("mlp", (NumericInput("x", "double", 0.0, 0.0, 1.0),), (CategoricalInput("c", "string", ("a", "b"), 2),), (5,), 0.1)
ROWS = pd.DataFrame({"x": [0.5, np.nan, -2.0], "c": ["a", "z", None]}, index=[7, 8, 9])

_LOAD_WITHOUT_PICKLE = """
import sys
import pyarrow, pandas, torch, scipy.special, safetensors.torch
from pathlib import Path

def refuse(event, arguments):
    if event == "pickle.find_class":
        raise RuntimeError(f"pickle of {arguments}")

sys.addaudithook(refuse)
import pickle
try:
    pickle.loads(pickle.dumps(Path("x")))
except RuntimeError:
    print("guarded")
from sparkml_ops.model.artifact import load
print(load(Path(sys.argv[1])).predict(pandas.DataFrame({"x": [0.5], "c": ["a"]}))[0].hex())
"""


def test_a_model_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    """Two files; the same description, weights and predictions."""
    network = build(SPEC, 3)
    save(tmp_path / "model", SPEC, network.state_dict())
    found = load(tmp_path / "model")

    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "weights.safetensors"]
    assert found.spec == SPEC
    np.testing.assert_array_equal(found.predict(ROWS), load(tmp_path / "model").predict(ROWS))


def test_loading_runs_no_pickle(tmp_path: Path) -> None:
    """A fresh process with an audit hook on `pickle.find_class` loads and predicts."""
    save(tmp_path / "model", SPEC, build(SPEC, 3).state_dict())
    done = subprocess.run([sys.executable, "-c", _LOAD_WITHOUT_PICKLE, str(tmp_path / "model")], capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["guarded", load(tmp_path / "model").predict(ROWS)[0].hex()], done.stderr


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
