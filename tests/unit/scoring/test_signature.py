"""What a model says it reads and gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sparkml_ops.errors import ContractError
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.scoring.signature import Field, Signature


def mlmodel(folder: Path, inputs: object, outputs: object) -> Path:
    document = {"signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


COLUMN = {"name": "x", "type": "double", "required": True}


def test_our_models_describe_themselves(tmp_path: Path) -> None:
    """Numbers, nulls included; a bigint that is computed with is exact to 2^53, one that is a category is text."""
    spec = ModelSpec("linear", (NumericInput("n", "bigint", 0.0, 0.0, 1.0),), (CategoricalInput("c", "bigint", ("1",)),), output="late")
    (tmp_path / "model.json").write_text(spec.to_json())

    signature = Signature.of_artifact(tmp_path)

    assert signature == Signature((Field("n", "bigint", bits=53, unseen=True), Field("c", "bigint")), (Field("late", "double"),))


def test_an_mlflow_signature_keeps_names_types_and_what_may_be_missing(tmp_path: Path) -> None:
    """Whole numbers of MLflow have no missing values; columns that are not required may be absent."""
    inputs = [COLUMN, {"name": "n", "type": "long", "required": False}, {"name": "t", "type": "datetime"}]

    signature = Signature.of_mlmodel(mlmodel(tmp_path, inputs, [{"name": "p", "type": "double"}]))

    assert signature.inputs == (Field("x", "double"), Field("n", "bigint", nullable=False, optional=True), Field("t", "timestamp"))
    assert signature.outputs == (Field("p", "double"),)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        ([{"type": "long"}], ["value"]),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}], ["value"]),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}], ["value_0", "value_1"]),
    ],
)
def test_outputs_without_names_get_some(tmp_path: Path, outputs: object, names: list[str]) -> None:
    """scikit-learn gives arrays."""
    assert [field.name for field in Signature.of_mlmodel(mlmodel(tmp_path, [COLUMN], outputs)).outputs] == names


def test_arrays_objects_and_tensors_are_columns(tmp_path: Path) -> None:
    """A tensor is the array of its elements, of a length that is looked at; what MLflow calls an object is a struct."""
    inputs = [
        {"name": "a", "type": "array", "items": {"type": "long"}},
        {"name": "s", "type": "object", "properties": {"x": {"type": "double"}, "w": {"type": "array", "items": {"type": "string"}}}},
    ]
    tensors = [
        {"name": "image", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2, 3]}},
        {"name": "age", "type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}},
    ]
    outputs = [
        {"name": "label", "type": "string"},
        {"name": "shares", "type": "array", "items": {"type": "double"}},
        {"name": "all", "type": "object", "properties": {"p": {"type": "double"}}},
    ]

    found = Signature.of_mlmodel(mlmodel(tmp_path, inputs, outputs))
    assert found.inputs == (Field("a", "array<bigint>"), Field("s", "struct<x:double,w:array<string>>"))
    assert [field.type for field in found.outputs] == ["string", "array<double>", "struct<p:double>"]
    assert found.inputs[0].gapless
    assert not found.inputs[1].gapless
    shaped = Signature.of_mlmodel(mlmodel(tmp_path, tensors, tensors))
    assert shaped.inputs == (
        Field("image", "array<float>", nullable=False, length=6, shape=(2, 3)),
        Field("age", "bigint", nullable=False, shape=()),
    )
    assert shaped.outputs == (Field("image", "array<float>", length=6), Field("age", "bigint"))


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([], [{"type": "double"}], "without a signature of its inputs"),
        ([COLUMN], [], "without a signature of its outputs"),
        ([{"type": "double"}], [{"type": "double"}], "expected a named column"),
        ([{"name": "x", "type": "binary"}], [{"type": "double"}], "expected a named column"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}], [COLUMN], "expected a named column"),
        ([{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, -1]}}], [COLUMN], "the first"),
        ([{"name": "x", "type": "array", "items": {"type": "array", "items": {"type": "long"}}}], [COLUMN], "an array or object of these"),
        ([{"name": "x", "type": "object", "properties": {"at": {"type": "datetime"}}}], [COLUMN], "an array or object of these"),
        ([{"name": "x", "type": "object", "properties": {"a b": {"type": "double"}}}], [COLUMN], "a struct's field 'a b'"),
        ([{"name": "x", "type": "object", "properties": {"n": {"type": "long"}}}], [COLUMN], "as a double, or as a column of its own"),
        ([{"name": "x", "type": "map", "values": {"type": "double"}}], [COLUMN], "expected a named column"),
        ([COLUMN], [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, -1]}}], "expected a value a row"),
    ],
)
def test_a_signature_that_columns_cannot_meet_is_refused(tmp_path: Path, inputs: object, outputs: object, message: str) -> None:
    """Without names and types nothing could be checked before the tasks start."""
    with pytest.raises(ContractError, match=message):
        Signature.of_mlmodel(mlmodel(tmp_path, inputs, outputs))
