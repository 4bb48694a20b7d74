"""Profiles of fifty double columns beside Spark's own sketches; prints Markdown for docs/benchmarks.md.

All contestants read the same Delta table. Ours are given fixed edges, as every window but the first one is. The peers'
aggregates run in jobs of ten columns: wider ones fall off a cliff. CPU seconds are those of Java and of every Python worker,
each sampled twice a second, so that a worker which Spark's daemon ends and reaps in between is counted too. whylogs and Evidently are open items: their Spark
extras want PySpark below 4, and whylogs a pyarrow below 13.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import psutil
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rounds import heading

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops import session
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import Profile, profile
from sparkml_ops.drift.source import FileSource, FrameSource, source_of
from sparkml_ops.summaries import Edges

__all__ = ["main"]

COLUMNS, WIDTH = 50, 10
QUANTILES = [share / 100 for share in range(1, 100)]


@dataclass
class Meter:
    """CPU seconds of this process and of all that ever lived below it, by sampling."""

    seen: dict[tuple[int, float], float] = field(default_factory=dict)

    def sample(self) -> float:
        """CPU seconds until now."""
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            try:
                times, key = process.cpu_times(), (process.pid, process.create_time())
            except psutil.NoSuchProcess:
                continue
            self.seen[key] = times.user + times.system
        return sum(self.seen.values())

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample twice a second meanwhile."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(0.5):
                self.sample()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def main() -> int:
    """Measure all contestants in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=float, default=0.1, help="share of the rows that percentile_approx sees")
    arguments = parser.parse_args()
    spark = session.build(session.SparkSection(master="local[2]", driver_memory="4g", conf={"spark.sql.shuffle.partitions": "8"}))
    print(heading(f"python scripts/bench/profile.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
        tables = Tables(spark, Warehouse(root=folder))
        for name, rows in (("whole", arguments.rows), ("half", arguments.rows // 2)):
            stored(tables, name, rows)
        rates = contest(contestants(tables, arguments.rows, arguments.sample), arguments.rounds)
    spark.stop()
    report(rates)
    return 0


def stored(tables: Tables, name: str, rows: int) -> None:
    """Columns of four kinds, seeded: normal, heavy-tailed, tied, and with a tenth of nulls."""
    kinds = (
        F.randn,
        lambda seed: F.exp(2 * F.randn(seed)),
        lambda seed: F.floor(F.rand(seed) * 1000).cast("double"),
        lambda seed: F.when(F.rand(seed + 1000) < 0.9, F.randn(seed)),
    )
    values = [kinds[number % 4](number).alias(f"c{number}") for number in range(COLUMNS)]
    tables.overwrite(name, tables.spark.range(0, rows, 1, 4).select(*values))


def contestants(tables: Tables, rows: int, sample: float) -> dict[str, tuple[int, Callable[[], object]]]:
    """Runs by name, with the number of values that each passes over."""
    whole, half = (source_of(tables.spark, tables, tables.newest(name), {}) for name in ("whole", "half"))
    if not (isinstance(whole, FileSource) and isinstance(half, FileSource)):
        raise SystemExit("the tables are not read from their files")
    frame = tables.read("whole")
    edges = {cells: profile(frame.limit(200_000), settings=DriftSection(cells=cells)).edges for cells in (1020, 4090)}
    values = rows * COLUMNS
    return {
        "ours, files": (values, partial(ours, whole, edges[1020])),
        "ours, files, 4,090 cells": (values, partial(ours, whole, edges[4090])),
        "ours, files, half of the rows": (values // 2, partial(ours, half, edges[1020])),
        "ours, mapInArrow": (values, partial(ours, FrameSource(frame), edges[1020])),
        "kll_sketch_agg_double, k = 4096": (values, partial(aggregated, frame, lambda name: F.expr(f"kll_sketch_agg_double({name}, 4096)"))),
        "kll_sketch_agg_double": (values, partial(aggregated, frame, lambda name: F.expr(f"kll_sketch_agg_double({name})"))),
        "percentile_approx, on a sample": (
            round(values * sample),
            partial(aggregated, tables.read("whole").where(F.rand(0) < sample), lambda name: F.percentile_approx(name, QUANTILES, 10_000)),
        ),
    }


def ours(source: FileSource | FrameSource, edges: Edges) -> Profile:
    """Our profile."""
    return profile(source, edges)


def aggregated(frame: DataFrame, aggregate: Callable[[str], object]) -> None:
    """A peer's aggregate of all columns, ten a job."""
    names = [f"c{number}" for number in range(COLUMNS)]
    for start in range(0, COLUMNS, WIDTH):
        frame.agg(*[aggregate(name).alias(name) for name in names[start : start + WIDTH]]).collect()  # type: ignore[attr-defined]


def contest(runs: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, list[float]]:
    """Millions of values a CPU second of each, a round at a time, after one that does not count."""
    meter, found = Meter(), {name: list[float]() for name in runs}
    with meter.sampling():
        for number in range(rounds + 1):
            for name, (values, run) in runs.items():
                before = meter.sample()
                run()
                cpu = meter.sample() - before
                print(f"round {number} {name}: {cpu:.2f} CPU s, {values / cpu / 1e6:.1f} M values a CPU s", file=sys.stderr, flush=True)
                if number:
                    found[name].append(values / cpu / 1e6)
    return found


def report(found: dict[str, list[float]]) -> None:
    """Tables of rates and of promises."""
    rates = {name: median(values) for name, values in found.items()}
    print("| contestant | M values a CPU second | range |\n|---|---:|---|")
    for name, values in found.items():
        print(f"| {name} | {rates[name]:.1f} | {min(values):.1f} to {max(values):.1f} |")
    ours = rates["ours, files"]
    promises = (
        ("files, M values a CPU second", ours, "≥ 30"),
        ("mapInArrow, M values a CPU second", rates["ours, mapInArrow"], "≥ 10"),
        ("files / KLL, k = 4096", ours / rates["kll_sketch_agg_double, k = 4096"], "≥ 3"),
        ("files / KLL, default", ours / rates["kll_sketch_agg_double"], "≥ 2"),
        ("files / percentile_approx", ours / rates["percentile_approx, on a sample"], "≥ 10"),
        ("twice the rows, times the CPU seconds", 2 * rates["ours, files, half of the rows"] / ours, "≤ 2.1"),
    )
    print("\n| | found | promised |\n|---|---:|---:|")
    for title, value, promise in promises:
        print(f"| {title} | {value:.1f} | {promise} |")
    print("| against whylogs and Evidently on pandas | open: they do not fit these pins | ≥ 10 |")
