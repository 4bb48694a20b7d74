"""All test lanes, each in a process of its own: one Spark session a process, and no lane can break another.

Four lanes run at a time: on two cores fewer of them leave some time unused. What a lane prints comes when it
has ended. The lanes without a JVM come first, so that a simple mistake shows within a minute; then the longest. The closing line
says how long the last lane ran alone, when a core stands idle.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sparkml_ops import session

ROOT = Path(__file__).resolve().parent.parent
LANES = ("architecture", "examples", "unit", "spark", "tables", "e2e", "doors", "faults", "guides", "storage", "distributed", "connect")
# These start many JVMs, or ones that live for some minutes: the second compiler would take more time than it saves (of the flights'
# feature tables a third, where slower code costs a fifth), and the archive of classes helps those too that are no session of ours.
# Java would speak on standard output where it is unfit.
SHORT_LIVED = {"connect", "distributed", "doors", "e2e", "faults", "guides", "storage"}
SHORT_LIVED_JAVA = (
    f"-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:SharedArchiveFile={session.class_archive()} -Xshare:auto -Xlog:disable"
)
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|errors?)")


@dataclass(frozen=True)
class Ended:
    """A lane that has ended."""

    status: int
    seconds: float
    output: str
    at: float

    @property
    def counts(self) -> Counter[str]:
        """Tests by how they ended, from the closing line."""
        last = next((line for line in reversed(self.output.splitlines()) if _COUNTS.search(line)), "")
        return Counter({"failed" if kind.startswith("error") else kind: int(count) for count, kind in _COUNTS.findall(last)})


def main() -> int:
    """Run the lanes and print one closing line with all counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lanes", nargs="*", default=LANES, help=f"which lanes, of {', '.join(LANES)}")
    parser.add_argument("--jobs", type=int, default=4, help="lanes at a time")
    arguments = parser.parse_args()
    started, worst, totals, ends = time.monotonic(), 0, Counter[str](), dict[float, str]()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for lane, running in [(lane, pool.submit(run, lane)) for lane in arguments.lanes]:
            ended = running.result()
            print(f"== {lane}\n{ended.output}== {lane}: {ended.seconds:.0f} s", flush=True)
            worst, totals, ends[ended.at] = max(worst, ended.status), totals + ended.counts, lane
    counts = ", ".join(f"{totals[kind]} {kind}" for kind in ("passed", "failed", "skipped"))
    print(f"{counts} in {(time.monotonic() - started) / 60:.1f} min; {alone(ends)}")
    return worst


def alone(ends: Mapping[float, str]) -> str:
    """Which lane was the last, and how long it ran when all others had ended.

    >>> alone({10.0: "unit", 95.0: "spark", 30.0: "tables"})
    'the last 65 s spark alone'
    """
    *others, last = sorted(ends)
    return f"the last {last - max(others, default=last):.0f} s {ends[last]} alone"


def run(lane: str) -> Ended:
    """Run one lane; one without a test has failed, as pytest's exit status says."""
    started = time.monotonic()
    what = ["--doctest-modules", "feature_store", "sparkml_ops"] if lane == "examples" else [f"tests/{lane}"]
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", *what]
    environment = {**os.environ, **({"JAVA_TOOL_OPTIONS": SHORT_LIVED_JAVA} if lane in SHORT_LIVED else {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ended = time.monotonic()
    return Ended(done.returncode, ended - started, done.stdout, ended)


if __name__ == "__main__":
    raise SystemExit(main())
