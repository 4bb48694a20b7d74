"""How many distinct values columns have: sketches that Spark makes, which merge over windows and which `datasketches` reads too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.delta import Tables
from feature_store.names import quote
from sparkml_ops.drift.states import STATE_TABLE, state_label
from sparkml_ops.errors import ConfigurationError, ContractError

__all__ = ["ROLE", "Distinct", "distinct_over", "distinct_rows", "sketches", "state_rows"]

ROLE = "distinct"
# 4,096 cells: a relative error of 1.6 %; of more columns one job costs more than jobs of ten.
_LG_K, _COLUMNS = 12, 10
_WHOLE = ("tinyint", "smallint", "int", "bigint")


@dataclass(frozen=True)
class Distinct:
    """A number of distinct values.

    Args:
        estimate: The likeliest.
        lower: It is not below, but for one time in forty.
        upper: It is not above, but for one time in forty.
    """

    estimate: float
    lower: float
    upper: float


def sketches(frame: DataFrame, columns: Sequence[str]) -> dict[str, bytes]:
    """A HyperLogLog sketch of each column's values but null, in one job for ten columns.

    Whole numbers are counted as such, all else as the text that Spark writes it as.

    Raises:
        ContractError: A column is not there, or is nested.
    """
    types = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    if odd := [f"`{name}` of type {types.get(name)}" for name in columns if types.get(name, "array<").startswith(("array<", "map<", "struct<"))]:
        raise ContractError(f"distinct values of {', '.join(odd[:5])}", expected="columns of simple values", mend="correct drift.distinct")
    found: dict[str, bytes] = {}
    for start in range(0, len(columns), _COLUMNS):
        part = columns[start : start + _COLUMNS]
        row = frame.agg(*(_sketch(name, types[name]).alias(f"s{place}") for place, name in enumerate(part))).collect()[0]
        found.update({name: bytes(row[f"s{place}"]) for place, name in enumerate(part)})
    return found


def distinct_over(tables: Tables, project: str, column: str, windows: Sequence[str], *, slot: str = "champion") -> Distinct:
    """Distinct values of a column over some windows together, from their stored sketches; needs no Spark where the warehouse is a folder.

    Raises:
        ContractError: A window has no sketch of the column.
        ConfigurationError: `datasketches` is not installed.
    """
    labels = [state_label(window, slot) for window in windows]
    where = {"table": project, "role": ROLE, "column": _named(column), "window": labels}
    rows = tables.rows(STATE_TABLE, where) if labels and tables.exists(STATE_TABLE) else []
    if not labels or (absent := sorted(set(labels) - {row["window"] for row in rows})):
        missing = ", ".join(absent[:5]) if labels else "no window"
        raise ContractError(f"no sketch of `{column}` of {missing}", expected="windows compared with it in drift.distinct", mend="compare them again")
    return _together([row["state"] for row in rows])


def distinct_rows(found: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Rows of `drift_metrics`: not judged, since what is usual only the series tells."""
    rows = []
    for column, state in found.items():
        told = _together([state])
        nothing = dict.fromkeys(("segment", "n", "m", "p", "q", "threshold", "verdict"))
        ends = {"value": told.estimate, "lower": told.lower, "upper": told.upper}
        rows.append({**nothing, "column": column, "statistic": "distinct", **ends, "method": f"HyperLogLog, 2^{_LG_K} cells"})
    return rows


def state_rows(found: Mapping[str, bytes], window: str, source: str) -> list[dict[str, Any]]:
    """Rows of `profile_state`, beside those of the columns' profiles."""
    empty = dict.fromkeys(("n", "nulls", "nan", "negative_infinite", "positive_infinite", "min", "max", "column_edges"))
    common = {**empty, "window": window, "role": ROLE, "source": source, "segment": "", "block": "", "type": "hll", "edges": ""}
    return [{**common, "column": _named(column), "state": state} for column, state in found.items()]


def _named(column: str) -> str:
    return f"{column} (distinct)"


def _sketch(name: str, kind: str) -> Column:
    value = F.col(quote(name)).cast("bigint" if kind in _WHOLE else "string")
    return F.hll_sketch_agg(value, _LG_K)


def _together(states: Sequence[bytes]) -> Distinct:
    try:
        from datasketches import hll_sketch, hll_union
    except ImportError:
        raise ConfigurationError("no package datasketches", expected="the extra `monitoring`", mend="install `sparkml-ops[monitoring]`") from None
    union = hll_union(_LG_K)
    for state in states:
        union.update(hll_sketch.deserialize(state))
    return Distinct(union.get_estimate(), union.get_lower_bound(2), union.get_upper_bound(2))
