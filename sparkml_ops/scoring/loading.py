"""The model of a Python worker: loaded once a process and kept.

Spark ships functions by value where their module cannot be imported, and then any cache with them:
so the cache is here, in a module that every worker imports, and functions reach it by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import TaskContext
from threadpoolctl import threadpool_limits

from sparkml_ops.model import artifact
from sparkml_ops.scoring.batch import LoadedModel
from sparkml_ops.scoring.features import ARROW_TYPES, to_pandas
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
    found = _artifact(folder, model) if model.loader == OWN_LOADER else _pyfunc(folder, model)
    limit_threads()
    return found


def _artifact(folder: Path, model: PublishedModel) -> LoadedModel:
    predictor = artifact.load(folder)
    return LoadedModel(model.inputs, model.outputs, predictor.columns)


def _pyfunc(folder: Path, model: PublishedModel) -> LoadedModel:
    if (predict := native(folder, model, _cores())) is None:
        function = load_pyfunc(folder, loaders=(model.loader,))
        return LoadedModel(model.inputs, model.outputs, lambda rows: _columns(function.predict(to_pandas(rows)), model.outputs))
    found = predict
    return LoadedModel(model.inputs, model.outputs, lambda rows: _columns(found(rows), model.outputs))


def _columns(result: Any, outputs: Sequence[Field]) -> list[pa.Array]:
    """What a pyfunc model returned, as one array an output.

    Raises:
        ValueError: It is not what the signature says.
    """
    named = result.columns if isinstance(result, pd.DataFrame) else result if isinstance(result, dict) else ()
    if set(named) >= {field.name for field in outputs}:
        found = [result[field.name] for field in outputs]
    else:
        values = np.asarray(result)
        found = [values] if values.ndim == 1 else list(values.T)
        if len(found) != len(outputs):
            raise ValueError(f"{len(found)} outputs, {len(outputs)} in the signature")
    return [pa.array(np.asarray(values), ARROW_TYPES[field.type], from_pandas=True) for values, field in zip(found, outputs, strict=True)]


def limit_threads() -> None:
    """Spark runs a worker a core already: more threads than the task's cores would only get in each other's way."""
    cores = _cores()
    threadpool_limits(limits=cores)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(cores)


def _cores() -> int:
    context = TaskContext.get()
    return context.cpus() if context else 1
