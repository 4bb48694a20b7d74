"""Whether the same rows get the same predictions wherever a model runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["exported_difference", "parity"]

# Rows and rounds of a figure of speed.
_TIMED, _ROUNDS = 4096, 3


def parity(folder: Path, inputs: pa.Table, executors: pa.Table, *, onnx: bool) -> dict[str, float]:
    """Largest differences from the predictions of this process, by where the others were made.

    Args:
        folder: The verified artifact.
        inputs: Rows with the model's inputs.
        executors: What the function of scoring predicted for them, in the same order.
        onnx: Whether the model exported to ONNX is asked too.

    Returns:
        `rows`, `clean_process_difference`, `executors_difference` and perhaps `onnx_difference`; infinite where only one side has a
        prediction, or where texts differ. With the export also `rows_per_second` and `onnx_rows_per_second`, each on one core.

    Raises:
        ContractError: The clean process failed, or a package for the export is missing.
    """
    from sparkml_ops.model.reloaded import in_clean_process, predicted_by  # torch: only where a gate asks

    here = predicted_by(folder, inputs)
    found = {"rows": float(inputs.num_rows), "clean_process_difference": _difference(here, in_clean_process(folder, inputs))}
    found["executors_difference"] = _difference(here, executors.select(here.column_names))
    if onnx:
        from sparkml_ops.model.onnx_export import export

        with TemporaryDirectory() as scratch:
            file = export(folder, Path(scratch) / "model.onnx")
            found["onnx_difference"] = exported_difference(folder, file, inputs)
            found |= _speeds(folder, file, inputs)
    return found


def exported_difference(folder: Path, file: Path, rows: pa.Table) -> float:
    """Largest difference between the predictions of an artifact and of its export.

    Args:
        folder: The verified artifact.
        file: The export.
        rows: With the model's inputs.
    """
    from sparkml_ops.embedded import load
    from sparkml_ops.model.reloaded import predicted_by

    model = load(file)
    exported = model.predict({name: rows.column(name).to_pylist() for name in model.inputs})
    return _difference(predicted_by(folder, rows), pa.table({name: pa.array(values) for name, values in exported.items()}))


def _speeds(folder: Path, file: Path, rows: pa.Table) -> dict[str, float]:
    """Rows a second of the model and of its export, from columns to predictions, on one core: the best of some rounds in turns."""
    import torch

    from sparkml_ops.embedded import load as load_export
    from sparkml_ops.model.artifact import load

    many = pa.concat_tables([rows] * max(1, _TIMED // max(1, rows.num_rows))).combine_chunks()
    predictor, model, threads = load(folder), load_export(file), torch.get_num_threads()
    columns = {name: _column(many.column(name)) for name in model.inputs}
    ways: dict[str, Callable[[], object]] = {
        "rows_per_second": lambda: predictor.predict(many),
        "onnx_rows_per_second": lambda: model.predict(columns),
    }
    best = dict.fromkeys(ways, 0.0)
    torch.set_num_threads(1)
    try:
        for _ in range(_ROUNDS):
            for name, run in ways.items():
                started = time.perf_counter()
                run()
                best[name] = max(best[name], many.num_rows / (time.perf_counter() - started))
    finally:
        torch.set_num_threads(threads)
    return best


def _column(column: pa.ChunkedArray) -> Any:
    return column.to_numpy() if pa.types.is_floating(column.type) else column.to_pylist()


def _difference(here: pa.Table, there: pa.Table) -> float:
    """Largest difference of two tables of predictions with the same columns."""
    if here.num_rows != there.num_rows:
        return float("inf")
    return max((_apart(here.column(name), there.column(name)) for name in here.column_names), default=0.0)


def _apart(one: pa.ChunkedArray, other: pa.ChunkedArray) -> float:
    if not pa.types.is_floating(one.type):
        return 0.0 if one.to_pylist() == other.to_pylist() else float("inf")
    first, second = _numbers(one), _numbers(other)
    if (np.isnan(first) != np.isnan(second)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        return float(np.where(first == second, 0.0, np.nan_to_num(np.abs(first - second), nan=0.0)).max(initial=0.0))


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
