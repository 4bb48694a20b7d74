"""What a model returned, against the signature: its own values in the signature's types, or an error that costs the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sparkml_ops.scoring.loading import _columns
from sparkml_ops.scoring.signature import Field

TWO = (Field("label", "string"), Field("shares", "array<double>", length=2))
SHARES = np.array([[0.25, 0.75], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("result", "outputs", "expected"),
    [
        (np.array([[1.0], [2.0]]), [Field("p", "double")], [[1.0, 2.0]]),
        (np.array([[1.0, 2.0]]), [Field("a", "double"), Field("b", "double")], [[1.0], [2.0]]),
        (pd.DataFrame({"b": [1.0], "a": [2.0]}), [Field("a", "double"), Field("b", "double")], [[2.0], [1.0]]),
        (pd.DataFrame({"another": [1.0]}), [Field("p", "double")], [[1.0]]),
        (pd.Series([2**60 + 1, 3], dtype="Int64"), [Field("n", "bigint")], [[2**60 + 1, 3]]),
        ({"label": np.array(["a", "b"]), "shares": SHARES}, TWO, [["a", "b"], SHARES.tolist()]),
        (SHARES.reshape(2, 1, 2), [Field("t", "array<double>", length=2)], [SHARES.tolist()]),
        (np.empty((0, 2)), [Field("t", "array<double>", length=2)], [[]]),
        ([{"n": 2**60 + 1}, {"n": None}], [Field("s", "struct<n:bigint>")], [[{"n": 2**60 + 1}, {"n": None}]]),
        (np.ma.array([1.0, 9.0], mask=[False, True]), [Field("p", "double")], [[1.0, None]]),
    ],
)
def test_values_arrive_as_the_model_gave_them(result: Any, outputs: list[Field], expected: list[Any]) -> None:
    """By name where it has names, else by position; a masked value is none."""
    assert [column.to_pylist() for column in _columns(result, outputs)] == expected


@pytest.mark.parametrize(
    ("result", "outputs", "message"),
    [
        (pd.DataFrame({"a": [1.0], "c": [2.0]}), [Field("a", "double"), Field("b", "double")], "outputs a, c; a, b in the signature"),
        ({"label": ["a"], "odds": [[0.5, 0.5]]}, TWO, "outputs label, odds; label, shares"),
        (np.array([[1.0, 2.0]]), [Field("p", "double")], "2 outputs, 1 in the signature"),
        ({"label": ["a"], "shares": np.ones((1, 3))}, TWO, "shares not of 2 elements"),
        (np.array([0.7]), [Field("n", "bigint")], "truncated"),
        (np.array([2**53 + 1]), [Field("p", "double")], "not in range"),
        (np.array([2**40]), [Field("n", "int")], "not in range"),
        (np.array(["2013-07-01T00:00:00.000000001"], "datetime64[ns]"), [Field("at", "timestamp")], "would lose data"),
    ],
)
def test_what_is_not_the_signature_s_is_an_error(result: Any, outputs: list[Field], message: str) -> None:
    """Nothing is cast, cut or taken for something else in silence."""
    with pytest.raises(ValueError, match=message):
        _columns(result, outputs)


@pytest.mark.parametrize("result", [np.array([1, 2]), np.array(["0.5"]), np.array([1j]), None, 3.0])
def test_another_type_is_an_error(result: Any) -> None:
    """Text for a number, a number for text, no column at all."""
    kind = "string" if isinstance(result, np.ndarray) and result.dtype.kind == "i" else "double"

    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)):
        _columns(result, [Field("p", kind)])
