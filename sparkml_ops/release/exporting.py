"""A registered version as an ONNX file, checked against the model itself before anybody gets it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store.column_type import arrow_type
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.release.parity import exported_difference
from sparkml_ops.tracking import OWN_LOADER, RegisteredModel, Registry

__all__ = ["Exported", "example_rows", "export_version"]

_ROWS, _TOLERANCE = 128, 1e-5
_GAPS, _SPREAD = 0.2, 2.0


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Args:
        model: Registered name.
        version: Its number.
        digest: Of the artifact.
        file: The ONNX file.
        bytes: Its size.
        rows: Made-up rows that both predicted.
        difference: Largest difference of their predictions, in the unit of the prediction.
    """

    model: str
    version: int
    digest: str
    file: str
    bytes: int
    rows: int
    difference: float


def export_version(tracking: Registry, registered: RegisteredModel, path: Path) -> Exported:
    """Write a version as one ONNX file; it appears only where it predicts what the model does.

    Args:
        tracking: Has its files.
        registered: The version.
        path: Of the new file.

    Raises:
        ContractError: A model of others, a kind without such a graph, a missing package, or predictions that differ.
    """
    from sparkml_ops.model.onnx_export import export

    if registered.loader != OWN_LOADER:
        raise ContractError(
            f"version {registered.version} of `{registered.name}`, loaded by {registered.loader}",
            expected="a model of this project",
            mend="export it with the tools of its own library",
        )
    with TemporaryDirectory() as scratch:
        folder = tracking.fetch(registered, Path(scratch) / "model")
        spec = ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        made = export(folder, Path(scratch) / "exported.onnx")
        difference = exported_difference(folder, made, example_rows(spec))
        if not difference <= _TOLERANCE * spec.target.scale:
            raise ContractError(
                f"an export whose predictions differ by {difference:.3g}", expected=f"at most {_TOLERANCE * spec.target.scale:.3g}", mend="report it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all, also across file systems.
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(made.read_bytes())
        partial.replace(path)
    return Exported(registered.name, registered.version, registered.digest, str(path), path.stat().st_size, _ROWS, difference)


def example_rows(spec: ModelSpec, count: int = _ROWS, seed: int = 7) -> pa.Table:
    """Made-up rows, of nobody's data: numbers around their means, known and unknown categories, gaps everywhere."""
    rng = np.random.default_rng(seed)

    def gaps(values: list[Any]) -> list[Any]:
        return [None if rng.random() < _GAPS else value for value in values]

    columns = {}
    for number in spec.numeric:
        drawn = number.mean + _SPREAD * number.scale * rng.normal(size=count)
        columns[number.name] = pa.array(gaps([_number(number.type, value) for value in drawn]), arrow_type(number.type))
    for category in spec.categorical:
        known = [*category.vocabulary, *("true", "false")] if category.type == "boolean" else [*category.vocabulary, "17", "99"]
        columns[category.name] = pa.array(
            gaps([_category(category.type, str(value)) for value in rng.choice(known, count)]), arrow_type(category.type)
        )
    for array in spec.arrays:
        drawn = np.array(array.mean) + _SPREAD * np.array(array.scale) * rng.normal(size=(count, len(array.mean)))
        columns[array.name] = pa.array(gaps([gaps(row.tolist()) for row in drawn]), arrow_type(array.type))
    return pa.table(columns)


def _number(kind: str, value: float) -> Any:
    if kind == "boolean":
        return value > 0
    if kind == "date":
        return date(1970, 1, 1) + timedelta(days=int(np.clip(value, -30_000, 100_000)))
    if kind in ("float", "double"):
        return value
    most = {"tinyint": 127, "smallint": 32_767, "int": 2**31 - 1}.get(kind, 2**53)
    return int(np.clip(value, -most, most))


def _category(kind: str, value: str) -> Any:
    return value if kind == "string" else value == "true" if kind == "boolean" else int(value)
