"""All test lanes, each in a process of its own: one Spark session a process, and no lane can break another.

The lanes without a JVM come first, so that a simple mistake shows within seconds.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LANES = ("architecture", "unit", "spark", "distributed", "faults", "e2e")
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|errors?)")


def main() -> int:
    """Run the lanes and print one closing line with all counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lanes", nargs="*", default=LANES, help=f"which lanes, of {', '.join(LANES)}")
    arguments = parser.parse_args()
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    worst = 0
    for lane in arguments.lanes:
        started = time.monotonic()
        print(f"== {lane}", flush=True)
        worst = max(worst, run(lane, totals))
        print(f"== {lane}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return worst


def run(lane: str, totals: dict[str, int]) -> int:
    """Run one lane, echo its output and add up its closing line; a lane without a test has failed."""
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", f"tests/{lane}"]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line if _COUNTS.search(line) else last
    for count, kind in _COUNTS.findall(last):
        totals["failed" if kind.startswith("error") else kind] += int(count)
    return process.returncode


if __name__ == "__main__":
    raise SystemExit(main())
