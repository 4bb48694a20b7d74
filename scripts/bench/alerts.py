"""What a check of alerts costs where many columns and segments were compared: `python scripts/bench/alerts.py`.

Writes the figures of some days into a folder of its own, then checks in this process: CPU seconds, and how far the process grew. No Spark.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import yaml

from sparkml_ops.config.load import load
from sparkml_ops.drift.measure import _METRICS, METRICS_TABLE
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import alerts
from sparkml_ops.verbs.work import Work

START = datetime(2024, 1, 1, tzinfo=UTC)
WHO = {"owner": "us", "runbook": "https://wiki.example.org/drift", "signal": "drift"}
POLICIES = {
    "model": {**WHO, "at_least": 5},
    "columns": {**WHO, "by": "column", "windows": 2, "of": 3},
    "segments": {**WHO, "by": "segment", "at_least": 200},
}
STATISTICS = ("ks", "wasserstein", "psi", "jensen_shannon", "hellinger", "chi_square", "total_variation", "missing")
JUDGED = np.array([True, False, True, False, False, False, False, True])


def main() -> None:
    """Write, check twice, and say what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--segments", type=int, default=50)
    parser.add_argument("--days", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = _project(Path(folder))
        for day in range(options.days):
            rows = _write(work, day, options.columns, options.segments)
        now = START + timedelta(days=options.days)
        print(f"{options.columns} columns x {options.segments} segments, {options.days} days of {rows:,} rows in drift_metrics")
        for name in ("first check", "second check"):
            begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found = alerts.check(work, as_of=now)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            print(f"{name}: {time.process_time() - begun:.1f} CPU s, {grown:.0f} MiB more at its peak, {len(found.opened)} alerts opened")


def _project(folder: Path) -> Work:
    files = {
        "base.yaml": {"warehouse": {"root": str(folder / "warehouse")}, "storage": {"root": str(folder / "objects")}},
        "env/local.yaml": {},
        "projects/wide/all.yaml": {"scoring": {"target": "scores"}, "alerts": {"policies": POLICIES}},
    }
    for name, values in files.items():
        path = folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    return Work(load(folder / "conf", "wide"))


def _write(work: Work, day: int, columns: int, segments: int) -> int:
    """A day's comparison: one column in thirty drifts, each day others."""
    random, window, run_id = np.random.default_rng(day), f"{START + timedelta(days=day):%Y-%m-%d}", uuid.uuid4().hex
    cells = columns * (segments + 1)
    drifts = np.repeat(random.random(cells) < 1 / 30, len(STATISTICS))
    judged = np.tile(JUDGED, cells)
    names = [f"c{number:03}" for number in range(columns)]
    places = [None, *(f"shop={number:02}" for number in range(segments))]
    count = cells * len(STATISTICS)
    as_of = START + timedelta(days=day + 1)
    values: dict[str, Any] = {
        **{name: [text] * count for name, text in {"project": "wide", "window": window, "slot": "champion", "run_id": run_id}.items()},
        **{name: ["t@1"] * count for name in ("reference", "current", "edges", "method")},
        **{name: np.full(count, 100_000) for name in ("n", "m")},
        "generation": np.zeros(count, dtype=int),
        "as_of": [as_of] * count,
        "segment": [place for place in places for _ in range(columns * len(STATISTICS))],
        "column": [name for _ in places for name in names for _ in STATISTICS],
        "statistic": list(STATISTICS) * cells,
        "value": np.where(drifts & judged, 0.3, 0.01),
        "threshold": pa.array(np.full(count, 0.1), mask=~judged),
        "verdict": pa.array(np.where(drifts, "drift", "no drift"), mask=~judged),
        **{name: np.where(drifts, 0.0, 1.0) for name in ("p", "q")},
        **{name: np.full(count, 0.01) for name in ("lower", "upper")},
    }
    table = pa.table(
        {
            field.name: pa.array(values[field.name], field.type) if not isinstance(values[field.name], pa.Array) else values[field.name]
            for field in _METRICS
        }
    )
    deltalake.write_deltalake(work.tables.warehouse.path(METRICS_TABLE), table, mode="append", partition_by=["project", "window", "slot"])
    times = as_of, as_of, as_of + timedelta(minutes=1)
    key = RunKey("drift", "wide", "scores", window, "champion")
    work.ledger.append(FinishedRun(run_id, key, {"columns": {}}, "c", "1", *times))
    return count


if __name__ == "__main__":
    main()
