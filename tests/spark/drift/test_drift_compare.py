"""`ops.drift.compare` and `profile` on plain DataFrames, against pandas, numpy and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy import stats

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import DriftReport, anchors, compare, compare_embeddings, compare_jointly, merge, profile, tell_apart
from sparkml_ops.errors import ContractError

NUMBERS = ["normal", "tied", "heavy"]


def rows(size: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "normal": random.normal(shift, 1, size),
            "tied": random.integers(0, 30, size),
            "heavy": np.where(random.random(size) < 0.05, np.nan, random.lognormal(0, 2, size)),
            "kind": random.choice(["a", "b", None], size, p=[0.5, 0.4, 0.1]),
            "flag": random.random(size) < 0.3,
            "origin": random.choice(["JFK", "LGA"], size),
        }
    )


REFERENCE, CURRENT = rows(6000, 1), rows(4000, 2, shift=0.5)


@pytest.fixture(scope="module")
def frames(spark: SparkSession) -> tuple[DataFrame, DataFrame]:
    """Both sides, forced into several partitions."""
    return spark.createDataFrame(REFERENCE).repartition(3), spark.createDataFrame(CURRENT).repartition(2)


@pytest.fixture(scope="module")
def report(frames: tuple[DataFrame, DataFrame]) -> DriftReport:
    """The report with segments; no configuration, no session handed in."""
    return compare(*frames, segments=("origin",))


@pytest.mark.parametrize("name", NUMBERS)
def test_distances_of_a_frame_lie_within_the_bounds(report: DriftReport, name: str) -> None:
    """Nulls and NaN are left out; the bounds hold for the whole and for a segment."""
    for segment in (None, "JFK"):
        sides = [side if segment is None else side[side["origin"] == segment] for side in (REFERENCE, CURRENT)]
        first, second = (side[name].dropna().to_numpy(dtype=np.float64) for side in sides)
        column = report[name] if segment is None else report[name, f"origin={segment}"]
        lower, upper = column.ks_bounds
        assert lower - 1e-12 <= stats.ks_2samp(first, second, method="asymp").statistic <= upper + 1e-12
        lower, upper = column.wasserstein_bounds
        assert lower * (1 - 1e-12) <= stats.wasserstein_distance(first, second) <= upper * (1 + 1e-12)


def test_bins_of_a_frame_are_the_exact_deciles(report: DriftReport) -> None:
    """Edges are numpy's inverted distribution function of the reference, counts those of both sides."""
    column = report["normal"]

    assert np.array_equal(column.bins[1:-1], np.quantile(REFERENCE["normal"], np.arange(1, 10) / 10, method="inverted_cdf"))
    assert np.array_equal(column.counts.current, np.bincount(np.searchsorted(column.bins[1:-1], CURRENT["normal"], side="left"), minlength=10))
    assert dict(zip(report["kind"].bins, report["kind"].counts.reference, strict=True)) == REFERENCE["kind"].value_counts().to_dict()
    assert report["kind"].missing == CURRENT["kind"].isna().mean()


@pytest.mark.parametrize("budget", [2_000_000, 400])
def test_exact_distances_are_those_of_scipy(frames: tuple[DataFrame, DataFrame], budget: int) -> None:
    """With `exact=True` both distances are scipy's to 1e-12, also where cells must be split to fit the budget."""
    found = compare(*frames, columns=NUMBERS, exact=True, settings=DriftSection(exact_budget=budget))

    for name in NUMBERS:
        first, second = (side[name].dropna().to_numpy(dtype=np.float64) for side in (REFERENCE, CURRENT))
        assert found[name].ks == pytest.approx(stats.ks_2samp(first, second, method="asymp").statistic, rel=1e-12)
        assert found[name].wasserstein == pytest.approx(stats.wasserstein_distance(first, second), rel=1e-12)
        assert found[name].ks_bounds == (found[name].ks, found[name].ks)
        if budget > 400:
            criterion = stats.cramervonmises_2samp(first, second, method="asymptotic").statistic
            assert found[name].cramer_von_mises == pytest.approx(criterion, rel=1e-12, abs=1e-9)


