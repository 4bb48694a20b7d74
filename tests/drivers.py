"""Drivers of verbs, each a process of its own that attaches to a running JVM, as a notebook's Python does.

Killed, one takes all that it knew with it, while Spark goes on: a kill costs neither another JVM nor its warming-up.
Each is forked from here, where all libraries are imported already. A line of JSON asks for one, a line with its
exit status (negative: the signal that ended it) answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from typing import Any

from pyspark.sql import SparkSession
from running_session import attach, keys
from warm_imports import warm

from feature_store import hooks
from sparkml_ops.project import Project

__all__ = ["Drivers"]


class Drivers:
    """Starts drivers of the project `tiny` that attach to a session's JVM, one after the other.

    Args:
        spark: A session of the JVM.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], env=keys(spark), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, **request: object) -> int:
        """Exit status of a driver, negative where a signal ended it."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process that they are forked from."""
        self._process.communicate(timeout=60)


def main() -> None:
    """Answer requests until the pipe closes."""
    for line in sys.stdin:
        if not (child := os.fork()):
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            os._exit(drive(json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def drive(request: dict[str, Any]) -> int:
    """Run one verb to its end, 0, or to an exception, 1."""
    os.environ[hooks.VARIABLE] = json.dumps(request["hooking"])
    try:
        project = Project.open(request["conf"], "tiny", spark=attach())
        getattr(project, request["verb"])(*request["window"], as_of=request["as_of"])
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    warm()
    main()
