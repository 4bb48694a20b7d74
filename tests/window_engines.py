"""Windowed aggregates as two other engines give them: DuckDB in SQL, and pandas by merge and groupby."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd
import pyarrow as pa

from feature_store.aggregate import Aggregate
from feature_store.oracles import records
from feature_store.testing import generators

__all__ = ["AGGREGATES", "KEYS", "NUMBERS", "by_duckdb", "by_pandas", "events_of", "grid_by_duckdb", "micros", "spine_of"]

KEYS = ("case", "customer", "shop")
EVENTS = pa.schema(
    [
        ("case", pa.int64()), ("customer", pa.string()), ("shop", pa.string()), ("happened", pa.int64()), ("known", pa.int64()), ("row", pa.string()),
        ("amount", pa.float64()), ("items", pa.int32()), ("price", pa.decimal128(9, 2)), ("city", pa.string()),
    ]
)  # fmt: skip
SPINE = pa.schema([("i", pa.int64()), ("case", pa.int64()), ("customer", pa.string()), ("shop", pa.string()), ("at", pa.int64())])
ROWS = "coalesce(list({value} ORDER BY happened, known, {value} NULLS FIRST) FILTER (WHERE {inside}), [])"
EXPRESSIONS = {
    "count": "count({value}) FILTER (WHERE {inside})",
    "sum": "fsum({value}) FILTER (WHERE {inside})",
    "mean": "favg({value}::DOUBLE) FILTER (WHERE {inside})",
    "variance": "var_samp({value}::DOUBLE) FILTER (WHERE {inside})",
    "std": "stddev_samp({value}::DOUBLE) FILTER (WHERE {inside})",
    "min": "min({value}) FILTER (WHERE {inside})",
    "max": "max({value}) FILTER (WHERE {inside})",
    "first": ROWS + "[1]",
    "last": ROWS + "[-1]",
    "last_k": "list_reverse(" + ROWS + ")[1:{k}]",
    "distinct": "count(DISTINCT {value}) FILTER (WHERE {inside})",
    "approx_distinct": "count(DISTINCT {value}) FILTER (WHERE {inside})",
    "quantile": "quantile_cont({value}::DOUBLE, {q}) FILTER (WHERE {inside})",
}
AGGREGATES = [
    Aggregate("count", None, "36h"),
    Aggregate("count", "amount", "12h"),
    Aggregate("sum", "amount", "36h"),
    Aggregate("sum", "items", "2d", where="city is not null"),
    Aggregate("sum", "price", "36h"),
    Aggregate("mean", "amount", "2d"),
    Aggregate("variance", "items", "36h"),
    Aggregate("std", "price", "2d"),
    Aggregate("min", "amount", "36h"),
    Aggregate("max", "city", "12h"),
    Aggregate("first", "items", "36h"),
    Aggregate("last", "city", "2d"),
    Aggregate("last_k", "items", "2d", k=3),
    Aggregate("distinct", "amount", "2d"),
    Aggregate("approx_distinct", "city", "36h"),
    Aggregate("quantile", "amount", "2d", q=0.3),
]
#: What pandas gives of a column of numbers, nulls left out.
NUMBERS = {
    "count": lambda values: values.count(),
    "sum": lambda values: values.sum(min_count=1),
    "mean": lambda values: values.mean(),
    "variance": lambda values: values.var(),
    "std": lambda values: values.std(),
    "min": lambda values: values.min(),
    "max": lambda values: values.max(),
    "distinct": lambda values: values.nunique(),
    "quantile": lambda values: values.quantile(0.3),
}


def events_of(seeds: Sequence[int], rows: int, **shares: float) -> pd.DataFrame:
    """The generators' events of several seeds as cases of one frame."""
    return pd.concat([generators.event_rows(seed, rows, **shares).assign(case=case) for case, seed in enumerate(seeds)], ignore_index=True)


def spine_of(seeds: Sequence[int], rows: int, **shares: float) -> pd.DataFrame:
    """The generators' spines of several seeds as cases of one frame, with a number for each row."""
    frames = [generators.spine_rows(seed, rows, **shares).assign(case=case) for case, seed in enumerate(seeds)]
    return pd.concat(frames, ignore_index=True).assign(i=range(rows * len(frames)))


