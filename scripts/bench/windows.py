"""Windows against Spark's own frames, and long windows against short ones; prints Markdown for docs/benchmarks.md.

Rows lie in Parquet files, so that every contestant reads the same; results go nowhere. `--scale 0.05` tries it out.
`--hot` measures the memory of Python workers instead, with all events of one entity.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from contest import drain, same_rows
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from rounds import heading, measure

import feature_store as fs
from sparkml_ops import session

DAY = 86_400
SPINE_ROWS, EVENT_ROWS, HOT_ROWS = 50_000, 500_000, 2_000_000
DENSITIES = (100, 1_000, 10_000)  # events of an entity
FRAMES = ("7d", "14d")
START = "workers start"
EVERY = ("sum", "count", "mean", "std", "min", "max", "last", "distinct")


@dataclass(frozen=True)
class Shape:
    """How many rows, of how many entities, over how many days."""

    spine_rows: int
    event_rows: int
    keys: int
    days: int = 30


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--hot", action="store_true", help="the workers' memory with one entity instead of the comparison")
    arguments = parser.parse_args()
    conf = {"spark.sql.shuffle.partitions": "8"}
    spark = session.build(session.SparkSection(master="local[2]", driver_memory="4g", conf=conf))
    print(heading(f"python scripts/bench/windows.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
        if arguments.hot:
            hot(spark, Path(folder), arguments.scale)
        else:
            compare(spark, Path(folder), arguments.rounds, arguments.scale)
    spark.stop()
    return 0


def compare(spark: SparkSession, folder: Path, rounds: int, scale: float) -> None:
    """Ours beside Spark's frames at three densities, and ours with 90 days beside 7 days."""
    spine, rows = round(SPINE_ROWS * scale), round(EVENT_ROWS * scale)
    made = {each: stored(spark, folder / str(each), Shape(spine, rows, max(1, rows // each))) for each in DENSITIES}
    year = stored(spark, folder / "year", Shape(spine, rows, max(1, rows // 1_000), days=365))
    mine = {f"ours, {each:,} events a key": partial(ours, *tables, FRAMES, ("sum", "count")) for each, tables in made.items()}
    theirs = {f"rangeBetween, {each:,} events a key": partial(range_between, *tables, FRAMES) for each, tables in made.items()}
    same_rows(mine | theirs)
    lengths = {f"ours, {length} of a year": partial(ours, *year, (length,), EVERY) for length in ("7d", "90d")}
    # Spark ends a Python worker that has rested for a minute, as during the longest frames: none of ours starts the workers.
    contestants: dict[str, Callable[[], DataFrame]] = {START: partial(ours, *year, ("1d",), EVERY), **mine, **lengths, **theirs}
    costs = measure({name: partial(drain, call) for name, call in contestants.items()}, rounds)
    del costs[START]
    print("| case | seconds | CPU seconds |\n|---|---:|---:|")
    for name, cost in costs.items():
        print(f"| {name} | {cost.seconds:.2f} | {cost.cpu:.2f} |")
    print("\n| ratio of CPU seconds | found | promised |\n|---|---:|---:|")
    for title, one, other, promise in promises():
        print(f"| {title} | {costs[one].cpu / costs[other].cpu:.2f} | {promise} |")


def promises() -> list[tuple[str, str, str, str]]:
    """Title, numerator, denominator and limit of each ratio."""
    few, some, many = (f"{each:,} events a key" for each in DENSITIES)
    return [
        (f"{few}: ours / rangeBetween", f"ours, {few}", f"rangeBetween, {few}", "≤ 1.5"),
        (f"{some}: rangeBetween / ours", f"rangeBetween, {some}", f"ours, {some}", ""),
        (f"{many}: rangeBetween / ours", f"rangeBetween, {many}", f"ours, {many}", "≥ 10"),
        ("90 days / 7 days", "ours, 90d of a year", "ours, 7d of a year", "≤ 1.3"),
    ]


def hot(spark: SparkSession, folder: Path, scale: float) -> None:
    """Peak memory of a Python worker that has all events of one entity, the longest window holding all or few of them."""
    rows = round(HOT_ROWS * scale)
    tables = stored(spark, folder / "hot", Shape(round(SPINE_ROWS * scale), rows, 1))
    few = (tables[0], tables[1].limit(1_000))
    print(f"| {rows:,} events of one key | CPU seconds | peak MiB of a worker |\n|---|---:|---:|")
    cases = [("1d", ("sum", "count")), ("30d", ("sum", "count")), ("30d", EVERY), ("30d", ("quantile",)), ("30d", ("approx_quantile",))]
    for title, frames, (length, functions) in [("of a thousand events: ", few, cases[0]), *(("", tables, case) for case in cases)]:
        with watched() as peak:
            cost = measure({length: partial(drain, partial(ours, *frames, (length,), functions))}, rounds=1, warm=0)[length]
        print(f"| {title}{', '.join(functions)} over {length} | {cost.cpu:.1f} | {max(peak) / 2**20:,.0f} |", flush=True)


@contextmanager
def watched() -> Iterator[list[int]]:
    """Bytes of the greatest Python process below this one, seen five times a second."""
    peak, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                try:
                    peak.append(process.memory_info().rss if "python" in process.name() else 0)
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def stored(spark: SparkSession, folder: Path, shape: Shape) -> tuple[DataFrame, DataFrame]:
    """A spine and events, seeded, in files; values are eighths, whose sums are the same in any order."""
    value = (F.pmod(F.xxhash64("id", F.lit("value")), F.lit(8_000)) / 8).alias("v")
    for name, rows, columns in (("spine", shape.spine_rows, []), ("events", shape.event_rows, [value])):
        when = F.timestamp_seconds(F.pmod(F.xxhash64("id", F.lit(name)), F.lit(shape.days * DAY))).alias("ts")
        key = F.pmod(F.xxhash64("id", F.lit(f"key of {name}")), F.lit(shape.keys)).alias("key")
        spark.range(0, rows, 1, 4).select(key, when, *columns).write.parquet(str(folder / name))
    return spark.read.parquet(str(folder / "spine")), spark.read.parquet(str(folder / "events"))


def ours(spine: DataFrame, events: DataFrame, lengths: tuple[str, ...], functions: tuple[str, ...]) -> DataFrame:
    """Our windows at the spine's rows."""
    wanted = [
        fs.Aggregate(function, None if function == "count" else "v", length, q=0.5 if function.endswith("quantile") else None)
        for length in lengths
        for function in functions
    ]
    return fs.windows_at(spine, events, wanted, keys="key", spine_time="ts", event_time="ts")


def range_between(spine: DataFrame, events: DataFrame, lengths: tuple[str, ...]) -> DataFrame:
    """Spark's own frames over both frames together, of which the spine's rows are kept."""
    together = events.select("key", "ts", "v", F.lit(1).alias("event")).unionByName(
        spine.select("key", "ts", F.lit(None).cast("double").alias("v"), F.lit(0).alias("event"))
    )
    second = F.unix_seconds("ts")
    frames = {length: Window.partitionBy("key").orderBy(second).rangeBetween(1 - int(length[:-1]) * DAY, 0) for length in lengths}
    made = {f"v_sum_{length}": F.sum("v").over(frame) for length, frame in frames.items()}
    made |= {f"count_{length}": F.sum("event").over(frame) for length, frame in frames.items()}
    return (
        together.withColumns(made).where("event = 0").select("key", "ts", *(f"{name}_{length}" for length in lengths for name in ("v_sum", "count")))
    )


if __name__ == "__main__":
    raise SystemExit(main())
