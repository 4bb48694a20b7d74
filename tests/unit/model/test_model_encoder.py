from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from sparkml_ops.errors import ContractError
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.encoder import Encoder


def frame(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(5, 2, rows), "y": rng.normal(0, 1, rows).astype("float32"), "c": rng.choice(["a", "b", "e"], rows)})
    data.loc[rng.random(rows) < 0.2, "x"] = np.nan
    return data


def test_numbers_and_categories_are_those_of_scikit_learn() -> None:
    """Mean imputation, standardising and codes agree with sklearn's, missing-indicators with isna."""
    data = frame()
    oracle = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["y"]),
            ("codes", OrdinalEncoder(categories=[["a", "b"]], handle_unknown="use_encoded_value", unknown_value=-1), ["c"]),
        ]
    ).fit_transform(data)
    mean, scale = data["x"].mean(), data["x"].std(ddof=0)
    y = data["y"].astype(float)
    numeric = (NumericInput("x", "double", mean, mean, scale, True), NumericInput("y", "float", 0.0, y.mean(), y.std(ddof=0)))
    encoded = Encoder(ModelSpec("linear", numeric, (CategoricalInput("c", "string", ("a", "b")),))).encode(pa.Table.from_pandas(data))

    np.testing.assert_allclose(encoded.numeric[:, 1], oracle[:, 0], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(encoded.categories[:, 0], oracle[:, 1] + 1)
    np.testing.assert_array_equal(encoded.numeric[:, 2], data["x"].isna())
    np.testing.assert_allclose(encoded.numeric[:, 0], ((data["x"].fillna(mean)) - mean) / scale, rtol=1e-12)


def test_null_and_nan_are_the_same_missing_value() -> None:
    """Arrow tells them apart, pandas does not: the model must not."""
    spec = ModelSpec("linear", (NumericInput("x", "double", 7.0, 0.0, 1.0, True),), ())

    assert Encoder(spec).encode(pa.table({"x": [None, float("nan"), 1.0]})).numeric.tolist() == [[7.0, 1.0], [7.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("column", "codes"),
    [
        (pa.array([3, None, 12, 4], pa.int64()), [1, 0, 2, 0]),
        (pd.Series([3, None, 12, 4]), [1, 0, 2, 0]),
        (pd.Series([3, None, 12, 4], dtype="Int64"), [1, 0, 2, 0]),
        (pd.Series([3, None, 12, 4], dtype=object), [1, 0, 2, 0]),
        (pa.array([3, 12], pa.int8()), [1, 2]),
        (pa.nulls(2), [0, 0]),
    ],
)
def test_whole_numbers_as_categories_keep_their_meaning(column: pa.Array | pd.Series, codes: list[int]) -> None:
    """Also where gaps made them floats in pandas."""
    spec = ModelSpec("linear", (), (CategoricalInput("k", "bigint", ("3", "12")),))
    batch = pd.DataFrame({"k": column}) if isinstance(column, pd.Series) else pa.table({"k": column})

    assert Encoder(spec).encode(batch).categories[:, 0].tolist() == codes


def test_flags_and_dictionaries_are_read() -> None:
    """Booleans as numbers and as categories, and Arrow's dictionary encoding."""
    numeric, categorical = (
        (NumericInput("f", "boolean", 0.5, 0.0, 1.0),),
        (CategoricalInput("g", "boolean", ("true",)), CategoricalInput("d", "string", ("u",))),
    )
    rows = pa.table({"f": [True, False, None], "g": [True, False, None], "d": pa.array(["u", "v", None]).dictionary_encode()})
    encoded = Encoder(ModelSpec("linear", numeric, categorical)).encode(rows)

    assert encoded.numeric[:, 0].tolist() == [1.0, 0.0, 0.5]
    assert encoded.categories.tolist() == [[1, 1], [0, 0], [0, 0]]


def test_arrow_and_pandas_give_the_same_numbers() -> None:
    """Every engine of scoring sees one encoding."""
    data = frame()
    spec = ModelSpec(
        "linear",
        (NumericInput("x", "double", 1.0, 2.0, 3.0, True), NumericInput("y", "float", 0.0, 0.5, 2.0)),
        (CategoricalInput("c", "string", ("b",)),),
    )
    arrow, pandas = Encoder(spec).encode(pa.RecordBatch.from_pandas(data)), Encoder(spec).encode(data)

    np.testing.assert_array_equal(arrow.numeric, pandas.numeric)
    np.testing.assert_array_equal(arrow.categories, pandas.categories)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (pa.table({"x": [1.0]}), r"without \['c'\]"),
        (pa.table({"x": ["1"], "c": ["a"]}), "`x` of type string.*expected double"),
        (pa.table({"x": [1.0], "c": [1]}), "`c` of type int64.*expected string"),
        (pd.DataFrame({"x": ["one"], "c": ["a"]}), "`x` of type.*expected double"),
    ],
)
def test_a_batch_of_other_columns_is_refused(batch: pa.Table | pd.DataFrame, found: str) -> None:
    """Missing columns and other types are named; nothing is guessed."""
    spec = ModelSpec("linear", (NumericInput("x", "double", 0.0, 0.0, 1.0),), (CategoricalInput("c", "string", ("a",)),))

    with pytest.raises(ContractError, match=found):
        Encoder(spec).encode(batch)
