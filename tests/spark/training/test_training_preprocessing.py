from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.training.preprocessing import Fitted, SplitCounts, features, fit
from sparkml_ops.training.warm import WarmStart

SETTINGS = TrainingSection(exclude=("key",), minimum_count=5, vocabulary=3)


def rows(count: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    data = {f"x{index:02d}": rng.normal(index, index + 1, count) for index in range(12)}
    frame = pd.DataFrame({**data, "whole": rng.integers(0, 2**40, count), "flag": rng.random(count) < 0.3, "constant": 0.1})
    frame.loc[rng.random(count) < 0.3, "x03"] = np.nan
    frame["c"] = rng.choice(["b", "a", "d", "e", "rare"], count, p=[0.3, 0.3, 0.2, 0.195, 0.005])
    frame.loc[rng.random(count) < 0.1, "c"] = None
    frame["key"] = [f"k{index}" for index in range(count)]
    frame["label"] = (rng.random(count) < 0.4).astype(float)
    frame.loc[rng.random(count) < 0.05, "label"] = None
    frame["split"] = rng.choice(["train", "validation", "evaluation"], count, p=[0.7, 0.1, 0.2])
    return frame.assign(row_position=range(count), sample_weight=np.random.default_rng(3).gamma(2.0, size=count))


def spark_rows(spark: SparkSession, data: pd.DataFrame) -> DataFrame:
    """The rows with null where pandas has NaN."""
    return spark.createDataFrame(data.astype(object).where(data.notna(), None), _schema(data))


def _schema(data: pd.DataFrame) -> str:
    kinds = {"f": "double", "i": "bigint", "b": "boolean", "O": "string"}
    return ", ".join(f"{name} {kinds[kind.kind]}" for name, kind in data.dtypes.items())


@pytest.fixture(scope="module")
def fitted(spark: SparkSession) -> Fitted:
    return fit(spark_rows(spark, rows()), SETTINGS)


@pytest.fixture
def trained() -> pd.DataFrame:
    data = rows()
    return data[(data["split"] == "train") & data["label"].notna()]


def test_statistics_are_those_of_pandas(fitted: Fitted, trained: pd.DataFrame) -> None:
    """Mean and standard deviation of the labelled train rows, to nine digits; a constant has scale 1."""
    for column in fitted.spec.numeric:
        values = trained[column.name].astype(float)
        assert column.mean == pytest.approx(values.mean(), rel=1e-8)
        assert column.scale == pytest.approx(1.0 if column.name == "constant" else values.std(ddof=0), rel=1e-8)
        assert (column.fill, column.indicator) == (column.mean, bool(values.isna().any()))
    assert [column.name for column in fitted.spec.numeric if column.indicator] == ["x03"]


def test_a_vocabulary_is_ordered_by_count_and_value(fitted: Fitted, trained: pd.DataFrame) -> None:
    """Frequent values only, as many as asked for."""
    counts = trained["c"].value_counts()
    expected = sorted(counts.index, key=lambda value: (-counts[value], value))[:3]

    assert {column.name: column.vocabulary for column in fitted.spec.categorical} == {"flag": ("false", "true"), "c": tuple(expected)}


def test_a_vocabulary_grows_where_a_training_goes_on(spark: SparkSession, fitted: Fitted, trained: pd.DataFrame) -> None:
    """Known values stay in their places, frequent new ones follow; all else of the description is the model's."""
    start, counts = WarmStart("shop version 1", "d", fitted.spec, {}), trained["c"].value_counts()
    wider = SETTINGS.model_copy(update={"vocabulary": 4})
    grown, kept = (fit(spark_rows(spark, rows()), wider.model_copy(update={"grow_vocabulary": on}), start).spec for on in (True, False))
    known = fitted.spec.categorical[1].vocabulary
    new = counts.drop(list(known)).idxmax()

    assert kept == replace(fitted.spec, dropout=kept.dropout)
    assert grown.categorical[1].vocabulary == (*known, new)
    assert replace(grown, categorical=kept.categorical) == kept


def test_an_identifier_is_hashed_and_rare_values_have_a_bucket(spark: SparkSession) -> None:
    """No value of the hashed column is counted; a column that is no category cannot be hashed."""
    options = {"exclude": (), "hashed": {"key": 50}, "rare_bucket": True, "model": SETTINGS.model.model_copy(update={"kind": "linear", "hidden": ()})}
    found = {column.name: column for column in fit(spark_rows(spark, rows(200)), SETTINGS.model_copy(update=options)).spec.categorical}

    assert (found["key"].vocabulary, found["key"].size, found["c"].rare, found["c"].size) == ((), 51, True, 5)
    with pytest.raises(ContractError, match=r"training.hashed.x01, which is no category"):
        fit(spark_rows(spark, rows(200)), SETTINGS.model_copy(update={"hashed": {"x01": 5}}))


def test_rows_are_counted_by_split(fitted: Fitted) -> None:
    """Rows without a label are pending, not negative."""
    for split, part in rows().groupby("split"):
        assert fitted.splits[str(split)] == SplitCounts(part["label"].notna().sum(), int(part["label"].sum()), part["label"].isna().sum())


def test_weights_are_those_of_pandas(fitted: Fitted, trained: pd.DataFrame, spark: SparkSession) -> None:
    """Means by label over the labelled train rows; a set without the column has none, and a weight that cannot be meant is refused."""
    assert fitted.weights == pytest.approx(tuple(trained.groupby("label").sample_weight.mean()), rel=1e-8)
    assert fit(spark_rows(spark, rows(200).drop(columns="sample_weight")), SETTINGS).weights is None
    with pytest.raises(ContractError, match="2 rows of the train split whose `sample_weight` is null, infinite or below 0"):
        fit(spark_rows(spark, _changed("sample_weight", {0: -1.0, 3: None})), SETTINGS)
    with pytest.raises(ContractError, match="`sample_weight` of type string"):
        fit(spark_rows(spark, rows(200).assign(sample_weight="heavy")), SETTINGS)


def test_features_are_found_by_type(spark: SparkSession) -> None:
    """Numbers and texts that are neither label, split, position nor excluded."""
    numeric, categorical = features(spark_rows(spark, rows(50)), SETTINGS)

    assert list(numeric) == [*(f"x{index:02d}" for index in range(12)), "whole", "constant"]
    assert categorical == {"flag": "boolean", "c": "string"}


def test_the_order_of_listed_features_is_kept(spark: SparkSession) -> None:
    """The list in the configuration is the order of the inputs; a whole number may be a category."""
    numeric, categorical = features(spark_rows(spark, rows(50)), TrainingSection(numeric=("x02", "flag", "x01"), categorical=("whole", "c")))

    assert (list(numeric), list(categorical)) == (["x02", "flag", "x01"], ["whole", "c"])


def _changed(column: str, values: dict[int, Any], split: str | None = "train") -> pd.DataFrame:
    data = rows(200)
    places = data.index[(data["split"] == split) & data["label"].notna()] if split else data.index
    for place, value in values.items():
        data.loc[places[place], column] = value
    return data


@pytest.mark.parametrize(
    ("data", "changes", "found"),
    [
        (_changed("label", {3: 2.0, 4: -1.0}), {}, "2 labels other than 0 and 1 in `label`"),
        (rows(200).assign(label=0.0), {}, "one label only"),
        (rows(200).assign(label=None).astype({"label": float}), {}, "no labelled rows in split train"),
        (rows(200).assign(split="train"), {}, "no labelled rows in split evaluation"),
        (rows(200).assign(x05=np.nan), {}, r"no value at all in \['x05'\]"),
        (_changed("x01", {2: np.inf, 9: -np.inf}, "evaluation"), {}, r"infinite values in \['`x01` \(2 rows\)'\]"),
        (rows(200), {"exclude": ()}, r"no value of \['key'\] on 5 rows"),
        (rows(200), {"numeric": ("c",)}, r"numeric features \['`c` \(string\)'\]"),
        (rows(200), {"categorical": ("x01",)}, r"categorical features \['`x01` \(double\)'\]"),
        (rows(200), {"label": "target"}, r"without \['target'\]"),
        (rows(200), {"numeric": (), "categorical": ()}, "without features"),
    ],
)
def test_a_training_set_that_breaks_a_promise_is_refused(spark: SparkSession, data: pd.DataFrame, changes: dict[str, Any], found: str) -> None:
    """The error counts and names what it found."""
    with pytest.raises(ContractError, match=found):
        fit(spark_rows(spark, data), SETTINGS.model_copy(update=changes))


def test_the_cut_into_tasks_changes_nothing(spark: SparkSession, fitted: Fitted) -> None:
    """The same rows in seven parts and another order give the same description, to the last bit."""
    frame = spark_rows(spark, rows()).orderBy("x07").repartition(7, "x01")

    assert fit(frame, SETTINGS).spec.to_json() == fitted.spec.to_json()


def test_nan_is_missing_and_not_a_number(spark: SparkSession) -> None:
    """Spark tells NaN from null; a mean over NaN would be NaN."""
    data = rows(200)
    frame = spark_rows(spark, data).selectExpr("* except (x03)", "coalesce(x03, double('NaN')) as x03")

    assert fit(frame, SETTINGS).spec.numeric[-1] == next(
        column for column in fit(spark_rows(spark, data), SETTINGS).spec.numeric if column.name == "x03"
    )


ARRAYS = (
    "* except (x00)",
    "date_add(date'2013-01-01', cast(row_position % 97 as int)) as day",
    "if(row_position % 11 = 0, null, array(float(x01), if(row_position % 7 = 0, null, float(x02)), float('1.5'))) as embedding",
    "array(x01, x02) as pair",
)


def test_dates_and_arrays_are_standardised_where_they_are_listed(spark: SparkSession, trained: pd.DataFrame) -> None:
    """Mean and deviation of each element are numpy's, for any cut into tasks; a column that is not listed is no feature."""
    frame = spark_rows(spark, rows()).selectExpr(*ARRAYS)
    settings = SETTINGS.model_copy(update={"numeric": ("day", "embedding", "x04")})
    spec = fit(frame, settings).spec

    assert (spec.inputs[:2], spec.inputs[-1]) == ((("day", "date"), ("x04", "double")), ("embedding", "array<float>"))
    day, embedding = spec.numeric[0], spec.arrays[0]
    days = (pd.Timestamp("2013-01-01") - pd.Timestamp(0)).days + trained["row_position"] % 97
    assert (day.mean, day.scale) == pytest.approx((days.mean(), days.std(ddof=0)), rel=1e-8)
    there = trained[trained["row_position"] % 11 != 0]
    second = there.loc[there["row_position"] % 7 != 0, "x02"].astype(np.float32).astype(float)
    first = there["x01"].astype(np.float32).astype(float)
    assert embedding.mean == pytest.approx((first.mean(), second.mean(), 1.5), rel=1e-8)
    assert embedding.scale == pytest.approx((first.std(ddof=0), second.std(ddof=0), 1.0), rel=1e-8)
    assert embedding.indicator
    assert fit(frame.repartition(5, "x01"), settings).spec.to_json() == spec.to_json()
    assert not {"day", "embedding", "pair"} & set(features(frame, SETTINGS)[0])


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("array_repeat(1.5d, if(row_position = 7, 3, 2))", r"arrays of different lengths in `e`: 2 elements in 199 rows, 3 elements in 1 rows"),
        ("cast(null as array<double>)", "no value at all in `e`"),
        ("array(if(row_position = 7, double('Infinity'), 1.0d))", r"infinite values in \['`e` \(1 rows\)'\]"),
        ("array(1, 2)", r"`e` \(array<int>\).*CAST\(`e` AS ARRAY<DOUBLE>\)"),
        ("cast(1 as decimal(10,2))", r"`e` \(decimal\(10,2\)\).*CAST\(`e` AS DOUBLE\)"),
        ("timestamp'2013-01-01'", r"`e` \(timestamp\).*CAST\(`e` AS DATE\)"),
        ("timestamp_ntz'2013-01-01'", r"`e` \(timestamp_ntz\).*after to_utc_timestamp"),
        ("map('a', 1)", r"`e` \(map<string,int>\).*`e`\['key'\]"),
        ("struct(1 as a)", r"`e` \(struct<a:int>\).*`e`.field"),
        ("binary('a')", r"`e` \(binary\).*sha2"),
    ],
)
def test_a_listed_column_that_no_tensor_holds_is_refused(spark: SparkSession, column: str, found: str) -> None:
    """With the column, its type or lengths, and what to change; types before any job runs."""
    frame = spark_rows(spark, rows(200)).selectExpr("*", f"{column} as e")

    with pytest.raises(ContractError, match=found):
        fit(frame, SETTINGS.model_copy(update={"numeric": ("x01", "e")}))
