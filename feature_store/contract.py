"""The checks that rows pass before they may stand in a feature table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from feature_store.checks import require_columns, require_instant
from feature_store.errors import ContractError
from feature_store.names import quote
from feature_store.table import FeatureTable
from feature_store.timeline import known_micros

__all__ = ["check_rows", "check_schema", "check_times", "check_types", "in_range", "tally_identities", "tally_rows"]

_EARLIEST = int(datetime(1900, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_LATEST = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_SHOWN = 5
_NO_KEYS = frozenset({"float", "double", "map", "variant"})


def check_schema(table: FeatureTable, frame: DataFrame, what: str) -> None:
    """Refuse rows whose columns are not exactly the declared ones.

    Raises:
        ContractError: A column is missing, undeclared or of another type; a time is no instant; a key has no equality.
    """
    require_columns(frame, table.columns, what)
    if extra := [name for name in frame.columns if name not in table.columns]:
        raise ContractError(
            f"undeclared columns {extra[:_SHOWN]} in {what}", expected=f"{list(table.columns)}", mend="declare them as features, or drop them"
        )
    check_times(table, frame.schema, what, table.stored_known_time)
    check_types({feature.name: feature.type for feature in table.features}, frame.schema, what)


def check_times(table: FeatureTable, schema: StructType, what: str, known_time: str | timedelta | None) -> None:
    """Refuse keys and times of unusable types.

    Args:
        known_time: The rows' own: a table of windows stores none, though its source has one.
    """
    require_instant(schema, table.event_time, f"the event time of {what},")
    if isinstance(known_time, str):
        require_instant(schema, known_time, f"the known time of {what},")
    for key in table.keys:
        if (kind := schema[key].dataType.typeName()) in _NO_KEYS:
            raise ContractError(
                f"the key `{key}` of type {kind} in {what}", expected="an integer, string, decimal, date or timestamp", mend="cast it"
            )


def check_types(declared: dict[str, str], schema: StructType, what: str) -> None:
    """Refuse columns of another type than the declared one."""
    found = {name: schema[name].dataType.simpleString() for name in declared}
    wrong = [f"`{name}` of type {found[name]} where {kind} is declared" for name, kind in declared.items() if found[name] != kind]
    if wrong:
        first = next(name for name, kind in declared.items() if found[name] != kind)
        mend = f'cast it, as .withColumn("{first}", F.col("{first}").cast("{declared[first]}")), or declare what it is'
        raise ContractError(f"{', '.join(wrong[:_SHOWN])} in {what}", expected="the declared types", mend=mend)


def check_rows(table: FeatureTable, frame: DataFrame, what: str) -> int:
    """Refuse rows without identity, with impossible times, or twice of one (keys, event time, known time), in one job; count them."""
    return int(tally_identities(table, frame, what)["rows"])


def tally_identities(table: FeatureTable, frame: DataFrame, what: str, beside: Mapping[str, Column] | None = None) -> Row:
    """Refuse what `check_rows` refuses, with other aggregates in the same job.

    Args:
        frame: Rows with the columns that identify one.
        beside: Name to aggregate, over identities.

    Returns:
        `rows`, and the aggregates under their names.
    """
    columns = [F.col(quote(name)) for name in table.merge_keys]
    # All that is asked of a row is asked of what identifies it: one shuffle answers everything.
    groups = frame.groupBy(*columns).agg(F.count("*").alias("__rows"))
    also = {**(beside or {}), "doubled": F.count_if(F.col("__rows") > 1)}
    found = groups.agg(*_sums(_conditions(table), F.col("__rows")), *(value.alias(name) for name, value in also.items())).first()
    assert found is not None
    _refuse(table, found, what)
    if found["doubled"]:
        _refuse_doubled(table, groups, what)
    return found


def tally_rows(table: FeatureTable, frame: DataFrame, what: str, only: Column | None = None, beside: Mapping[str, Column] | None = None) -> Row:
    """Refuse rows without identity or with impossible times, with other aggregates in the same job.

    A source row of windows may have no known time yet: it counts in none. In a stored row it is part of the identity.

    Args:
        only: Which rows are checked and counted; never null. None: all.
        beside: Name to aggregate, over all rows.

    Returns:
        `rows`, and the aggregates under their names.
    """
    judged = F.lit(1) if only is None else F.when(only, 1).otherwise(0)
    found = frame.agg(*_sums(_conditions(table), judged), *(value.alias(name) for name, value in (beside or {}).items())).first()
    assert found is not None
    _refuse(table, found, what)
    return found


def in_range(name: str) -> Column:
    """Whether an instant lies in the years 1900 to 2199; null is no instant to judge."""
    micros = F.unix_micros(F.col(quote(name)))
    return F.coalesce(micros.between(_EARLIEST, _LATEST - 1), F.lit(True))


def _identity(table: FeatureTable) -> tuple[str, ...]:
    return (*table.keys, table.event_time, *((table.stored_known_time,) if table.stored_known_time else ()))


def _conditions(table: FeatureTable) -> dict[str, Column]:
    """What is wrong with a row, by its name; never null where nothing is."""
    known = table.known_time if isinstance(table.known_time, str) else None
    event = F.unix_micros(F.col(quote(table.event_time)))
    found = {f"null:{name}": F.col(quote(name)).isNull() for name in _identity(table)}
    found |= {f"range:{name}": ~in_range(name) for name in (table.event_time, known) if name}
    if known and not table.known_early:
        found["early"] = known_micros(event, known) < event
    return found


def _sums(conditions: Mapping[str, Column], weight: Column) -> list[Column]:
    """Rows in all, and those for which a condition holds.

    Args:
        weight: For how many rows one counts.
    """
    counts = {"rows": weight, **{name: F.when(condition, weight) for name, condition in conditions.items()}}
    return [F.coalesce(F.sum(value), F.lit(0)).alias(name) for name, value in counts.items()]


def _refuse(table: FeatureTable, found: Row, what: str) -> None:
    _refuse_nulls(found, _identity(table), what)
    known = table.known_time
    for name in (table.event_time, known):
        if isinstance(name, str) and found[f"range:{name}"]:
            raise ContractError(
                f"{found[f'range:{name}']} rows of {what} with `{name}` outside 1900 to 2200",
                expected="possible instants",
                mend="correct or filter them",
            )
    if isinstance(known, str) and not table.known_early and found["early"]:
        raise ContractError(
            f"{found['early']} rows of {what} with `{known}` before `{table.event_time}`",
            expected="values known at their event time or later",
            mend="declare known_early=True if they are a schedule or a forecast, else correct them",
        )


def _refuse_doubled(table: FeatureTable, groups: DataFrame, what: str) -> None:
    columns = [F.col(quote(name)) for name in table.merge_keys]
    doubled = groups.where(F.col("__rows") > 1).orderBy(*columns).limit(_SHOWN)
    # As text, since Python would show instants in its own zone.
    rows = doubled.select(*(column.cast("string") for column in columns), "__rows").collect()
    shown = "; ".join(", ".join(f"{name}={row[name]}" for name in table.merge_keys) + f" ({row['__rows']} times)" for row in rows)
    raise ContractError(
        f"duplicates of {table.merge_keys} in {what}: {shown}", expected="one row for each", mend="aggregate or drop them before the write"
    )


def _refuse_nulls(found: Row, identity: Sequence[str], what: str) -> None:
    nulls = [f"{found[f'null:{name}']} rows with a null `{name}`" for name in identity if found[f"null:{name}"]]
    if nulls:
        raise ContractError(
            f"{', '.join(nulls)} among {found['rows']} rows of {what}",
            expected="keys and times in every row",
            mend=f"filter them, as where: {identity[0]} is not null, or fill them",
        )
