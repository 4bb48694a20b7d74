"""Upstream Horovod's own tests of its torch interface against our build, each in a launch of its own at two ranks.

`python scripts/upstream_horovod.py CHECKOUT [-k WORD ...] [--ranks 2] [--timeout 120]`. CHECKOUT is Horovod's repository at the tag of the build: its
source distribution has no tests. Run whole, the file aborts: its tests start Horovod anew in one process, which Gloo does not survive. The launcher
is Horovod's own, so that nothing of ours stands between the tests and the build.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path


def main() -> int:
    """Run the tests, print one line each and the counts; 0 where none failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of Horovod's repository")
    parser.add_argument("-k", dest="words", nargs="*", default=[], help="only tests whose name has one of these words")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds that one launch may take")
    arguments = parser.parse_args()
    file, utils = arguments.checkout / "test" / "parallel" / "test_torch.py", arguments.checkout / "test" / "utils"
    if not file.is_file():
        parser.error(f"found no {file}; expected a checkout of Horovod's repository: its source distribution has no tests")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(utils), *filter(None, [os.environ.get("PYTHONPATH")])]), "OMP_NUM_THREADS": "1"}
    counts: Counter[str] = Counter()
    for test in _tests(file, environment):
        if not arguments.words or any(word in test for word in arguments.words):
            ended, why = _run(test, arguments.ranks, arguments.timeout, environment)
            counts[ended] += 1
            print(f"{ended:8}{test.rpartition('::')[2]}{why and ': ' + why}", flush=True)
    print(", ".join(f"{counts[ended]} {ended}" for ended in ("passed", "skipped", "failed")) + f" at {arguments.ranks} ranks")
    return 1 if counts["failed"] or not counts else 0


def _pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]


def _tests(file: Path, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(_pytest("--collect-only", str(file)), env=environment, cwd=file.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return [str(file.parent / line) for line in done.stdout.splitlines() if "::" in line]


def _run(test: str, ranks: int, timeout: float, environment: dict[str, str]) -> tuple[str, str]:
    """How a test ended, and why where it did not pass."""
    launcher = [sys.executable, "-m", "horovod.runner.launch", "-np", str(ranks), "--gloo", "-H", f"localhost:{ranks}", "--network-interfaces", "lo"]
    folder = Path(test.partition("::")[0]).parent
    try:
        done = subprocess.run(
            [*launcher, *_pytest("-rs", test)], env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return "failed", f"no end within {timeout:g} s"
    said = done.stdout + done.stderr
    if done.returncode:
        reasons = re.findall(r"(?m)^(?:\[\d+\]<std\w+>:)?E  +(.+)$", said) or said.strip().splitlines()[-1:] or ["no word"]
        return "failed", reasons[0]
    if len(re.findall(r"1 skipped", said)) == ranks:
        return "skipped", next(iter(re.findall(r"SKIPPED \[\d+\] \S+ (.+)", said)), "")
    return ("passed", "") if len(re.findall(r"1 passed", said)) == ranks else ("failed", "not every rank ran it")


if __name__ == "__main__":
    raise SystemExit(main())
