"""Drivers of verbs, each a process of its own that attaches to a running JVM, as a notebook's Python does.

Killed, one takes all that it knew with it, while Spark goes on: a kill costs neither another JVM nor its warming-up.
Each is forked from here, where all libraries are imported already. A line of JSON asks for one, a line with its
exit status (negative: the signal that ended it) answers.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import mlflow.pyfunc
from running_session import attach

import sparkml_ops.training.run
from feature_store import hooks
from sparkml_ops.project import Project

IMPORTED = (mlflow.pyfunc, sparkml_ops.training.run)


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
    main()
