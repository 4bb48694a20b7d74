"""What each prediction hangs on, beside it: how far each input moves it from where it would be were the input missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.batch import LoadedModel
from sparkml_ops.scoring.kinds import arrow_kind
from sparkml_ops.scoring.signature import Field, Signature

__all__ = ["EXPLANATION", "explained", "with_explanation"]

EXPLANATION = Field("explanation", "array<struct<feature:string,contribution:double>>")
_NUMBERS = frozenset({"double", "float"})
# Contributions of a part of a batch that are held at a time: 32 MiB.
_MOST_CELLS = 1 << 22

Floats = npt.NDArray[np.float64]


def explained(signature: Signature, name: str) -> Signature:
    """A signature whose last output is the explanation.

    Args:
        name: The model, for messages.

    Raises:
        ContractError: The model gives no number to explain, has an output of this name, or takes no missing values.
    """
    outputs = {field.name: field.type for field in signature.outputs}
    if EXPLANATION.name in outputs or not _NUMBERS & set(outputs.values()) or not _removable(signature.inputs):
        raise ContractError(
            f"model `{name}` with the outputs {', '.join(f'`{field.name}` {field.type}' for field in signature.outputs[:5])}"
            f" and {len(_removable(signature.inputs))} of {len(signature.inputs)} inputs that may be missing",
            expected=f"a double or float to explain, no output `{EXPLANATION.name}`, and inputs whose absence tells what they matter",
            mend="set scoring.explain=0",
        )
    return replace(signature, outputs=(*signature.outputs, EXPLANATION))


def with_explanation(model: LoadedModel, top: int) -> LoadedModel:
    """A model that also says which inputs move each prediction most, the furthest first.

    A contribution is a Shapley value against the row whose inputs are all missing, in units of the output: inputs are taken away one after
    the other, in the signature's order and once more in the reverse, and the mean of both is what each took with it. So contributions of
    all inputs add up to the distance between both rows' predictions, and are exact where no more than two inputs act together. Inputs that
    a model never takes missing stay, and have none. Of several numbers among the outputs the row's greatest is explained, which of several
    classes is the likeliest. It costs two calls of the model for each input. Sources: Lundberg & Lee (2017); Mitchell et al., "Sampling
    permutations for Shapley value estimation" (2022), on pairs of an order and its reverse.

    Args:
        model: Its last output is `EXPLANATION`.
        top: Inputs that are named for each row, at most.
    """
    numbers = [place for place, field in enumerate(model.outputs) if field.type in _NUMBERS]
    removable = [field.name for field in _removable(model.inputs)]

    def of(rows: pa.Table) -> Floats:
        return _matrix(model.predict(rows), numbers)

    def predict(rows: pa.Table) -> Sequence[pa.Array]:
        names = [name for name in removable if name in rows.column_names]
        found, size = model.predict(rows), max(1, _MOST_CELLS // max(1, len(names)))
        full, parts = _matrix(found, numbers), [pa.nulls(0, arrow_kind(EXPLANATION.type))]
        for start in range(0, rows.num_rows, size):
            moved = _contributions(of, rows.slice(start, size), full[start : start + size], names)
            parts.append(_told(moved, names, top))
        return [*found, pa.concat_arrays(parts)]

    return replace(model, predict=predict)


def _removable(inputs: Sequence[Field]) -> list[Field]:
    return [field for field in inputs if field.nullable]


def _matrix(outputs: Sequence[pa.Array], numbers: Sequence[int]) -> Floats:
    """[rows, numbers] those outputs that are numbers."""
    return np.column_stack([np.asarray(outputs[place].to_numpy(zero_copy_only=False), np.float64) for place in numbers])


def _contributions(of: Callable[[pa.Table], Floats], rows: pa.Table, full: Floats, names: Sequence[str]) -> Floats:
    """[rows, names] how far each input moves the number that is explained.

    Args:
        of: [rows, numbers] what the model gives.
        full: The same of the rows as they are.
    """
    row, chosen = np.arange(len(full)), np.nan_to_num(full, nan=-np.inf).argmax(axis=1)
    moved = np.zeros((len(full), len(names)))
    for order in (range(len(names)), reversed(range(len(names)))):
        left, before = rows, full[row, chosen]
        for place in order:
            left = _without(left, names[place])
            after = of(left)[row, chosen]
            moved[:, place] += (before - after) / 2
            before = after
    return moved


def _without(rows: pa.Table, name: str) -> pa.Table:
    """The rows with an input missing: NaN where it is a float, as `features.py` has it, else null."""
    place, kind = rows.column_names.index(name), rows.schema.field(name).type
    missing = pa.nulls(rows.num_rows, kind)
    return rows.set_column(place, name, missing.fill_null(math.nan) if pa.types.is_floating(kind) else missing)


def _told(moved: Floats, names: Sequence[str], top: int) -> pa.Array:
    """Of each row the names that moved it most; of those that moved it as far the first ones."""
    count = min(top, len(names))
    first = np.argsort(-np.abs(moved), axis=1, kind="stable")[:, :count]
    values = pa.array(np.take_along_axis(moved, first, axis=1).ravel())
    features = pa.array(names, pa.string()).take(pa.array(first.ravel()))
    kind = arrow_kind(EXPLANATION.type)
    offsets = pa.array(np.arange(len(moved) + 1, dtype=np.int32) * count)
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([features, values], fields=list(kind.value_type)), type=kind)
