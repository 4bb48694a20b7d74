"""Nodes of an ONNX graph, one call each."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparkml_ops.errors import ContractError

if TYPE_CHECKING:
    import onnx

__all__ = ["OPSETS", "Nodes", "need_onnx"]

# Understood by runtimes since 2023: the first with operations on the bits of whole numbers; the second has tables of text.
OPSETS = {"": 18, "ai.onnx.ml": 3}


def need_onnx() -> None:
    """Refuse before any work where a package is missing.

    Raises:
        ContractError: onnx or onnxruntime is not installed.
    """
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise ContractError(f"no package {' and no '.join(missing)}", expected="them for an export", mend="install sparkml-ops[onnx]")


class Nodes:
    """A graph while it is built: nodes and constants, whose names nobody else has.

    Names of inputs and outputs are columns of people; all others begin with a sign that those do not.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, name: str | None = None, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        from onnx import helper

        output = name or f"\x01{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def last_of(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> tuple[str, ...]:
        """A node with several outputs."""
        from onnx import helper

        names = tuple(f"\x01{kind}{len(self.nodes)}_{number}" for number in range(outputs))
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return names

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float64) -> str:
        """A constant of numbers."""
        from onnx import numpy_helper

        name = f"\x01constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype, order="C"), name))
        return name

    def texts(self, values: Sequence[str]) -> str:
        """A constant of texts."""
        from onnx import TensorProto, helper

        name = f"\x01constant{len(self.constants)}"
        tensor: Any = helper.make_tensor  # its stubs know numbers only
        self.constants.append(tensor(name, TensorProto.STRING, [len(values)], [value.encode() for value in values]))
        return name

    def cast(self, value: str, dtype: npt.DTypeLike, name: str | None = None) -> str:
        """The same numbers of another type."""
        from onnx import helper

        return self.add("Cast", value, name=name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def gather(self, value: str, places: Sequence[int] | str, axis: int = 0) -> str:
        """Some rows or columns."""
        at = places if isinstance(places, str) else self.constant(places, np.int64)
        return self.add("Gather", value, at, axis=axis)

    def column(self, value: str, number: int, name: str | None = None) -> str:
        """[rows] of [rows, columns]."""
        return self.add("Gather", value, self.constant(number, np.int64), name=name, axis=1)

    def upright(self, value: str) -> str:
        """[rows, 1] of [rows]."""
        return self.add("Unsqueeze", value, self.constant([1], np.int64))

    def beside(self, values: Sequence[str]) -> str:
        """Matrices with the same rows as one."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)

    def any_of(self, flags: str) -> str:
        """[rows, 1] float64: 1 where one of the [rows, columns] flags holds."""
        return self.add("ReduceMax", self.cast(flags, np.float64), self.constant([1], np.int64), keepdims=1)
