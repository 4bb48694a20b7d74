"""The contract of a model's inputs: rules over ten columns in one pass; prints Markdown for docs/benchmarks.md."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rounds import heading, measure

import feature_store as fs
from sparkml_ops import session
from sparkml_ops.config.spark import SparkSection
from sparkml_ops.scoring.contract import judge_rows

_AT = datetime(2020, 3, 1, tzinfo=UTC)
_ASKED = 0.5  # million rows a second and core


def rows(spark: SparkSession, folder: Path, count: int) -> DataFrame:
    """Ten columns: a key, a time, five numbers, three texts."""
    frame = spark.range(count, numPartitions=8).select(
        "id",
        F.timestamp_seconds(F.lit(1_580_000_000) + F.col("id") / F.lit(10)).alias("at"),
        *(F.when(F.rand(place) > 0.02, F.randn(place)).alias(f"x{place}") for place in range(5)),
        *(F.concat(F.lit("AB-"), (F.rand(20 + place) * 40).cast("int").cast("string")).alias(f"code{place}") for place in range(3)),
    )
    frame.write.parquet(str(folder / "rows"))
    return spark.read.parquet(str(folder / "rows"))


def sixteen() -> tuple[fs.Expectation, ...]:
    """Sixteen rules of every kind but uniqueness, which is a shuffle by its nature."""
    codes = tuple(f"AB-{place}" for place in range(40))
    return (
        *(fs.Expectation("type", f"x{place}", type="double") for place in range(2)),
        *(fs.Expectation("nulls", f"x{place}", high=0.05) for place in range(3)),
        *(fs.Expectation("between", f"x{place}", low=-6, high=6, otherwise="warn") for place in range(4)),
        *(fs.Expectation("not_null", f"code{place}", otherwise="warn") for place in range(2)),
        fs.Expectation("one_of", "code0", values=codes, otherwise="warn"),
        fs.Expectation("pattern", "code1", pattern="[A-Z]+-[0-9]+", otherwise="warn"),
        fs.Expectation("sql", sql="x0 + x1 < 20 or code0 is null", otherwise="warn"),
        fs.Expectation("rows", low=1),
        fs.Expectation("fresh", within="10000d"),
    )


def of_each_column() -> tuple[fs.Expectation, ...]:
    """Sixteen rules for each of the ten columns."""
    names = ("id", "at", *(f"x{place}" for place in range(5)), *(f"code{place}" for place in range(3)))
    return tuple(
        fs.Expectation("sql", sql=f"{name} is not null or {number} < 17", otherwise="warn", name=f"{name} {number}")
        if name[0] in "ac"
        else fs.Expectation("between", name, low=-(10**12) - number, high=10**12 + number, otherwise="warn", name=f"{name} {number}")
        for name in names
        for number in range(16)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say whether the figure that was asked for was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    spark = session.build(
        SparkSection(master="local[2]", driver_memory="2g", conf={"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2"})
    )
    with tempfile.TemporaryDirectory() as folder:
        frame = rows(spark, Path(folder), options.rows)
        rules = {"16 rules": sixteen(), "160 rules, 16 a column": of_each_column()}

        def judged(name: str) -> object:
            return judge_rows(frame, rules[name], row_key=["id"], time="at", at=_AT, what="rows")

        found = measure({name: lambda name=name: judged(name) for name in rules}, options.rounds)
    spark.stop()
    print(f"{heading(f'python scripts/bench/contract.py --rows {options.rows}')}\n")
    print("| rules over ten columns | CPU s | million rows a CPU second |\n|---|---|---|")
    speeds = {name: options.rows / cost.cpu / 1e6 for name, cost in found.items()}
    for name, cost in found.items():
        print(f"| {name} | {cost.cpu:.2f} | {speeds[name]:.2f} |")
    return 0 if speeds["16 rules"] >= _ASKED else 1


if __name__ == "__main__":
    raise SystemExit(main())