def micros(moment: datetime | None) -> int | None:
    """Microseconds since the epoch."""
    return None if moment is None else (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def by_duckdb(events: pd.DataFrame, spine: pd.DataFrame, aggregates: Sequence[Aggregate], *, row: bool, closed: str) -> pd.DataFrame:
    """Number of each spine row, and its aggregates."""
    return _frame(_connected(events, spine).sql(f"SELECT i, {_outputs(aggregates)} FROM ({_read(aggregates, row=row, closed=closed)})"))


def grid_by_duckdb(events: pd.DataFrame, aggregates: Sequence[Aggregate], *, slide: timedelta, row: bool, closed: str) -> pd.DataFrame:
    """Keys, grid instant in microseconds and aggregates, where a window holds an event or has just emptied."""
    step, longest = slide // timedelta(microseconds=1), max(item.length for item in aggregates) // timedelta(microseconds=1)
    everything = Aggregate("count", None, f"{longest // 1000}ms", name="held")
    database = _connected(events, None)
    database.sql(
        f"""CREATE TABLE spine AS SELECT row_number() OVER () AS i, * FROM
        (SELECT DISTINCT "case", customer, shop FROM events WHERE happened IS NOT NULL AND known IS NOT NULL),
        (SELECT unnest(generate_series(min(greatest(happened, known)) // {step} - 1, (max(greatest(happened, known)) + {longest}) // {step} + 2)) * {step}
         AS "at" FROM events)"""
    )
    keys = '"case", customer, shop'
    return _frame(
        database.sql(
            f"""SELECT {keys}, "at", {_outputs(aggregates)} FROM ({_read([*aggregates, everything], row=row, closed=closed)})
            QUALIFY held > 0 OR lag(held, 1, 0) OVER (PARTITION BY {keys} ORDER BY "at") > 0"""
        )
    )


def by_pandas(events: pd.DataFrame, spine: pd.DataFrame, column: str, length: timedelta) -> pd.DataFrame:
    """Number of each spine row, and every function of `NUMBERS` of a column over (at - length, at]."""
    there = events.dropna(subset=[*KEYS, "happened", "known"]).astype(
        {column: "float64", "happened": "datetime64[us, UTC]", "known": "datetime64[us, UTC]"}
    )
    pairs = spine.dropna(subset=[*KEYS, "at"]).astype({"at": "datetime64[us, UTC]"}).merge(there, on=list(KEYS))
    pairs = pairs[(pairs["known"] <= pairs["at"]) & (pairs["happened"] <= pairs["at"]) & (pairs["happened"] > pairs["at"] - length)]
    groups = pairs.groupby("i")[column]
    found = pd.DataFrame({name: read(groups) for name, read in NUMBERS.items()}).reindex(spine["i"])
    counts = found[["count", "distinct"]].fillna(0).astype("int64").astype(object)
    return found.astype(object).where(found.notna(), None).assign(**counts).reset_index()


def _connected(events: pd.DataFrame, spine: pd.DataFrame | None) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.register("events", _arrow(events, EVENTS))
    if spine is not None:
        database.register("spine", _arrow(spine, SPINE))
    return database


def _arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    rows = [{name: micros(value) if isinstance(value, datetime) else value for name, value in row.items()} for row in records(frame)]
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema)


def _read(aggregates: Sequence[Aggregate], *, row: bool, closed: str) -> str:
    used = dict.fromkeys([*KEYS, *(item.column for item in aggregates if item.column)])
    newest = ", ".join(f'v."{name}" DESC NULLS LAST' for name in ("known", "happened", *used))
    identity = """coalesce('row ' || v."case" || ' ' || v."row", 'none ' || v.n)"""
    once = f"QUALIFY row_number() OVER (PARTITION BY s.i, {identity} ORDER BY {newest}) = 1" if row else ""
    made = ", ".join(f'{_expression(item, closed)} AS "{item.output}"' for item in aggregates)
    return f"""WITH versions AS (SELECT *, row_number() OVER () AS n FROM events),
        held AS (SELECT s.i, v.* FROM spine s JOIN versions v ON v.known <= s."at" {once})
        SELECT s.i, s."case", s.customer, s.shop, s."at", {made}
        FROM spine s LEFT JOIN held h ON h.i = s.i AND h."case" = s."case" AND h.customer = s.customer AND h.shop = s.shop GROUP BY ALL"""


def _expression(item: Aggregate, closed: str) -> str:
    length = item.length // timedelta(microseconds=1)
    inside = f'happened > "at" - {length} AND happened <= "at"' if closed == "right" else f'happened >= "at" - {length} AND happened < "at"'
    if item.where is not None:
        inside += f" AND ({item.where})"
    exact = {"items": "sum({value})::BIGINT", "price": "sum({value})"}
    form = EXPRESSIONS[item.function]
    if item.function == "sum" and item.column in exact:
        form = exact[item.column].replace(")", ") FILTER (WHERE {inside})", 1)
    return form.format(value=item.column or "h.i", inside=inside, q=item.q, k=item.k)


def _outputs(aggregates: Sequence[Aggregate]) -> str:
    return ", ".join(f'"{item.output}"' for item in aggregates)


def _frame(found: duckdb.DuckDBPyRelation) -> pd.DataFrame:
    table = found.to_arrow_table()
    return pd.DataFrame({name: pd.Series(table[name].to_pylist(), dtype=object) for name in table.column_names})
