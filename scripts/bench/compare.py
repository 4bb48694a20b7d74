"""Many profiles compared and merged on the driver; prints Markdown for docs/benchmarks.md.

No Spark takes part: what a pass would hand to the driver is made here, as bytes, by the same surveys. Memory is the
whole process's at its greatest, the interpreter, the libraries and the states of both windows included.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
import pyarrow as pa
from rounds import heading

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import Profile, compare_profiles
from sparkml_ops.drift.packed import PackedSummaries
from sparkml_ops.summaries import CellMaker, Edges, Layout, NumberEdges, PrefixMaker, merge_packed
from sparkml_ops.summaries.survey import Group

ROWS = 40_000  # of a segment: enough to fill its cells


def main() -> int:
    """Measure both promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--segments", type=int, default=50)
    parser.add_argument("--cells", type=int, default=1020)
    arguments = parser.parse_args()
    settings = DriftSection(cells=arguments.cells)
    print(heading(f"python scripts/bench/compare.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    edges = _edges(arguments.columns, settings)
    both = [_profile(edges, arguments.segments, settings, seed) for seed in (1, 2)]
    began = time.process_time()
    report = compare_profiles(both[0], both[1], settings)
    cpu = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("| | found | promised |\n|---|---:|---:|")
    print(f"| {len(report.columns):,} comparisons, CPU s | {cpu:.1f} | ≤ 10 |\n| memory, GiB | {memory:.2f} | ≤ 1 |")
    del report, both
    print(f"| a year of daily profiles merged, {arguments.columns} columns, CPU s | {_year(edges):.1f} | ≤ 5 |")
    return 0


def _edges(columns: int, settings: DriftSection) -> Edges:
    """Edges of columns of three kinds: normal, heavy-tailed, tied."""
    random = np.random.default_rng(0)
    made: dict[str, NumberEdges] = {}
    for number in range(columns):
        made[f"c{number}"] = Layout.of(PrefixMaker(1 << 16)(_values(random, number))).edges(settings.cells)
    return Edges(dict(made), dict.fromkeys(made, "double"))


def _values(random: np.random.Generator, number: int, rows: int = ROWS) -> pa.Array:
    kinds = (random.standard_normal, lambda size: random.lognormal(0, 2, size), lambda size: random.integers(0, 500, size).astype(np.float64))
    return pa.array(kinds[number % 3](rows))


def _profile(edges: Edges, segments: int, settings: DriftSection, seed: int) -> Profile:
    """The profile of a window, all of its states from their bytes as a pass hands them over."""
    random = np.random.default_rng(seed)
    states: dict[Group, dict[str, bytes]] = {}
    for name, column in edges.columns.items():
        maker = CellMaker(_numbers(column))
        packed = [maker(_values(random, int(name[1:]))).pack() for _ in range(segments)]
        for number, data in enumerate(packed):
            states.setdefault((f"segment={number}", None), {})[name] = data
        states.setdefault((None, None), {})[name] = merge_packed(packed)
    return Profile.of_states(edges, {group: PackedSummaries(columns) for group, columns in states.items()}, settings)


def _numbers(column: object) -> NumberEdges:
    assert isinstance(column, NumberEdges)
    return column


def _year(edges: Edges) -> float:
    """CPU seconds of merging 365 profiles, read from their bytes, of all columns."""
    random = np.random.default_rng(3)
    days = {name: [CellMaker(_numbers(column))(_values(random, int(name[1:]))).pack() for _ in range(5)] for name, column in edges.columns.items()}
    began = time.process_time()
    for parts in days.values():
        merge_packed(parts[day % len(parts)] for day in range(365))
    return time.process_time() - began


if __name__ == "__main__":
    raise SystemExit(main())
