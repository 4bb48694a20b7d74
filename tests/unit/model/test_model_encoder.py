from __future__ import annotations

import datetime
import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import chisquare
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from sparkml_ops.errors import ContractError
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput, encoder
from sparkml_ops.model.encoder import Encoder
from sparkml_ops.model.spec import ArrayInput


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


def test_rare_values_stand_apart_from_null() -> None:
    """Rare and new ones share the last position; without the option they are what null is."""
    rows = pa.table({"c": ["b", None, "new", "a"]})
    for rare, codes in ((True, [2, 0, 3, 1]), (False, [2, 0, 0, 1])):
        spec = ModelSpec("linear", (), (CategoricalInput("c", "string", ("a", "b"), rare=rare),))

        assert Encoder(spec).encode(rows).categories[:, 0].tolist() == codes
        assert spec.categorical[0].size == 3 + rare


def test_a_hash_spreads_a_million_values_over_its_buckets() -> None:
    """By BLAKE2b of the text, the same for text and for whole numbers, in Arrow and pandas; null is 0; no bucket is far from its share."""
    spec = ModelSpec("linear", (), (CategoricalInput("k", "bigint", (), buckets=64),))
    values = [7, None, 7, -12]
    expected = [
        0 if value is None else int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8).digest(), "little") % 64 + 1 for value in values
    ]

    assert Encoder(spec).encode(pa.table({"k": values})).categories[:, 0].tolist() == expected
    assert Encoder(spec).encode(pd.DataFrame({"k": values})).categories[:, 0].tolist() == expected
    many = Encoder(spec).encode(pa.table({"k": np.arange(64_000)})).categories[:, 0]
    assert chisquare(np.bincount(many, minlength=65)[1:]).pvalue > 0.001
    assert spec.categorical[0].size == 65


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


def arrays(rows: int = 300) -> tuple[list[list[float | None] | None], list[datetime.date | None]]:
    """Arrays of four with gaps, and dates with gaps."""
    rng = np.random.default_rng(5)
    values = rng.normal(3, 2, (rows, 4)).astype(np.float32).tolist()
    gaps, absent = rng.random((rows, 4)) < 0.1, rng.random(rows) < 0.1
    vectors = [
        None if gone else [None if gap else value for value, gap in zip(row, holes, strict=True)]
        for row, holes, gone in zip(values, gaps, absent, strict=True)
    ]
    days = [None if gone else datetime.date(2013, 1, 1) + datetime.timedelta(days=index) for index, gone in enumerate(absent[::-1])]
    return vectors, days


ARRAY = ArrayInput("e", "array<float>", (3.0, 2.5, 3.5, 0.0), (2.0, 1.0, 3.0, 1.0), True)
LISTED = ModelSpec("linear", (NumericInput("d", "date", 15700.0, 15706.0, 105.4, True),), (), arrays=(ARRAY,))


def test_arrays_and_dates_are_those_of_scikit_learn() -> None:
    """Each element imputed by its mean and standardised; a date is its days since 1970. Also where the rows are a slice."""
    vectors, days = arrays()
    plain = np.array([[np.nan] * 4 if row is None else [np.nan if value is None else value for value in row] for row in vectors])
    scaler = StandardScaler().fit(plain)
    oracle = scaler.transform(SimpleImputer().fit_transform(plain))
    array = ArrayInput("e", "array<float>", tuple(scaler.mean_.tolist()), tuple(scaler.scale_.tolist()), True)
    since = np.array([np.nan if day is None else (day - datetime.date(1970, 1, 1)).days for day in days])
    rows = pa.table({"d": pa.array([None, *days], pa.date32()), "e": pa.array([[9.0], *vectors], pa.list_(pa.float32()))}).slice(1)

    encoded = Encoder(ModelSpec("linear", LISTED.numeric, (), arrays=(array,))).encode(rows).numeric

    np.testing.assert_allclose(encoded[:, 2:6], oracle, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(encoded[:, 6], np.isnan(plain).any(axis=1))
    np.testing.assert_array_equal(encoded[:, 1], np.isnan(since))
    np.testing.assert_array_equal(encoded[:, 0], (np.where(np.isnan(since), 15700.0, since) - 15706.0) / 105.4)


def test_arrays_and_dates_from_pandas_are_the_same_numbers() -> None:
    """As objects of lists or of numpy arrays, with dates or midnights, and as lists of any kind."""
    vectors, days = arrays()
    kinds = [
        pa.table({"d": pa.array(days), "e": pa.array(vectors, kind)})
        for kind in (pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 4))
    ]
    expected = Encoder(LISTED).encode(kinds[0], np.float32).numeric
    frames = [
        pd.DataFrame({"d": days, "e": vectors}),
        pd.DataFrame({"d": pd.to_datetime(pd.Series(days)), "e": [None if row is None else np.array(row, float) for row in vectors]}),
    ]

    assert all(np.array_equal(Encoder(LISTED).encode(batch, np.float32).numeric, expected) for batch in (*kinds, *frames))
    assert Encoder(LISTED).encode(pa.table({"d": pa.nulls(1), "e": pa.nulls(1)})).numeric[0, 1:].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pa.array([[1.0] * 4, [1.0] * 3, None]), r"1 arrays in `e` of another length \(3 elements\); expected 4 elements"),
        (pa.array([["a"] * 4]), "`e` of type list<item: string>.*expected array<float>"),
        (pa.array([1.0]), "`e` of type double.*expected array<float>"),
    ],
)
def test_other_arrays_are_refused(column: pa.Array, found: str) -> None:
    """Another length or another type is named."""
    with pytest.raises(ContractError, match=found):
        Encoder(LISTED).encode(pa.table({"d": pa.nulls(len(column), pa.date32()), "e": column}))


@pytest.mark.parametrize("together", [1000, 16_384])
def test_gaps_do_not_change_the_numbers_of_other_rows(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    """A row's numbers are the same to the bit beside a null, beside an infinite value, and alone; whole numbers as doubles too."""
    monkeypatch.setattr(encoder, "_ROWS", together)
    spec = ModelSpec("linear", (NumericInput("x", "float", 0.3, 0.7, 1.3, True), NumericInput("n", "bigint", 5.0, 2.0**40, 3.7)), ())
    rng = np.random.default_rng(11)
    x, n = rng.normal(size=5000).astype(np.float32), rng.integers(0, 2**50, 5000)
    whole = pa.table({"x": x, "n": n})
    gaps = np.arange(5000) == 2500
    broken = pa.table({"x": pa.array(np.where(gaps, np.float32(np.inf), x), mask=np.arange(5000) == 2501), "n": pa.array(n, mask=gaps)})
    alone = np.concatenate([Encoder(spec).encode(whole.slice(start, 1), np.float32).numeric for start in (0, 2047, 2048, 4999)])

    expected = np.stack([(x.astype(float) - 0.7) / 1.3, np.zeros(5000), (n.astype(float) - 2.0**40) / 3.7], axis=1)[:, [0, 2, 1]]
    encoded = Encoder(spec).encode(whole, np.float32).numeric
    np.testing.assert_array_equal(encoded, expected.astype(np.float32))
    np.testing.assert_array_equal(encoded[[0, 2047, 2048, 4999]], alone)
    others = ~gaps & (np.arange(5000) != 2501)
    np.testing.assert_array_equal(Encoder(spec).encode(broken, np.float32).numeric[others], encoded[others])
    assert Encoder(spec).encode(broken).numeric[2500:2502].tolist() == [
        [np.inf, (5 - 2.0**40) / 3.7, 0.0],
        [(0.3 - 0.7) / 1.3, expected[2501, 1], 1.0],
    ]
