"""The model of a Python worker: loaded once a process and kept.

Spark ships functions by value where their module cannot be imported, and then any cache with them:
so the cache is here, in a module that every worker imports, and functions reach it by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from threadpoolctl import threadpool_limits

from sparkml_ops.model import artifact
from sparkml_ops.scoring.batch import LoadedModel
from sparkml_ops.scoring.explaining import with_explanation
from sparkml_ops.scoring.features import tensors, to_pandas
from sparkml_ops.scoring.kinds import arrow_kind, element, is_nested
from sparkml_ops.scoring.native import native
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.scoring.signature import Field
from sparkml_ops.tracking import OWN_LOADER, load_pyfunc

__all__ = ["limit_threads", "loaded"]

# A reused worker meets few models at a time: champion, challenger, and what notebooks try.
_KEPT = 4


@lru_cache(maxsize=_KEPT)
def loaded(model: PublishedModel) -> LoadedModel:
    """The model, loaded at the first call in this process; it computes with the task's cores."""
    folder = model.local_folder()
    plain = replace(model, outputs=model.outputs[:-1]) if model.explain else model
    found = _artifact(folder, plain) if model.loader == OWN_LOADER else _pyfunc(folder, plain)
    limit_threads()
    return with_explanation(replace(found, outputs=model.outputs), model.explain) if model.explain else found


def _artifact(folder: Path, model: PublishedModel) -> LoadedModel:
    predictor = artifact.load(folder)
    return LoadedModel(model.inputs, model.outputs, predictor.columns, model.seconds)


def _pyfunc(folder: Path, model: PublishedModel) -> LoadedModel:
    if (predict := native(folder, model, _cores())) is None:
        function = load_pyfunc(folder, loaders=(model.loader,), pickled=model.pickled)
        shaped = any(field.shape is not None for field in model.inputs)

        def predict(rows: pa.Table) -> Any:
            return function.predict(tensors(rows, model.inputs) if shaped else to_pandas(rows))

    found = predict
    return LoadedModel(model.inputs, model.outputs, lambda rows: _columns(found(rows), model.outputs), model.seconds)


def _columns(result: Any, outputs: Sequence[Field]) -> list[pa.Array]:
    """What a pyfunc model returned, as one array an output: by name where it has names, else by position.

    Raises:
        ValueError: It is not what the signature says.
    """
    names = list(result) if isinstance(result, pd.DataFrame | dict) else []
    if named := set(names) >= {field.name for field in outputs}:
        found = [result[field.name] for field in outputs]
    elif len(outputs) > 1 and any(isinstance(name, str) for name in names):
        # By position it would be a guess which of them is which.
        raise ValueError(f"outputs {', '.join(map(str, names[:5]))}; {', '.join(field.name for field in outputs[:5])} in the signature")
    elif isinstance(result, pd.DataFrame):
        found = [result.iloc[:, index] for index in range(result.shape[1])]
    elif isinstance(result, dict):
        found = list(result.values())
    else:
        values = result if isinstance(result, np.ndarray | pd.Series) else np.asarray(result)
        found = [values] if values.ndim < 2 or _is_array(outputs) else list(values.T)
    if not named and len(found) != len(outputs):
        raise ValueError(f"{len(found)} outputs, {len(outputs)} in the signature")
    return [_column(values, field) for values, field in zip(found, outputs, strict=True)]


def _is_array(outputs: Sequence[Field]) -> bool:
    return len(outputs) == 1 and element(outputs[0].type) is not None


def _column(values: Any, field: Field) -> pa.Array:
    """One output in its type; but for digits that a float has no room for, nothing is cast that would change it.

    Raises:
        ValueError: A value does not fit, or an array is not of the signature's length.
    """
    array = _array(values, field)
    if field.length is not None and (pc.list_value_length(array).to_numpy(zero_copy_only=False) != field.length).any():
        raise ValueError(f"{field.name} not of {field.length} elements, as in the signature")
    return array


def _array(values: Any, field: Field) -> pa.Array:
    kind, inner = arrow_kind(field.type), element(field.type)
    if inner is not None and isinstance(values, np.ndarray) and values.ndim > 1:
        width = values[0].size if len(values) else 0
        return pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32) * width, _array(values.reshape(-1), Field(field.name, inner)))
    if is_nested(field.type) or isinstance(values, np.ma.MaskedArray):
        # Cells of lists and maps; pandas' own gaps are none of theirs.
        return pa.array(values if isinstance(values, np.ma.MaskedArray) else list(values), kind)
    return pa.array(np.asarray(values), kind, from_pandas=True)


def limit_threads() -> None:
    """Spark runs a worker a core already: more threads than the task's cores would only get in each other's way."""
    cores = _cores()
    threadpool_limits(limits=cores)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(cores)


def _cores() -> int:
    context = TaskContext.get()
    return context.cpus() if context else 1
