"""Reasons that Spark finds before a row goes to the model, where null and NaN still differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame, GroupedData
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, NumericType, StructType

from feature_store.names import quote
from sparkml_ops.config.scoring import CheckSection
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.matching import Match, nearest
from sparkml_ops.scoring.reason import Reason

__all__ = ["IdentityCounts", "count_identity", "doubled_keys", "mark_duplicates", "refusal", "value_checks"]

_COPIES, _TIMED, _DUPLICATE = "__copies", "__timed", "__duplicate"
# Keys that fit a broadcast with ease; beyond it Spark joins as it sees fit.
_BROADCAST_KEYS = 1_000_000


@dataclass(frozen=True)
class IdentityCounts:
    """Rows of a window by what is wrong with their identity.

    Args:
        rows: All rows.
        null_identity: Rows with a null in their key.
        duplicates: Rows that share their key with another one; all of them, since none is known to be the right one.
        duplicate_keys: How many keys those are.
        null_time: Other rows without a spine time.
    """

    rows: int
    null_identity: int
    duplicates: int
    duplicate_keys: int
    null_time: int

    @property
    def reasons(self) -> dict[str, int]:
        """Rows by reason."""
        found = {Reason.NULL_IDENTITY: self.null_identity, Reason.DUPLICATE_IDENTITY: self.duplicates, Reason.NULL_TIME: self.null_time}
        return {reason.value: count for reason, count in found.items() if count}


def count_identity(frame: DataFrame, row_key: Sequence[str], spine_time: str) -> IdentityCounts:
    """Count rows with a faulty identity: one Spark job, which reads the key columns alone."""
    groups = _groups(frame, row_key).agg(F.count(F.lit(1)).alias(_COPIES), F.count(F.col(quote(spine_time))).alias(_TIMED))
    copies, absent = F.col(_COPIES), _null_key(row_key)
    several = ~absent & (copies > 1)
    sums = {
        "rows": F.sum(copies),
        "null_identity": F.sum(F.when(absent, copies)),
        "duplicates": F.sum(F.when(several, copies)),
        "duplicate_keys": F.count(F.when(several, 1)),
        "null_time": F.count(F.when(~absent & (copies == 1) & (F.col(_TIMED) == 0), 1)),
    }
    row = groups.agg(*(total.alias(name) for name, total in sums.items())).first()
    assert row is not None
    return IdentityCounts(**{name: int(row[name] or 0) for name in sums})


def mark_duplicates(frame: DataFrame, row_key: Sequence[str], counts: IdentityCounts) -> tuple[DataFrame, Column]:
    """The frame and the condition that a row shares its key; most windows have no such row and get no join."""
    if not counts.duplicate_keys:
        return frame, F.lit(False)
    keys = [F.col(quote(name)).alias(f"__key_{index}") for index, name in enumerate(row_key)]
    several = _groups(frame, row_key).agg(F.count(F.lit(1)).alias(_COPIES)).where(F.col(_COPIES) > 1).select(*keys, F.lit(True).alias(_DUPLICATE))
    if counts.duplicate_keys <= _BROADCAST_KEYS:
        several = F.broadcast(several)
    same = [F.col(quote(name)) == F.col(f"__key_{index}") for index, name in enumerate(row_key)]
    return frame.join(several, on=same, how="left"), F.col(_DUPLICATE).isNotNull()


def doubled_keys(frame: DataFrame, row_key: Sequence[str], most: int) -> pa.Table:
    """The keys that more than one row has, in their columns; at most so many."""
    keys = [F.col(quote(name)).alias(name) for name in row_key]
    several = _groups(frame, row_key).agg(F.count(F.lit(1)).alias(_COPIES)).where(~_null_key(row_key) & (F.col(_COPIES) > 1))
    return several.select(*keys).limit(most).toArrow()


def refusal(row_key: Sequence[str], spine_time: str, duplicate: Column, matches: Sequence[Match], checks: Sequence[Column]) -> Column:
    """The first reason not to score a row, or null."""
    identity = [
        F.when(_null_key(row_key), F.lit(Reason.NULL_IDENTITY.value)),
        F.when(duplicate, F.lit(Reason.DUPLICATE_IDENTITY.value)),
        F.when(F.col(quote(spine_time)).isNull(), F.lit(Reason.NULL_TIME.value)),
    ]
    return F.coalesce(*identity, *(reason for match in matches for reason in match.refusals()), *checks)


def value_checks(schema: StructType, checks: Mapping[str, CheckSection]) -> list[Column]:
    """The configured rules as reasons.

    Raises:
        ContractError: A rule on an unknown column, or a limit on one that is no number.
    """
    fields = {field.name: field.dataType for field in schema.fields}
    found: list[Column] = []
    for name, check in checks.items():
        if name not in fields:
            raise ContractError(
                f"scoring.checks.{name}, and no such column{nearest(name, fields)}", expected="columns of the scoring set", mend="correct it"
            )
        if not isinstance(fields[name], NumericType) and (check.minimum, check.maximum) != (None, None):
            kind = fields[name].simpleString()
            raise ContractError(f"a limit on `{name}` of type {kind} in scoring.checks", expected="a number", mend="remove the limit")
        column = F.col(quote(name))
        nan = F.isnan(column) if isinstance(fields[name], DoubleType | FloatType) else F.lit(False)
        if not check.allow_null:
            found.append(F.when(column.isNull(), F.lit(Reason.MISSING.of(f"{name} is null"))))
        if not check.allow_nan:
            found.append(F.when(nan, F.lit(Reason.MISSING.of(f"{name} is NaN"))))
        if check.minimum is not None:
            found.append(F.when(~nan & (column < F.lit(check.minimum)), F.lit(Reason.OUT_OF_RANGE.of(f"{name} below {check.minimum:g}"))))
        if check.maximum is not None:
            # Spark orders NaN above all numbers.
            found.append(F.when(~nan & (column > F.lit(check.maximum)), F.lit(Reason.OUT_OF_RANGE.of(f"{name} above {check.maximum:g}"))))
    return found


def _groups(frame: DataFrame, row_key: Sequence[str]) -> GroupedData:
    return frame.groupBy(*(F.col(quote(name)) for name in row_key))


def _null_key(row_key: Sequence[str]) -> Column:
    absent = F.lit(False)
    for name in row_key:
        absent = absent | F.col(quote(name)).isNull()
    return absent
