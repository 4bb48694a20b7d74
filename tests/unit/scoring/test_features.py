"""Rows from pandas and from Arrow become the same table, or a reason."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.batch import Budget
from sparkml_ops.scoring.engines import score_pandas
from sparkml_ops.scoring.features import from_arrow, from_pandas, tensors, to_pandas
from sparkml_ops.scoring.reason import RowReasons
from sparkml_ops.scoring.signature import Field


def converted(series: pd.Series, field: Field, *, cast: bool = False) -> tuple[pa.Array, list[str | None]]:
    reasons = RowReasons(pa.nulls(len(series), pa.string()))
    table = from_pandas(pd.DataFrame({field.name: series}), [field], reasons, cast=cast)
    return table[field.name], reasons.to_arrow().to_pylist()


def same(left: list[object], right: list[object]) -> bool:
    return [repr(value) for value in left] == [repr(value) for value in right]


def test_null_becomes_nan_in_both_engines() -> None:
    """A missing number is NaN for the model, whichever way it came."""
    field = Field("x", "double")

    by_arrow = from_arrow([pa.array([1.0, None, math.nan])], [field])["x"].to_pylist()
    by_pandas, reasons = converted(pd.Series([1.0, None, math.nan]), field)

    assert same(by_arrow, [1.0, math.nan, math.nan])
    assert same(by_pandas.to_pylist(), by_arrow)
    assert reasons == [None] * 3


def test_whole_numbers_with_gaps_get_their_type_back() -> None:
    """pandas makes doubles of them; a category 1 must not become the text 1.0."""
    column, reasons = converted(pd.Series([1, None, 3]), Field("x", "int"))

    assert column.type == pa.int32()
    assert column.to_pylist() == [1, None, 3]
    assert reasons == [None] * 3


def test_a_long_that_pandas_may_have_changed_is_refused() -> None:
    """Beside a gap a long beyond 2^53 is no longer what it was (SPARK-54962); alone it is exact."""
    beside, reasons = converted(pd.Series([2**60 + 1, None]), Field("x", "bigint"))
    alone, none = converted(pd.Series([2**60 + 1]), Field("x", "bigint"))

    assert (beside.to_pylist(), reasons) == ([None, None], ["uncastable value: x as bigint", None])
    assert (alone.to_pylist(), none) == ([2**60 + 1], [None])


def test_the_engine_s_own_longs_travel_as_text() -> None:
    """What Spark cast for the pandas engine is exact beside gaps too."""
    column, reasons = converted(pd.Series([str(2**60 + 1), None], dtype=object), Field("x", "bigint"), cast=True)

    assert (column.to_pylist(), reasons) == ([2**60 + 1, None], [None, None])


@pytest.mark.parametrize(("value", "fits"), [(2**53, True), (2**53 + 1, False), (-(2**53), True), (-(2**53) - 1, False)])
def test_a_whole_number_beyond_2_to_the_53_is_no_double(value: int, fits: bool) -> None:
    """It would silently become its neighbour."""
    column, reasons = converted(pd.Series([value]), Field("x", "double"))

    assert (reasons == [None]) is fits
    assert not fits or column.to_pylist() == [float(value)]


def test_a_missing_whole_number_is_refused_where_the_signature_knows_none() -> None:
    """MLflow refuses the whole batch for it; here only the row."""
    column, reasons = converted(pd.Series([1, None]), Field("x", "bigint", nullable=False))

    assert column.to_pylist() == [1, 0]
    assert reasons == [None, "missing value: x, bigint in the model's signature"]


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (pd.Series(["1.5"]), "double"),
        (pd.Series([1.5]), "string"),
        (pd.Series([True]), "double"),
        (pd.Series([1]), "boolean"),
        (pd.Series(["2013-07-01"]), "timestamp"),
    ],
)
def test_a_user_s_struct_of_another_type_is_an_error(series: pd.Series, kind: str) -> None:
    """No value is converted by guess; the message names both types."""
    with pytest.raises(ContractError, match=f"where the model reads {kind}"):
        converted(series, Field("x", kind))


def test_a_column_that_is_no_struct_is_an_error() -> None:
    """PySpark hands it on as a series; the message shows the call."""
    with pytest.raises(ContractError, match="a column that is no struct"):
        next(score_pandas([pd.Series([1.0])], None, (), Budget(None), cast=False))  # type: ignore[arg-type, list-item]


def test_a_struct_without_an_input_is_an_error() -> None:
    """The message names the input."""
    with pytest.raises(ContractError, match="a struct without `x`"):
        from_pandas(pd.DataFrame({"y": [1.0]}), [Field("x", "double")], RowReasons(pa.nulls(1, pa.string())), cast=False)


def test_a_timestamp_stays_the_instant() -> None:
    """Microseconds in UTC on the way, naive UTC for an MLflow model."""
    field, instant = Field("t", "timestamp"), dt.datetime(2013, 11, 3, 5, 30, 0, 1, dt.UTC)
    micros = int(instant.timestamp() * 1_000_000)

    by_arrow = from_arrow([pa.array([micros, None])], [field])
    by_pandas, _ = converted(pd.Series([str(micros), None], dtype=object), field, cast=True)
    by_user, _ = converted(pd.Series([pd.Timestamp(instant).tz_localize(None), pd.NaT]), field)

    assert by_arrow["t"].to_pylist() == by_pandas.to_pylist() == by_user.to_pylist() == [instant, None]
    assert to_pandas(by_arrow)["t"].dtype == np.dtype("datetime64[ns]")
    assert to_pandas(by_arrow)["t"][0] == pd.Timestamp(instant).tz_localize(None)


def test_whole_numbers_beside_a_gap_are_refused() -> None:
    """pandas makes doubles of all rows for a gap in one: beyond 2^53 nobody knows what they were."""
    field, missing = Field("n", "array<bigint>"), "missing value: an element of n, array<bigint> in the model's signature"
    whole = [[2**60 + 1, 2], None, []]
    for rows, expected, said in (
        (whole, whole, [None, None, None]),
        (
            [[5, 7], [1, None], [2**60 + 1]],
            [[5, 7], None, None],
            [None, missing, "uncastable value: n as array<bigint>, beside a row with a missing element"],
        ),
    ):
        found, reasons = converted(pa.array(rows, pa.list_(pa.int64())).to_pandas(), field)

        assert found.to_pylist() == expected
        assert reasons == said
    found, reasons = converted(pa.array([[True, None], [False]]).to_pandas(), Field("n", "array<boolean>"))
    assert (found.to_pylist(), reasons) == ([None, [False]], ["missing value: an element of n, array<boolean> in the model's signature", None])


def test_a_tensor_is_its_elements_row_by_row() -> None:
    """As numpy lays them out; a missing whole number has no place in it."""
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    table = pa.table({"x": pa.array([row.ravel().tolist() for row in values], pa.list_(pa.float32()))})
    fields = [Field("x", "array<float>", length=6, shape=(2, 3))]

    assert np.array_equal(tensors(table, fields)["x"], values)
    assert tensors(table.slice(1), fields)["x"].dtype == np.float32
    assert np.array_equal(tensors(table.slice(1), fields)["x"], values[1:])
    with pytest.raises(ValueError, match="a missing element of n"):
        tensors(pa.table({"n": pa.array([[1, None]])}), [Field("n", "array<bigint>", length=2, shape=(2,))])


def test_a_column_of_nulls_has_the_input_s_type() -> None:
    """pandas knows no type of a column that holds nothing."""
    column, _ = converted(pd.Series([None, None], dtype=object), Field("x", "double"))

    assert same(column.to_pylist(), [math.nan, math.nan])
