"""Train/serving skew: a scoring set as it was scored, beside the same rows joined anew from what the tables say now.

Both are the same point-in-time join, so on unchanged tables they are equal to the last bit. Where they differ, source rows came late or were
corrected, or the definition of a feature is another one: training, which joins later, sees other values than the predictions were made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DataType, DateType, NumericType, TimestampType

from feature_store.checks import require_columns
from feature_store.names import quote
from sparkml_ops.errors import ContractError

__all__ = ["ColumnSkew", "Skew", "compare_replay"]

_SCORED, _NOW = "__scored", "__now"
# What becomes of a key, beside the columns in which its rows differ.
_STATES = ("compared", "differing", "gone", "late", "doubled")
_FACT = "struct<name: string, distance: double>"


@dataclass(frozen=True)
class ColumnSkew:
    """One column of the rows that both sides have.

    Args:
        rows: Rows in which it differs.
        share: Of the compared rows; 0 to 1.
        largest: Largest distance, in the column's unit (instants: microseconds); None where it is no number, or one side was never one.
        example: Key of a row with the largest distance, as text.
    """

    column: str
    rows: int
    share: float
    largest: float | None
    example: str


@dataclass(frozen=True)
class Skew:
    """A scoring set beside its replay.

    Args:
        window: Label.
        rows: Rows that both have, each key once.
        differing: Rows of them with a column that differs.
        gone: Rows that were scored and would not be now.
        late: Rows that would be scored now and were not.
        doubled: Keys that stand more than once on a side, which are not compared.
        columns: Those that differ, most rows first.
        compared: Names of all columns that were compared.
    """

    window: str
    rows: int
    differing: int
    gone: int
    late: int
    doubled: int
    columns: tuple[ColumnSkew, ...]
    compared: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the compared rows that differ; 0 to 1."""
        return self.differing / self.rows if self.rows else 0.0

    def of(self, column: str) -> float:
        """Share of the compared rows in which a column differs."""
        return next((item.share for item in self.columns if item.column == column), 0.0)


def compare_replay(scored: DataFrame, replayed: DataFrame, *, row_key: Sequence[str], window: str, tolerance: float = 0.0) -> Skew:
    """Compare the rows of both sides, key by key, in one job; a row for each differing column reaches the driver.

    Null equals null and NaN equals NaN. A column of another type now differs in every row of it that is not null on both sides.

    Args:
        scored: The scoring set.
        replayed: The same columns, joined anew.
        row_key: Columns that identify a row; one with a null in its key is not compared.
        window: Label, for the result.
        tolerance: Distance of two numbers that counts for none, as a share of the larger one.

    Raises:
        ContractError: A side lacks a column of the key.
    """
    if tolerance < 0:
        raise ContractError(f"a tolerance of {tolerance:g}", expected="0 or more", mend="correct it")
    for frame, what in ((scored, "the scoring set"), (replayed, "its replay")):
        require_columns(frame, row_key, what)
    columns = [name for name in scored.columns if name not in row_key and name in replayed.columns and not _has_map(scored, replayed, name)]
    facts = [_fact(place, name, scored, replayed, tolerance) for place, name in enumerate(columns)]
    rows = _by_key(scored, replayed, row_key, columns)
    differing = F.filter(F.array(F.lit(None).cast(_FACT), *facts), lambda fact: fact.isNotNull())
    rows = rows.withColumn("found", F.when(F.col("state") == "compared", differing).otherwise(F.array().cast(f"array<{_FACT}>")))
    state = F.when(F.size("found") > 0, F.lit("differing")).otherwise(F.col("state"))
    own = F.struct(state.alias("name"), F.lit(None).cast("double").alias("distance"))
    each = rows.select("key", F.explode(F.concat(F.array(own), F.col("found"))).alias("fact")).select("key", "fact.*")
    farthest = F.max_by("key", F.coalesce("distance", F.lit(-1.0)))
    counts = each.groupBy("name").agg(F.count(F.lit(1)).alias("rows"), F.max("distance").alias("largest"), farthest.alias("example"))
    return _skew({row["name"]: row for row in counts.collect()}, tuple(columns), window)


