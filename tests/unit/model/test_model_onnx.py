"""A model as an ONNX graph, and inside an application: the predictions of the model itself, wherever they are made."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from sparkml_ops import embedded
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.model.onnx_export import export
from sparkml_ops.model.spec import ArrayInput, CategoricalInput, Cross, ModelSpec, NumericInput
from sparkml_ops.model.target import Target
from sparkml_ops.release.exporting import example_rows
from sparkml_ops.release.parity import exported_difference

NUMERIC = (
    NumericInput("x", "double", 0.3, 0.1, 1.5, indicator=True),
    NumericInput("count", "bigint", 4.0, 5.0, 2.5),
    NumericInput("flag", "boolean", 0.0, 0.4, 0.5, indicator=True),
    NumericInput("day", "date", 15_700.0, 15_706.0, 90.0),
)
WIDE = (
    CategoricalInput("word", "string", ("a", "b", "ü"), 3),
    CategoricalInput("code", "int", ("3", "7"), 2, rare=True),
    CategoricalInput("tail", "string", (), 2, buckets=50),
)
ARRAYS = (ArrayInput("vector", "array<float>", (0.5, -1.0), (2.0, 0.7), indicator=True), ArrayInput("plain", "array<double>", (0.0,), (1.0,)))
NARROW = tuple(CategoricalInput(item.name, item.type, item.vocabulary, 1, item.buckets, item.rare) for item in WIDE)
CROSSES = (Cross("word", "tail", 64), Cross("code", "word", 1000))
SPECS = {
    "linear": ModelSpec("linear", NUMERIC, NARROW, arrays=ARRAYS),
    "mlp": ModelSpec("mlp", NUMERIC, WIDE, (9, 5), 0.5, arrays=ARRAYS),
    "wide and deep": ModelSpec("wide_deep", NUMERIC, WIDE, (9,), crosses=CROSSES, target=Target("regression", mean=3.0, scale=2.0)),
    "no numbers": ModelSpec("mlp", (), WIDE[:1], (4,)),
    "linear classes": ModelSpec("linear", NUMERIC, NARROW[:2], target=Target("multiclass", classes=("10", "20", "30"), type="bigint")),
    "classes": ModelSpec("mlp", NUMERIC, WIDE, (6,), target=Target("multiclass", classes=("early", "late"))),
    "labels": ModelSpec("mlp", NUMERIC, (), (6,), target=Target("multilabel", classes=("wet", "cold"))),
    "counts": ModelSpec("linear", NUMERIC, (), target=Target("count", mean=2.5)),
    "quantiles": ModelSpec("mlp", NUMERIC, WIDE, (6,), target=Target("quantile", quantiles=(0.1, 0.5, 0.9), mean=3.0, scale=2.0)),
}


def rows(count: int = 300) -> list[dict[str, Any]]:
    """Rows of an application, with gaps in every column, unknown values, and one infinite number."""
    rng = np.random.default_rng(4)

    def gap(value: Any) -> Any:
        return None if rng.random() < 0.15 else value

    found = [
        {
            "x": gap(float(rng.normal())),
            "count": gap(int(rng.integers(-5, 20))),
            "flag": gap(bool(rng.integers(2))),
            "day": gap(date(2013, 1, 1) + timedelta(days=int(rng.integers(300)))),
            "word": gap(str(rng.choice(["a", "b", "ü", "zz"]))),
            "code": gap(int(rng.choice([3, 7, 9]))),
            "tail": gap(f"N{rng.integers(40)}"),
            "vector": gap([gap(float(rng.normal())), float(rng.normal())]),
            "plain": gap([float(rng.normal())]),
        }
        for _ in range(count)
    ]
    if count > 7:
        found[7]["x"] = float("inf")
    return found


def table(given: list[dict[str, Any]]) -> pa.Table:
    """The same for the model itself."""
    kinds = {"x": "double", "count": "int64", "flag": "bool", "day": "date32", "word": "string", "code": "int32", "tail": "string"}
    lists = {"vector": pa.list_(pa.float32()), "plain": pa.list_(pa.float64())}
    kinds_of: dict[str, pa.DataType] = {**{name: pa.type_for_alias(kind) for name, kind in kinds.items()}, **lists}
    return pa.table({name: pa.array([row[name] for row in given], kind) for name, kind in kinds_of.items()})


def saved(folder: Path, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> Path:
    """An artifact with weights that no part of is zero."""
    generator = torch.Generator().manual_seed(5)
    state = {
        name: (torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.5).to(value.dtype)
        for name, value in build(spec, 1, dtype).state_dict().items()
    }
    artifact.save(folder, spec, state)
    return folder


@pytest.mark.parametrize("name", SPECS)
def test_an_exported_model_predicts_what_the_model_does(name: str, tmp_path: Path) -> None:
    """Every kind and task, from raw values: gaps, unknown and hashed values, arrays, dates; float64 weights to the last bits."""
    spec, given = SPECS[name], rows()
    folder = saved(tmp_path / "model", spec, torch.float64)
    expected = artifact.load(folder).columns(table(given))
    model = embedded.load(export(folder, tmp_path / "model.onnx"))
    found = model.predict(given)

    assert list(found) == list(model.outputs) == [column for column, _ in spec.outputs]
    for values, array in zip(found.values(), expected, strict=True):
        if pa.types.is_floating(array.type):
            np.testing.assert_allclose(np.array(values, float), array.to_numpy(zero_copy_only=False), rtol=1e-12, atol=1e-12)
        else:
            assert values == array.to_pylist()
    gone = next(iter(found.values()))[7]
    assert name == "no numbers" or gone is None or np.isnan(gone)
    assert model.digest == artifact.digest(folder)


def test_made_up_rows_suit_every_model(tmp_path: Path) -> None:
    """What an export is checked with: all types, gaps, unknown values; the same each time."""
    for number, (name, spec) in enumerate(SPECS.items()):
        folder = saved(tmp_path / str(number), spec)
        file, made = export(folder, tmp_path / f"{number}.onnx"), example_rows(spec)
        assert exported_difference(folder, file, made) <= 1e-5, name
        assert made.equals(example_rows(spec))
        assert min(column.null_count for column in made.columns) > 0


def test_float32_weights_differ_by_their_rounding_only(tmp_path: Path) -> None:
    """What training makes by default; a row's prediction does not depend on the others, and the same artifact gives the same file."""
    folder, given = saved(tmp_path / "model", SPECS["mlp"]), rows(64)
    first, second = (export(folder, tmp_path / f"{number}.onnx").read_bytes() for number in range(2))
    model = embedded.load(tmp_path / "0.onnx")
    whole = model.predict(given)["probability"]

    np.testing.assert_allclose(whole, artifact.load(folder).predict(table(given)), atol=1e-6)
    np.testing.assert_allclose([model.predict([row])["probability"][0] for row in given], whole, atol=1e-6)
    np.testing.assert_array_equal(model.predict({column: [row[column] for row in given] for column in model.inputs})["probability"], whole)
    assert model.predict([]) == {"probability": []}
    for alone in (given[0], table(given), None):  # a row's text would pass for a column of letters
        with pytest.raises(ContractError, match="a list of maps, one a row, or a map of columns"):
            model.predict(alone)
    assert first == second


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("x", "1.5", "str '1.5' in `x`"),
        ("count", 2**53 + 2, "expected whole numbers up to 2\\^53"),
        ("flag", 1, "int 1 in `flag`"),
        ("day", 15_000, "int 15000 in `day`"),
        ("word", 3, "int 3 in `word`"),
        ("code", "3", "str '3' in `code`"),
        ("vector", [1.0], "1 elements in `vector`"),
    ],
)
def test_values_of_another_type_are_refused(column: str, value: Any, said: str, tmp_path: Path) -> None:
    """With the column, what was found and what training saw."""
    model = embedded.load(export(saved(tmp_path / "model", SPECS["mlp"]), tmp_path / "model.onnx"))

    with pytest.raises(ContractError, match=said):
        model.predict([{**rows(1)[0], column: value}])
    with pytest.raises(ContractError, match="rows without \\['word'\\]"):
        model.predict([{name: held for name, held in rows(1)[0].items() if name != "word"}])


