"""Refresh after one percent of new rows against a rebuild; prints Markdown for docs/benchmarks.md.

Two warehouses hold the same source and the same tables; each round one percent of new rows arrives in both, and one refreshes
while the other rebuilds. `--scale 0.05` tries it out, `--cases late` measures one case.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rounds import heading, measure

import feature_store as fs
from feature_store.delta.changes import FEED
from feature_store.incremental import plan
from sparkml_ops import session

ROWS, KEYS = 2_000_000, 20_000
DAY = 86_400 * 1_000_000
HISTORY = 365 * DAY  # microseconds of the first load
BEGAN = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
NIGHT = DAY  # microseconds that the new rows cover
LATE = 20  # one of so many new rows is late, where some are
PROMISE = 0.15

WINDOWS = (
    fs.Aggregate("count", None, "7d"),
    fs.Aggregate("sum", "amount", "7d"),
    fs.Aggregate("mean", "amount", "28d"),
    fs.Aggregate("max", "amount", "28d"),
    fs.Aggregate("count", None, "28d", where="amount > 50", name="large_28d"),
)
FEATURES = (
    fs.Feature("count_7d", "bigint"),
    fs.Feature("amount_sum_7d", "double"),
    fs.Feature("amount_mean_28d", "double"),
    fs.Feature("amount_max_28d", "double"),
    fs.Feature("large_28d", "bigint"),
)


@dataclass(frozen=True)
class Case:
    """What is refreshed after which arrivals.

    Args:
        title: In words.
        table: The table.
        late: Whether one in twenty of the new rows is late, by up to 60 days.
    """

    title: str
    table: fs.FeatureTable
    late: bool


@dataclass
class Side:
    """A warehouse with the source and one table, and how often rows have arrived in it.

    Args:
        store: The warehouse.
        late: As of the case.
        rows: Rows of the first load.
        keys: Entities.
        nights: Arrivals after it.
    """

    store: fs.FeatureStore
    late: bool
    rows: int
    keys: int
    nights: int = 0

    def load(self, table: fs.FeatureTable) -> None:
        """The first load."""
        source = arrivals(self.store.tables.spark, 0, self.rows, self.keys, BEGAN, HISTORY)
        self.store.tables.overwrite(
            "payments", source, settings={f"spark.databricks.delta.properties.defaults.{FEED.removeprefix('delta.')}": "true"}
        )
        self.store.register(table)
        self.store.refresh(table.name)

    def night(self) -> None:
        """One percent of new rows, at the end or late."""
        self.nights += 1
        count, spark = max(self.rows // 100, LATE), self.store.tables.spark
        began = BEGAN + HISTORY + (self.nights - 1) * NIGHT
        first = self.rows + (self.nights - 1) * count
        behind = count // LATE if self.late else 0
        fresh = arrivals(spark, first, count - behind, self.keys, began, NIGHT)
        late = arrivals(spark, first + count - behind, behind, self.keys, began - 60 * DAY, 60 * DAY)
        self.store.tables.append("payments", fresh.union(late).coalesce(1))


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows and keys")
    parser.add_argument("--heap", default="4g", help="Java heap")
    parser.add_argument("--cases", nargs="+", choices=cases(), default=list(cases()))
    arguments = parser.parse_args()
    plan.SMALL = 0  # so that a trial measures the same
    spark = session.build(session.SparkSection(master="local[2]", driver_memory=arguments.heap, conf={"spark.sql.shuffle.partitions": "8"}))
    print(heading(f"python scripts/bench/refresh.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    print("| table | refresh: seconds, CPU seconds | rebuild: seconds, CPU seconds | ratio of CPU seconds | promised |\n|---|---:|---:|---:|---:|")
    for name in arguments.cases:
        with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
            compare(spark, folder, cases()[name], arguments.rounds, arguments.scale)
    spark.stop()
    return 0


def cases() -> dict[str, Case]:
    """What is measured."""
    single = fs.FeatureTable("single", ("payment",), "at", (fs.Feature("amount", "double"),), source="payments")
    daily = fs.FeatureTable("daily", ("customer",), "at", FEATURES, source="payments", aggregates=WINDOWS, slide="1d")
    corrected = replace(daily, name="corrected", row_id="payment")
    return {
        "single": Case("a row for each of the source", single, late=False),
        "windows": Case("windows of 7 and 28 days on a daily grid", daily, late=False),
        "late": Case("the same, one new row in twenty late by up to 60 days", daily, late=True),
        "row_id": Case("the same with row_id", corrected, late=True),
    }


def compare(spark: SparkSession, folder: str, case: Case, rounds: int, scale: float) -> None:
    """Both ways in turns, and the same rows at the end."""
    title, table = case.title, case.table
    sides = {
        kind: Side(fs.FeatureStore(spark, root=f"{folder}/{kind}"), case.late, round(ROWS * scale), max(round(KEYS * scale), 1))
        for kind in ("refresh", "rebuild")
    }
    for side in sides.values():
        side.load(table)
    contestants: dict[str, Callable[[], object]] = {"arrival": lambda: [side.night() for side in sides.values()]}
    contestants |= {kind: partial(_refresh, kind, side.store, table.name) for kind, side in sides.items()}
    costs = measure(contestants, rounds)
    one, other = (contents(side.store.read(table.name)) for side in sides.values())
    if one != other:
        raise SystemExit(f"refresh and rebuild of {title} differ: {one} and {other}")
    refresh, rebuild = costs["refresh"], costs["rebuild"]
    ratio = refresh.cpu / rebuild.cpu
    print(
        f"| {title} | {refresh.seconds:.2f}, {refresh.cpu:.2f} | {rebuild.seconds:.2f}, {rebuild.cpu:.2f} | {ratio:.2f} | ≤ {PROMISE} |", flush=True
    )


def _refresh(kind: str, store: fs.FeatureStore, name: str) -> None:
    if kind == "rebuild":
        store.rebuild_table(name)
    elif (planned := store.plan_refresh(name)).kind != "incremental":
        raise SystemExit(f"not measured: {planned.text}")
    else:
        store.refresh(name)


def arrivals(spark: SparkSession, first: int, count: int, keys: int, began: int, length: int) -> DataFrame:
    """Payments, seeded by their number; times are spread over a stretch, amounts over 0 to 100."""
    at = F.timestamp_micros(F.lit(began) + F.pmod(F.xxhash64("id", F.lit("at")), F.lit(length)))
    customer = F.pmod(F.xxhash64("id", F.lit("customer")), F.lit(keys))
    amount = (F.pmod(F.xxhash64("id", F.lit("amount")), F.lit(10_000)) / 100).alias("amount")
    return spark.range(first, first + count, 1, 4).select(F.col("id").alias("payment"), customer.alias("customer"), at.alias("at"), amount)


def contents(frame: DataFrame) -> tuple[object, ...]:
    """Number of rows and a sum over their hashes, sums of doubles rounded."""
    exact = [F.round(column, 6) if kind == "double" else F.col(column) for column, kind in frame.dtypes]
    return tuple(frame.agg(F.count("*"), F.sum(F.hash(*exact).cast("long"))).first() or ())


if __name__ == "__main__":
    raise SystemExit(main())