def test_bounds_that_straddle_the_threshold_are_resolved(frames: tuple[DataFrame, DataFrame], report: DriftReport) -> None:
    """A threshold inside the bounds makes the distance exact without being asked; others stay as they are."""
    lower, upper = report["normal"].ks_bounds
    assert lower < upper
    found = compare(*frames, columns=["normal", "heavy"], thresholds={"ks": (lower + upper) / 2})

    assert found["normal"].ks_bounds[0] == found["normal"].ks_bounds[1]
    assert found["heavy"].ks_bounds == report["heavy"].ks_bounds


def test_edges_do_not_depend_on_partitions_or_on_the_number_of_passes(frames: tuple[DataFrame, DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    """One partition or five: the same edges, counts and sums. With few prefixes more passes find the same deciles."""
    first = profile(frames[0].coalesce(1), columns=NUMBERS)
    second = profile(frames[0].repartition(5), columns=NUMBERS)
    monkeypatch.setattr(anchors, "_KEYS", 256)
    monkeypatch.setattr(anchors, "_FEWEST_KEYS", 64)
    coarse = profile(frames[0], columns=NUMBERS)

    assert first.edges.id == second.edges.id
    for name in NUMBERS:
        assert np.array_equal(first[name].counts, second[name].counts)
        assert np.array_equal(first[name].sums, second[name].sums)
        assert np.array_equal(coarse.edges[name].cuts, first.edges[name].cuts)


def test_profiles_of_two_halves_merge_to_the_profile_of_all(frames: tuple[DataFrame, DataFrame]) -> None:
    """On the same edges the merged profile has the bytes of the whole."""
    whole = profile(frames[0])
    even = F.col("tied") % 2 == 0
    halves = [profile(frames[0].where(part), whole.edges) for part in (even, ~even)]
    merged = merge(*halves)

    assert merged.rows == 6000
    assert all(merged[name].state.pack() == whole[name].state.pack() for name in whole.columns)


def test_a_changed_type_or_a_missing_column_is_named(frames: tuple[DataFrame, DataFrame]) -> None:
    """The error names the column and both types, before any pass over rows."""
    reference, current = frames
    with pytest.raises(ContractError, match="`tied` is bigint in the reference and string in the current rows"):
        compare(reference, current.withColumn("tied", F.col("tied").cast("string")))
    with pytest.raises(ContractError, match="no column `heavy`"):
        compare(reference, current.drop("heavy"))
    with pytest.raises(ContractError, match="no column `absent`"):
        compare(reference, current, columns=["absent"])
    with pytest.raises(ContractError, match=r"`list` of type array<bigint>"):
        compare(reference.withColumn("list", F.array("tied")), current, columns=["list"])
    with pytest.raises(ContractError, match="thresholds of"):
        compare(reference, current, thresholds={"kolmogorov": 0.1})
    with pytest.raises(ContractError, match="rows of type DataFrame"):
        compare(REFERENCE, current)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="thresholds ks=2"):
        compare(reference, current, thresholds={"ks": 2})


def test_a_segment_column_with_many_values_is_refused(frames: tuple[DataFrame, DataFrame]) -> None:
    """Thousands of segments are a mistake; the error names the column."""
    with pytest.raises(ContractError, match="segment column `normal`"):
        compare(*frames, columns=["tied"], segments=("normal",))


def test_instants_dates_and_decimals_are_numbers(spark: SparkSession) -> None:
    """They compare as float64 microseconds and values, in every session zone; unsupported types are left out by default."""
    frame = spark.range(400).select(
        F.timestamp_micros(F.col("id") * 1_000_000).alias("instant"),
        F.date_add(F.lit("2013-01-01").cast("date"), F.col("id").cast("int")).alias("day"),
        (F.col("id") / 4).cast("decimal(10,2)").alias("price"),
        F.array("id").alias("list"),
    )
    found = profile(frame)

    assert found.columns == ["instant", "day", "price"]
    assert (found["instant"].min, found["instant"].max) == (0.0, 399e6)
    assert found["day"].min == pd.Timestamp("2013-01-01").timestamp() * 1e6
    assert (found["price"].max, found["price"].sum) == (99.75, pytest.approx(400 * 399 / 8))


def test_columns_may_have_any_name_that_spark_can_tell(spark: SparkSession) -> None:
    """A dot is no field, a backtick no quote; what differs in case only is refused before a job, unless it is not read."""
    frame = spark.range(200).selectExpr("cast(id as double) `a.b`", "id `q``x`", "id % 2 even", "id % 3 Even")
    found = profile(frame, columns=["a.b", "q`x"])

    assert (found["a.b"].sum, found["q`x"].max) == (199 * 100, 199)
    with pytest.raises(ContractError, match="columns of one name: `even`, `Even`"):
        profile(frame)


def test_an_empty_side_is_undecided(frames: tuple[DataFrame, DataFrame]) -> None:
    """No rows on one side: no statistic, no claim, no failure."""
    found = compare(frames[0].limit(0), frames[1], columns=["normal", "kind"])

    assert {column.verdict for column in found} == {"undecided"}
    assert found["normal"].ks is None
    assert compare(frames[0], frames[1].limit(0), columns=["kind"])["kind"].psi is None


def test_patterns_of_text_drift_where_values_are_all_different(spark: SparkSession) -> None:
    """Keys that are new each time look new each time; their length and pattern say whether they are of the same kind."""
    first = spark.range(600).select(F.format_string("N%03dXY", "id").alias("tail"), F.array_repeat("id", 3).alias("items"))
    second = spark.range(600, 1200).select(F.format_string("%d", F.col("id") * 10_000).alias("tail"), F.array_repeat("id", 1).alias("items"))
    found = compare(first, second, columns=["tail (pattern)"], settings=DriftSection(views=("tail", "items")))

    assert {column.column: column.verdict for column in found} == dict.fromkeys(["tail (pattern)", "tail (length)", "items (length)"], "drift")
    assert (found["tail (pattern)"].lost_categories, found["tail (pattern)"].new_categories) == (("a9a",), ("9",))
    with pytest.raises(ContractError, match="views of `absent`"):
        compare(first, second, settings=DriftSection(views=("absent",)))


def test_columns_together_and_vectors(spark: SparkSession) -> None:
    """Correlations are those of pandas, vectors those of numpy, in one pass each; what is no number or no vector is refused."""
    sides = [rows(1500, seed).assign(more=lambda frame: frame["normal"] + frame["tied"] / 10) for seed in (3, 4)]
    lists = F.array(*[F.col(name).cast("float") for name in ("normal", "tied")]).alias("vector")
    both = [spark.createDataFrame(side).select("*", lists).repartition(2) for side in sides]
    together = compare_jointly(*both, columns=["normal", "tied", "more"])
    vectors = compare_embeddings(*both, "vector", 2)

    assert together.current == pytest.approx(sides[1][["normal", "tied", "more"]].corr().to_numpy(), abs=1e-5)
    assert together.verdict == "no drift"
    assert (vectors.n, vectors.m, vectors.missing, vectors.verdict) == (1500, 1500, (0.0, 0.0), "no drift")
    spread = np.sqrt(sides[0][["normal", "tied"]].astype(np.float32).var(ddof=0).sum())
    assert vectors.bandwidth == pytest.approx(spread, rel=1e-3)
    with pytest.raises(ContractError, match="no numbers"):
        compare_jointly(*both, columns=["normal", "kind"])
    with pytest.raises(ContractError, match="array<float>"):
        compare_embeddings(*both, "normal", 2)


def test_a_model_tells_apart_what_no_column_shows(spark: SparkSession) -> None:
    """Two columns that moved apart together are found, with the sample's size; equal sides are not told apart."""
    first, second = rows(1500, 5), rows(4000, 6)
    linked = [side.assign(other=side["normal"] * sign + 0.2 * side["tied"] / 30, tied=0) for side, sign in ((first, 1), (second, -1))]
    found = tell_apart(
        *(spark.createDataFrame(side[["normal", "other", "kind", "flag"]].rename(columns={"flag": "flag.d"})) for side in linked),
        sample=1000,
        folds=3,
    )
    equal = tell_apart(*(spark.createDataFrame(side) for side in (first, second)), columns=["normal", "kind", "heavy"], sample=1000, folds=3)

    assert (found.verdict, set(list(found.importance)[:2])) == ("drift", {"normal", "other"})
    assert found.lower <= found.auc <= found.upper
    assert found.rows == (1500, 4000)
    assert all(850 < size < 1150 for size in (found.n, found.m))
    assert (equal.verdict, 0.45 < equal.auc < 0.55) == ("no drift", True)
    with pytest.raises(ContractError, match="at least 50"):
        tell_apart(spark.createDataFrame(first), spark.createDataFrame(second.head(5)))
