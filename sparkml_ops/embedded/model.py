"""An exported model: rows of an application in, predictions out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sparkml_ops.embedded.columns import FORMAT, META, column
from sparkml_ops.errors import ContractError

__all__ = ["EmbeddedModel", "load"]

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


class EmbeddedModel:
    """A model that `sparkml-ops models export` wrote.

    Args:
        session: ONNX Runtime's session of the graph.
        description: What the export wrote of its columns.
    """

    def __init__(self, session: Any, description: Mapping[str, Any]) -> None:
        self._session, self._inputs, self._outputs = session, description["inputs"], description["outputs"]
        self.digest: str = description["digest"]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that a prediction needs."""
        return tuple(item["name"] for item in self._inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Columns that a prediction has."""
        return tuple(item["name"] for item in self._outputs)

    def predict(self, rows: Rows) -> dict[str, list[Any]]:
        """Predictions.

        Args:
            rows: A list of maps, one a row, or a map of columns; None is missing, what the model does not read is left alone.

        Returns:
            Output to [rows] values: numbers, NaN for a row with an infinite number; a class is None there.

        Raises:
            ContractError: An input is missing, of another type, or columns differ in length.
        """
        columns = self._columns(rows)
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1:
            raise ContractError(f"columns of {sorted(lengths)} rows", expected="as many in each", mend="give each row a value or None")
        if lengths == {0}:
            return {name: [] for name in self.outputs}
        fed = {item["name"]: column(item, columns[item["name"]]) for item in self._inputs}
        found = dict(zip(self.outputs, self._session.run(list(self.outputs), fed), strict=True))
        if "confidence" in found and self._outputs[0]["name"] == "class":
            found["class"] = [None if gone else value for value, gone in zip(found["class"].tolist(), np.isnan(found["confidence"]), strict=True)]
        return {name: values if isinstance(values, list) else values.tolist() for name, values in found.items()}

    def _columns(self, rows: Rows) -> dict[str, Sequence[Any]]:
        _check_shape(rows, self.inputs)
        if isinstance(rows, Mapping):
            missing = [name for name in self.inputs if name not in rows]
        else:
            missing = [name for name in self.inputs if any(name not in row for row in rows)]
        if missing:
            raise ContractError(f"rows without {missing[:5]}", expected=f"the model's {len(self.inputs)} inputs", mend="add them, None where unknown")
        return {name: rows[name] if isinstance(rows, Mapping) else [row[name] for row in rows] for name in self.inputs}


def _check_shape(rows: Any, inputs: Sequence[str]) -> None:
    """Refuse a row alone, whose texts would pass for columns of letters, and tables of other kinds."""
    if isinstance(rows, Mapping):
        known = [rows[name] for name in inputs if name in rows]
        right = not any(isinstance(values, str | bytes) or not hasattr(values, "__len__") for values in known)
    else:
        right = isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows)
    if not right:
        raise ContractError(
            f"rows of type {type(rows).__name__}" + (" with a value where a column is expected" if isinstance(rows, Mapping) else ""),
            expected="a list of maps, one a row, or a map of columns",
            mend='a row alone: predict([row]); a table of pandas: predict(table.to_dict("list"))',
        )


def load(path: str | Path, *, threads: int = 1) -> EmbeddedModel:
    """Read an exported model.

    Args:
        path: Of the file that `sparkml-ops models export` wrote.
        threads: That one prediction may use.

    Raises:
        ContractError: No such file, no export of ours, or onnxruntime is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise ContractError("no package onnxruntime", expected="it to run an exported model", mend="install sparkml-ops[onnx], or onnxruntime alone")
    if not Path(path).is_file():
        raise ContractError(f"no file {path}", expected="an exported model", mend="write one with `sparkml-ops models export`")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        description = json.loads(session.get_modelmeta().custom_metadata_map[META])
        found = description["format"]
    except Exception as error:  # onnxruntime has no class of its own for a file that it cannot read
        raise ContractError(f"{path}, which is no export of this project ({type(error).__name__})", mend="export the model again") from error
    if found != FORMAT:
        raise ContractError(f"an export of format {found}", expected=f"format {FORMAT}", mend="upgrade sparkml-ops, or export the model again")
    return EmbeddedModel(session, description)
