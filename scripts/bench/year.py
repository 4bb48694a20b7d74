"""The demo as a benchmark: a fresh run and a repeat, in a folder of their own; prints Markdown for docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the demo twice and print what each verb cost."""
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
        first, second = (run(Path(folder), name) for name in ("fresh", "repeat"))
    machine = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, `python scripts/bench/year.py`\n")
    print("| verb | seconds | Spark jobs | commits | seconds when repeated |")
    print("|---|---:|---:|---:|---:|")
    for step, again in zip(first["steps"], second["steps"], strict=True):
        print(f"| {step['verb']} | {step['seconds']:.1f} | {step['jobs']} | {step['commits']} | {again['seconds']:.2f} |")
    print(f"| all, start included | {first['seconds']:.0f} | | | {second['seconds']:.1f} |")
    print(f"\nPeak memory of all processes: {first['peak_gib']:.1f} GiB; repeated: {second['peak_gib']:.1f} GiB.")
    return 0


def run(folder: Path, name: str) -> dict[str, Any]:
    """One run of the demo in a process of its own."""
    table = folder / f"{name}.json"
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--data", str(folder / "data"), "--json", str(table)]
    subprocess.run(command, cwd=ROOT, env=dict(os.environ), check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads(table.read_text()))


if __name__ == "__main__":
    raise SystemExit(main())
