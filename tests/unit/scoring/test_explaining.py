"""What stands beside a prediction: Shapley values against a row of missing inputs, held against their definition over all orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring import explaining
from sparkml_ops.scoring.batch import Budget, LoadedModel, score_rows
from sparkml_ops.scoring.explaining import EXPLANATION, explained, with_explanation
from sparkml_ops.scoring.reason import RowReasons
from sparkml_ops.scoring.signature import Field, Signature

INPUTS = (Field("a", "double"), Field("b", "double"), Field("word", "string"), Field("c", "double"), Field("whole", "bigint", nullable=False))
NAMES = ("a", "b", "word", "c")
ROWS = pa.table(
    {
        "a": [1.0, -2.0, math.nan, 0.5, 0.0],
        "b": [2.0, 3.0, 1.0, -1.0, 0.0],
        "word": ["long", None, "a", "tree", ""],
        "c": [0.5, 0.25, -4.0, 8.0, 0.0],
        "whole": pa.array([1, 2, 3, 4, 5], pa.int64()),
    }
)
Floats = npt.NDArray[np.float64]


def pairs(rows: pa.Table) -> Floats:
    """[rows, 2] two numbers in which no more than two inputs act together; what is missing counts as 1."""
    a, b, c = (np.nan_to_num(rows[name].to_numpy(), nan=1.0) for name in ("a", "b", "c"))
    length = np.array([1 if word is None else len(word) for word in rows["word"].to_pylist()])
    whole = rows["whole"].to_numpy()
    return np.column_stack([a * b + 3 * c - length * c + whole, 2 * a - b * length + np.exp(a)])


def model(outputs: Sequence[Field], columns: Sequence[int] = (0, 1)) -> LoadedModel:
    return LoadedModel(INPUTS, (*outputs, EXPLANATION), lambda rows: [pa.array(pairs(rows)[:, place]) for place in columns])


def without(rows: pa.Table, name: str) -> pa.Table:
    kind = rows.schema.field(name).type
    missing = pa.array([None if kind == pa.string() else math.nan] * rows.num_rows, kind)
    return rows.set_column(rows.column_names.index(name), name, missing)


def shapley(output: int) -> Floats:
    """[rows, names] the mean, over all orders, of what each input takes with it."""
    moved, orders = np.zeros((ROWS.num_rows, len(NAMES))), list(permutations(range(len(NAMES))))
    for order in orders:
        left = ROWS
        for place in order:
            after = without(left, NAMES[place])
            moved[:, place] += (pairs(left) - pairs(after))[:, output] / len(orders)
            left = after
    return moved


def told(found: pa.Array) -> list[dict[str, float]]:
    return [{item["feature"]: item["contribution"] for item in row} for row in found.to_pylist()]


def test_contributions_are_the_shapley_values() -> None:
    """Exact where no more than two inputs act together, and together they are the way from the row of missing inputs; what is never missing has none."""
    one = with_explanation(model([Field("y", "double")], [0]), 9)

    found = score_rows(one, ROWS, RowReasons(pa.nulls(5, pa.string())), Budget())

    expected = shapley(0)
    rows = told(found.outputs[1])
    assert [[row[name] for name in NAMES] for row in rows] == [pytest.approx(values.tolist(), abs=1e-12) for values in expected]
    assert all(sizes == sorted(sizes, reverse=True) for row in rows if (sizes := [abs(value) for value in row.values()]))
    assert found.outputs[1].type == pa.list_(pa.struct([("feature", pa.string()), ("contribution", pa.float64())]))
    missing = pairs(reduce(without, NAMES, ROWS))[:, 0]
    assert [sum(row.values()) for row in rows] == pytest.approx((pairs(ROWS)[:, 0] - missing).tolist(), abs=1e-12)


def test_of_several_numbers_the_greatest_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, the first few inputs; a batch that is cut for its memory says the same."""
    two = with_explanation(model([Field("first", "double"), Field("second", "float")]), 2)
    whole = two.predict(ROWS)
    monkeypatch.setattr(explaining, "_MOST_CELLS", 8)

    cut = with_explanation(model([Field("first", "double"), Field("second", "float")]), 2).predict(ROWS)

    both = np.stack([shapley(0), shapley(1)], axis=1)
    greatest = both[np.arange(5), pairs(ROWS).argmax(axis=1)]
    assert set(pairs(ROWS).argmax(axis=1)) == {0, 1}
    for row, values in zip(told(whole[2]), greatest, strict=True):
        first = np.argsort(-np.abs(values), kind="stable")[:2]
        assert row == pytest.approx({NAMES[place]: values[place] for place in first}, abs=1e-12)
    assert cut[2].equals(whole[2])


def test_a_row_at_fault_has_no_explanation() -> None:
    """The model's error in any call costs the rows at fault alone."""

    def strict(rows: pa.Table) -> list[pa.Array]:
        if any(word is not None and len(word) > 3 for word in rows["word"].to_pylist()):
            raise ValueError("too long")
        return [pa.array(pairs(rows)[:, 0])]

    one = with_explanation(LoadedModel(INPUTS, (Field("y", "double"), EXPLANATION), strict), 1)

    found = score_rows(one, ROWS, RowReasons(pa.nulls(5, pa.string())), Budget())

    assert [value is None for value in found.outputs[1].to_pylist()] == [True, False, False, True, False]
    assert [reason is None for reason in found.reasons.to_pylist()] == [False, True, True, False, True]


@pytest.mark.parametrize(
    "signature",
    [
        Signature((Field("a", "double"),), (Field("label", "string"),)),
        Signature((Field("a", "double"),), (Field("y", "double"), Field("explanation", "string"))),
        Signature((Field("a", "bigint", nullable=False),), (Field("y", "double"),)),
    ],
)
def test_what_cannot_be_explained_is_refused(signature: Signature) -> None:
    """Before a task starts."""
    with pytest.raises(ContractError, match=r"set scoring\.explain=0"):
        explained(signature, "flights")


def test_the_explanation_is_the_last_output() -> None:
    """After those that the model has by itself."""
    assert explained(Signature(INPUTS, (Field("y", "double"),)), "flights").outputs == (Field("y", "double"), EXPLANATION)
