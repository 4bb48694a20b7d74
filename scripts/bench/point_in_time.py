"""Point-in-time joins beside Feast and Tempo themselves; prints Markdown for docs/benchmarks.md.

Rows lie in Parquet files, so that every contestant reads the same; results go nowhere. `--scale 0.05` tries it out.
Feast is asked through its own Spark offline store (`feast_peer`), so its join-then-rank plan is the one it renders.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import feast_peer
import peers
from contest import drain, same_rows
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from rounds import Cost, heading, measure

import feature_store as fs
from sparkml_ops import session

TEMPO = ("dbl-tempo==0.1.30",)
TEMPO_NEEDS = ("ipython==8.37.0",)
SPAN = 365 * 86_400 * 1_000_000  # microseconds of history
SPINE_ROWS, FEATURE_ROWS, KEYS = 400_000, 2_000_000, 20_000
# Title, numerator, denominator and limit of each ratio.
PROMISES = (
    ("Feast / ours", "Feast, uniform", "ours, uniform", "≥ 8"),
    ("dense / uniform", "ours, dense", "ours, uniform", "≤ 1.5"),
    ("hot / uniform", "ours, hot", "ours, uniform", "≤ 1.5"),
    ("four lookups / one of as many rows", "ours, four lookups of as many rows", "ours, uniform", "≤ 1.6"),
    ("ours / dbl-tempo", "ours, uniform", "dbl-tempo, uniform", "≤ 1"),
    ("150 columns: ours / dbl-tempo", "ours, wide", "dbl-tempo, wide", "≤ 0.5"),
)


@dataclass(frozen=True)
class Shape:
    """How the rows of both sides are spread over entities."""

    spine_rows: int
    feature_rows: int
    keys: int
    columns: int = 4
    hot: bool = False


def shapes(scale: float) -> dict[str, Shape]:
    """The cases of the comparison."""
    spine, rows, keys = (round(number * scale) for number in (SPINE_ROWS, FEATURE_ROWS, KEYS))
    return {
        "uniform": Shape(spine, rows, keys),
        "dense": Shape(spine, rows, rows // 4_000),
        "hot": Shape(spine, rows, keys, hot=True),
        "wide": Shape(spine // 20, rows // 20, keys // 20, columns=150),
        "quarter": Shape(spine, rows // 4, keys),
    }


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--heap", default="4g", help="Java heap; the slope is measured with 1g")
    parser.add_argument("--slope", action="store_true", help="1 to 16 million feature rows instead of the comparison")
    arguments = parser.parse_args()
    spark = session.build(session.SparkSection(master="local[2]", driver_memory=arguments.heap, conf={"spark.sql.shuffle.partitions": "8"}))
    print(heading(f"python scripts/bench/point_in_time.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
        measured = slope if arguments.slope else compare
        measured(spark, Path(folder), arguments.rounds, arguments.scale)
    spark.stop()
    return 0


def compare(spark: SparkSession, folder: Path, rounds: int, scale: float) -> None:
    """Ours beside Feast and Tempo, and our own cases against each other."""
    made = {name: stored(spark, folder / name, shape) for name, shape in shapes(scale).items()}
    quarters = [made["quarter"][1]] + [stored(spark, folder / f"quarter{n}", shapes(scale)["quarter"], seed=n)[1] for n in (1, 2, 3)]
    spine = made["uniform"][0]
    contestants: dict[str, Callable[[], DataFrame]] = {f"ours, {name}": partial(ours, *made[name]) for name in ("uniform", "dense", "hot", "wide")}
    contestants["ours, four lookups of as many rows"] = partial(ours, spine, *quarters)
    contestants["ours counted, hot"] = partial(counted, *made["hot"], task_rows=round(SPINE_ROWS * scale))
    if peers.add(feast_peer.NEEDS):
        contestants["Feast, uniform"] = feast_peer.as_of_feast(*made["uniform"], folder)
    if peers.add(TEMPO, TEMPO_NEEDS):
        contestants |= {f"dbl-tempo, {name}": partial(as_of_tempo, *made[name]) for name in ("uniform", "wide")}
    same_rows(contestants)
    costs = measure({name: partial(drain, call) for name, call in contestants.items()}, rounds, alternate=True)
    print("| case | seconds | CPU seconds |\n|---|---:|---:|")
    for name, cost in costs.items():
        print(f"| {name} | {cost.seconds:.2f} | {cost.cpu:.2f} |")
    print("\n| ratio of CPU seconds | found | promised |\n|---|---:|---:|")
    for title, one, other, promise in PROMISES:
        ran = one in costs and other in costs
        print(f"| {title} | {f'{costs[one].cpu / costs[other].cpu:.2f}' if ran else 'open: the peer did not run'} | {promise} |")


def slope(spark: SparkSession, folder: Path, rounds: int, scale: float) -> None:
    """Cost a row from one to sixteen million feature rows, as many rows an entity each time."""
    sizes = [round(million * 1_000_000 * scale) for million in (1, 2, 4, 8, 16)]
    made = {size: stored(spark, folder / str(size), Shape(size // 5, size, size // 100)) for size in sizes}
    costs = measure({str(size): partial(drain, partial(ours, *made[size])) for size in sizes}, rounds)
    first: Cost = costs[str(sizes[0])]
    print("| feature rows | seconds | CPU µs a row | against the first |\n|---:|---:|---:|---:|")
    for size in sizes:
        cost = costs[str(size)]
        print(f"| {size:,} | {cost.seconds:.2f} | {cost.cpu / size * 1e6:.2f} | {cost.cpu / size / (first.cpu / sizes[0]):.2f} |")


def stored(spark: SparkSession, folder: Path, shape: Shape, seed: int = 0) -> tuple[DataFrame, DataFrame]:
    """A spine and a feature table, seeded, in files."""
    values = [(F.xxhash64("id", F.lit(seed * 1_000 + n)) % 1_000_003 / 1_000_003).cast("float").alias(f"v{seed}_{n}") for n in range(shape.columns)]
    for name, rows, columns in (("spine", shape.spine_rows, []), ("features", shape.feature_rows, values)):
        when = F.timestamp_micros(F.pmod(F.xxhash64("id", F.lit(f"{name}{seed}")), F.lit(SPAN))).alias("ts")
        frame = spark.range(0, rows, 1, 4).select(entity(shape, seed).alias("key"), when, *columns)
        frame.write.parquet(str(folder / name))
    return spark.read.parquet(str(folder / "spine")), spark.read.parquet(str(folder / "features"))


def entity(shape: Shape, seed: int) -> Column:
    """The key of a row; a hot one has half of the rows."""
    key = F.pmod(F.xxhash64("id", F.lit(seed + 7)), F.lit(shape.keys))
    return F.when(F.col("id") % 2 == 0, F.lit(0).cast("long")).otherwise(key) if shape.hot else key


def ours(spine: DataFrame, *tables: DataFrame) -> DataFrame:
    """Our join."""
    return fs.point_in_time_join(spine, [fs.Lookup(table, ("key",), event_time="ts") for table in tables], spine_time="ts")


def counted(spine: DataFrame, table: DataFrame, *, task_rows: int) -> DataFrame:
    """Our join after a count of its rows by key, which is part of the cost."""
    lookups = [fs.Lookup(table, ("key",), event_time="ts")]
    statistics = fs.join_statistics(spine, lookups, spine_time="ts", task_rows=task_rows)
    return fs.point_in_time_join(spine, lookups, spine_time="ts", statistics=statistics)


def as_of_tempo(spine: DataFrame, table: DataFrame) -> DataFrame:
    """Tempo's as-of join."""
    from tempo import TSDF  # type: ignore[import-not-found]

    joined = TSDF(spine, "ts", ["key"]).asofJoin(TSDF(table, "ts", ["key"]), right_prefix="r").df
    return DataFrame.drop(joined, "r_ts").withColumnsRenamed({name: name.removeprefix("r_") for name in joined.columns})


if __name__ == "__main__":
    raise SystemExit(main())
