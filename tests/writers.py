"""Writers of a feature table, each a process of its own that attaches to a running JVM: to be killed, or to write at the same time.

Forked from one process that has everything imported. A line of JSON holds the requests that begin together; a line of JSON
answers with their exit statuses (negative: the signal that ended it; 4: another writer was first).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyspark.sql.functions
from pyspark.sql import SparkSession
from running_session import attach, keys

import feature_store as fs
from feature_store import hooks

__all__ = ["SCHEMA", "Writers", "hour"]

SCHEMA = "origin string, at timestamp, delay double"
IMPORTED = (pyspark.sql.functions,)


class Writers:
    """Starts writers that attach to this process's JVM."""

    def __init__(self, spark: SparkSession) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], env=keys(spark), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *ended: object) -> None:
        self._process.communicate(timeout=60)

    def write(self, *requests: dict[str, Any]) -> list[int]:
        """Exit statuses of writers that begin together.

        Args:
            requests: `root`, `table`, `rows` as [origin, hour, delay], and `hooking`, what tests ask of `feature_store.hooks`.
        """
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(requests), file=self._process.stdin, flush=True)
        return list(json.loads(self._process.stdout.readline()))


def hour(number: float) -> datetime:
    """An instant, in hours since 2013."""
    return datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=number)


def _main() -> None:
    for line in sys.stdin:
        children = []
        for request in json.loads(line):
            if not (child := os.fork()):
                os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
                os._exit(_write(request))
            children.append(child)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


def _write(request: dict[str, Any]) -> int:
    os.environ[hooks.VARIABLE] = json.dumps(request.get("hooking") or {})
    try:
        # Settings of a write are the session's, and one lock keeps the writers of a process apart: each process needs its own.
        spark = attach().newSession()
        rows = [(origin, hour(at), delay) for origin, at, delay in request["rows"]]
        store = fs.FeatureStore(spark, root=request["root"])
        store.write(request["table"], spark.createDataFrame(rows, SCHEMA))
    except fs.ConflictError:
        return 4
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _main()