def test_what_has_no_graph_is_refused(tmp_path: Path) -> None:
    """A column called as the prediction is; a file that is none of ours."""
    spec = ModelSpec("linear", (NumericInput("probability", "double", 0.0, 0.0, 1.0),), ())
    (tmp_path / "other.onnx").write_bytes(b"no graph")

    with pytest.raises(ContractError, match="`probability` among inputs and outputs"):
        export(saved(tmp_path / "model", spec), tmp_path / "model.onnx")
    with pytest.raises(ContractError, match="which is no export of this project"):
        embedded.load(tmp_path / "other.onnx")
    with pytest.raises(ContractError, match="no file"):
        embedded.load(tmp_path / "nothing.onnx")


ALONE = """
import json, sys

sys.path[:] = [place for place in sys.path if "site-packages" not in place] + [sys.argv[1]]
from sparkml_ops import embedded

print(json.dumps(embedded.load(sys.argv[2]).predict(json.loads(sys.argv[3]))))
print(sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__"}))
"""


def test_an_application_needs_numpy_and_onnxruntime_only(tmp_path: Path) -> None:
    """What `pip install --no-deps sparkml-ops` puts beside these two predicts the same, in a Python that has nothing else."""
    folder = saved(tmp_path / "model", SPECS["mlp"])
    path = export(folder, tmp_path / "model.onnx")
    given = [{**row, "day": None} for row in rows(5)]
    for name in ("sparkml_ops", "feature_store", "numpy", "onnxruntime"):
        place = Path(importlib.import_module(name).__file__ or "").parent
        for part in (place, place.with_name(f"{name}.libs")):
            if part.is_dir():
                (tmp_path / "site").mkdir(exist_ok=True)
                (tmp_path / "site" / part.name).symlink_to(part)

    command = [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path / "site"), str(path), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    found, modules = done.stdout.splitlines()
    np.testing.assert_allclose(json.loads(found)["probability"], artifact.load(folder).predict(table(given)), atol=1e-6)
    assert {"numpy", "onnxruntime", "sparkml_ops"} <= set(ast.literal_eval(modules)) <= {"numpy", "onnxruntime", "sparkml_ops", "feature_store"}
