"""The console script `sparkml-ops`; `python -m sparkml_ops` and the jobs are the same program."""

from __future__ import annotations

import sys

from sparkml_ops.cli.app import app
from sparkml_ops.cli.submit import submit_command

__all__ = ["job", "main"]


def main() -> None:
    """Run the command line; the exit code is 0 done, 2 contract, 3 gate, 4 retry later, 5 fatal."""
    app(prog_name="sparkml-ops")


def job(verb: str) -> None:
    """Run one verb as a spark-submit job: its record is the last line on standard output, which spark-submit shares with the log."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(f"{submit_command(verb)}\n")
    app([verb, *sys.argv[1:], "--json"], prog_name=f"jobs/{verb}.py")
