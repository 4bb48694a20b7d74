"""A model of ours as one ONNX graph: raw columns in, predictions out, the preprocessing inside.

Numbers are float64 with NaN for missing; a date is its days since 1970, true is 1. Categories are text, and `MISSING` for null; where values
are hashed, their bucket is computed outside (`sparkml_ops.embedded` does both). Arrays are [rows, elements] float64. The graph is made from the
description and the weights with ONNX's own helper, so that nothing is traced and no example is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparkml_ops.embedded.columns import FORMAT, META, MISSING
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION, WEIGHTS, digest
from sparkml_ops.model.network_factors import FIRST, SECOND, THIRD
from sparkml_ops.model.onnx_nodes import OPSETS, Nodes, need_onnx
from sparkml_ops.model.spec import DEEP, ModelSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["export"]

Weights = Mapping[str, "npt.NDArray[np.floating]"]
_KINDS = ("linear", "mlp", "wide_deep")


def export(folder: Path, path: Path) -> Path:
    """Write an artifact as an ONNX file; the same artifact gives the same bytes.

    Args:
        folder: With weights and description, verified.
        path: Of the new file.

    Raises:
        ContractError: The kind of the model has no such graph, a column is called as an output is, or a package is missing.
    """
    need_onnx()
    import onnx
    from safetensors.numpy import load_file

    spec = ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
    _check(spec)
    model = _Graph(spec, load_file(folder / WEIGHTS)).model(digest(folder))
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _check(spec: ModelSpec) -> None:
    if spec.kind not in _KINDS:
        what = "a team's own network" if spec.kind == "module" else "a recommendation, which needs the catalogue's index"
        raise ContractError(f"a model of kind {spec.kind}: {what}", expected=f"one of {', '.join(_KINDS)}", mend="export it with its own tools")
    if both := {name for name, _ in spec.inputs} & {name for name, _ in spec.outputs}:
        raise ContractError(f"`{min(both)}` among inputs and outputs", expected="names of their own", mend="rename the column, and train again")


class _Graph:
    """The graph of one model.

    Args:
        spec: The description.
        weights: As training named them.
    """

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self._spec, self._weights, self._nodes = spec, weights, Nodes()
        self._dtype = weights["output.weight"].dtype

    def model(self, of: str) -> onnx.ModelProto:
        """The whole as ONNX's own record, with what `sparkml_ops.embedded` has to know."""
        from onnx import TensorProto, helper

        spec, float64 = self._spec, TensorProto.DOUBLE
        hashed = {column.name for column in spec.categorical if column.buckets}
        inputs = [
            *(helper.make_tensor_value_info(column.name, float64, ["rows"]) for column in spec.numeric),
            *(
                helper.make_tensor_value_info(column.name, TensorProto.INT64 if column.name in hashed else TensorProto.STRING, ["rows"])
                for column in spec.categorical
            ),
            *(helper.make_tensor_value_info(array.name, float64, ["rows", len(array.mean)]) for array in spec.arrays),
        ]
        self._outputs(self._decoded(self._encoded_and_run()))
        types = {"double": float64, "string": TensorProto.STRING, "bigint": TensorProto.INT64}
        outputs = [helper.make_tensor_value_info(name, types[kind], ["rows"]) for name, kind in spec.outputs]
        graph = helper.make_graph(self._nodes.nodes, "sparkml_ops", inputs, outputs, self._nodes.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        made = helper.make_model(graph, opset_imports=opsets, producer_name="sparkml-ops", ir_version=9)
        helper.set_model_props(made, {META: json.dumps({"format": FORMAT, "digest": of, **_columns(spec)}, sort_keys=True)})
        return made

    def _encoded_and_run(self) -> str:
        """[rows, outputs] float64 of the network; NaN where a number is infinite."""
        nodes = self._nodes
        numeric, places = self._numbers(), self._places()
        values = self._network(numeric, places)
        if not self._spec.numeric_width:
            return values
        broken = nodes.cast(nodes.any_of(nodes.add("IsInf", numeric)), np.bool_)
        return nodes.add("Where", broken, nodes.constant(np.nan), values)

    def _numbers(self) -> str:
        """[rows, numeric_width] as `Encoder` gives them: float64 first, rounded once."""
        nodes, spec, parts = self._nodes, self._spec, []
        if spec.numeric:
            raw = nodes.beside([nodes.upright(column.name) for column in spec.numeric])
            absent = nodes.add("IsNaN", raw)
            mean, scale, fill = ([getattr(column, key) for column in spec.numeric] for key in ("mean", "scale", "fill"))
            filled = nodes.constant((np.array(fill) - np.array(mean)) / np.array(scale))
            parts.append(nodes.add("Where", absent, filled, self._standardised(raw, mean, scale)))
            if marked := [index for index, column in enumerate(spec.numeric) if column.indicator]:
                parts.append(nodes.gather(nodes.cast(absent, np.float64), marked, axis=1))
        for array in spec.arrays:
            absent = nodes.add("IsNaN", array.name)
            parts.append(nodes.add("Where", absent, nodes.constant(0.0), self._standardised(array.name, array.mean, array.scale)))
            parts += [nodes.any_of(absent)] if array.indicator else []
        if not parts:  # a model of categories alone: [rows, 0]
            like = nodes.cast(self._places()[0], np.float64)
            parts.append(nodes.add("Slice", nodes.upright(like), *(nodes.constant([at], np.int64) for at in (0, 0, 1))))
        return nodes.cast(nodes.beside(parts), self._dtype)

    def _standardised(self, raw: str, mean: npt.ArrayLike, scale: npt.ArrayLike) -> str:
        nodes = self._nodes
        return nodes.add("Div", nodes.add("Sub", raw, nodes.constant(mean)), nodes.constant(scale))

    def _places(self) -> list[str]:
        """[rows] position of each category."""
        nodes, found = self._nodes, []
        for column in self._spec.categorical:
            if column.buckets:
                found.append(nodes.add("Identity", column.name))
                continue
            known = [MISSING, *column.vocabulary]
            default = len(known) if column.rare else 0
            table: dict[str, Any] = {"keys_strings": known, "values_int64s": list(range(len(known))), "default_int64": default}
            found.append(nodes.add("LabelEncoder", column.name, domain="ai.onnx.ml", **table))
        return found

    def _network(self, numeric: str, places: list[str]) -> str:
        """[rows, outputs] float64, as the predictor sums them."""
        nodes, spec = self._nodes, self._spec
        embedded = [nodes.gather(self._weight(f"embeddings.{index}.weight"), place) for index, place in enumerate(places)]
        values = nodes.beside([numeric, *embedded]) if spec.kind in DEEP else numeric
        for index in range(len(spec.hidden)):
            values = nodes.add("Relu", self._layer(f"hidden.{index}", values))
        total = nodes.cast(self._layer("output", values), np.float64)
        if spec.kind == "linear":
            for vectors in embedded:
                total = nodes.add("Add", total, nodes.cast(vectors, np.float64))
        return nodes.add("Add", total, self._wide(numeric, places)) if spec.kind == "wide_deep" else total

    def _wide(self, numeric: str, places: list[str]) -> str:
        nodes, spec = self._nodes, self._spec
        names = [column.name for column in spec.categorical]
        weight = nodes.constant(self._weights["wide.numeric.weight"].T, self._dtype)
        total = nodes.cast(nodes.add("MatMul", numeric, weight), np.float64)
        parts = [(f"wide.categories.{index}.weight", place) for index, place in enumerate(places)]
        for index, cross in enumerate(spec.crosses):
            pair = (places[names.index(cross.first)], places[names.index(cross.second)])
            parts.append((f"wide.crosses.{index}.weight", self._crossed(*pair, cross.buckets)))
        for name, place in parts:
            total = nodes.add("Add", total, nodes.gather(nodes.constant(self._weights[name]), place))
        return total

    def _crossed(self, first: str, second: str, buckets: int) -> str:
        """[rows] buckets as `network.crossed` has them; products wrap around there and here."""
        nodes = self._nodes
        whole = {number: nodes.constant(number, np.int64) for number in (FIRST, SECOND, THIRD, buckets)}
        mixed = nodes.add("Mul", nodes.add("Add", nodes.add("Mul", first, whole[FIRST]), second), whole[SECOND])
        mixed = nodes.add("Mul", nodes.add("BitwiseXor", mixed, self._shifted(mixed, 32)), whole[THIRD])
        return nodes.add("Mod", nodes.add("BitwiseXor", mixed, self._shifted(mixed, 29)), whole[buckets])

    def _shifted(self, value: str, bits: int) -> str:
        """An arithmetic shift to the right: ONNX has the logical one only, and divides towards zero."""
        nodes = self._nodes
        power = nodes.constant(1 << bits, np.int64)
        return nodes.add("Div", nodes.add("Sub", value, nodes.add("Mod", value, power)), power)

    def _weight(self, name: str) -> str:
        return self._nodes.constant(self._weights[name], self._dtype)

    def _layer(self, name: str, values: str) -> str:
        nodes = self._nodes
        product = nodes.add("MatMul", values, nodes.constant(self._weights[f"{name}.weight"].T, self._dtype))
        return nodes.add("Add", product, self._weight(f"{name}.bias"))

    def _decoded(self, values: str) -> str:
        """[rows, outputs] predictions, as `Target.decode` gives them."""
        nodes, target = self._nodes, self._spec.target
        if target.task in ("binary", "multilabel"):
            return nodes.add("Sigmoid", values)
        if target.task == "multiclass":
            return nodes.add("Softmax", values, axis=1)
        if target.task == "count":
            return nodes.add("Mul", nodes.add("Exp", values), nodes.constant(target.mean))
        moved = nodes.add("Add", nodes.add("Mul", values, nodes.constant(target.scale)), nodes.constant(target.mean))
        if target.task != "quantile":
            return moved
        return nodes.last_of("TopK", moved, nodes.constant([target.width], np.int64), outputs=2, axis=1, largest=0, sorted=1)[0]

    def _outputs(self, predicted: str) -> None:
        nodes, target = self._nodes, self._spec.target
        names = [name for name, _ in self._spec.outputs]
        if target.task == "multiclass":
            best = nodes.add("ArgMax", predicted, axis=1, keepdims=0)
            classes = nodes.constant([int(name) for name in target.classes], np.int64) if target.type == "bigint" else nodes.texts(target.classes)
            nodes.add("Gather", classes, best, name=names[0], axis=0)
            nodes.add("ReduceMax", predicted, nodes.constant([1], np.int64), name=names[1], keepdims=0)
            names = names[2:]
        for number, name in enumerate(names):
            nodes.column(predicted, number, name=name)


def _columns(spec: ModelSpec) -> dict[str, object]:
    inputs = [
        *({"name": column.name, "type": column.type, "role": "number"} for column in spec.numeric),
        *({"name": column.name, "type": column.type, "role": "category", "buckets": column.buckets} for column in spec.categorical),
        *({"name": array.name, "type": array.type, "role": "array", "length": len(array.mean)} for array in spec.arrays),
    ]
    return {"inputs": inputs, "outputs": [{"name": name, "type": kind} for name, kind in spec.outputs]}