def _by_key(scored: DataFrame, replayed: DataFrame, row_key: Sequence[str], columns: Sequence[str]) -> DataFrame:
    """Each key once, with what either side has of it and what that comes to."""
    names = [f"key_{place}" for place in range(len(row_key))]
    keys = [F.col(quote(name)).alias(key) for name, key in zip(row_key, names, strict=True)]
    values = F.struct(F.lit(1).alias("there"), *(F.col(quote(name)).alias(f"c{place}") for place, name in enumerate(columns)))
    sides = [frame.select(*keys, values.alias(side)).dropna(subset=names) for frame, side in ((scored, _SCORED), (replayed, _NOW))]
    rows = sides[0].unionByName(sides[1], allowMissingColumns=True)
    first = [F.first(F.col(side), ignorenulls=True).alias(side) for side in (_SCORED, _NOW)]
    grouped = rows.groupBy(*names).agg(*first, F.count(_SCORED).alias("ours"), F.count(_NOW).alias("theirs"))
    state = (
        F.when((F.col("ours") > 1) | (F.col("theirs") > 1), F.lit("doubled"))
        .when(F.col("theirs") == 0, F.lit("gone"))
        .when(F.col("ours") == 0, F.lit("late"))
        .otherwise(F.lit("compared"))
    )
    return grouped.select(F.concat_ws(" ", *(F.col(name).cast("string") for name in names)).alias("key"), _SCORED, _NOW, state.alias("state"))


def _fact(place: int, name: str, scored: DataFrame, replayed: DataFrame, tolerance: float) -> Column:
    """The column's name and distance where a row differs in it, else null."""
    kinds = [frame.schema[name].dataType for frame in (scored, replayed)]
    before, after = (F.col(side)[f"c{place}"] for side in (_SCORED, _NOW))
    distance = F.lit(None).cast("double")
    if kinds[0] != kinds[1]:
        differs = before.isNotNull() | after.isNotNull()
    else:
        differs = ~before.eqNullSafe(after)
        if _measurable(kinds[0]):
            numbers = [_number(value, kinds[0]) for value in (before, after)]
            distance = F.abs(numbers[0] - numbers[1])
            distance = F.when(~F.isnan(distance), distance)
            if tolerance:
                near = distance <= F.lit(tolerance) * F.greatest(*(F.abs(number) for number in numbers))
                differs = differs & ~F.coalesce(near, F.lit(False))
    # No state begins with a dot, and every column's name here does.
    return F.when(differs, F.struct(F.lit(f".{name}").alias("name"), distance.alias("distance")))


def _measurable(kind: DataType) -> bool:
    return isinstance(kind, NumericType | BooleanType | DateType | TimestampType)


def _number(value: Column, kind: DataType) -> Column:
    return F.unix_micros(value.cast("timestamp")).cast("double") if isinstance(kind, DateType | TimestampType) else value.cast("double")


def _has_map(scored: DataFrame, replayed: DataFrame, name: str) -> bool:
    return any("map<" in frame.schema[name].dataType.simpleString() for frame in (scored, replayed))


def _skew(found: Mapping[str, Row], columns: tuple[str, ...], window: str) -> Skew:
    states = {name: int(found[name]["rows"]) if name in found else 0 for name in _STATES}
    rows = states["compared"] + states["differing"]
    skewed = [
        ColumnSkew(name, int(row["rows"]), int(row["rows"]) / rows, row["largest"], row["example"])
        for name in columns
        if (row := found.get(f".{name}")) is not None
    ]
    ordered = tuple(sorted(skewed, key=lambda item: (-item.rows, item.column)))
    return Skew(window, rows, states["differing"], states["gone"], states["late"], states["doubled"], ordered, columns)
