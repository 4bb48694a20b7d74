"""The process that Spark forks its Python workers from, with libraries and our own code loaded once: `spark.python.daemon.module` of local sessions.

Spark's own daemon loads nothing, so that each new worker spends seconds on `import torch`, and one more on pandas, Arrow and what it is to
run. A fork is safe as long as the process has one thread, therefore what is loaded here starts none, and that is checked: with a second
thread Spark's own daemon takes over.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from pathlib import Path

__all__ = ["LOADED", "main"]

# What would start a thread as soon as it is loaded: a pool of OpenBLAS (a task has one core), and the allocators of Arrow and deltalake, which
# give memory back from a thread of their own and otherwise as they go.
_WITHOUT_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
}
# The libraries that workers use, and the modules whose functions they are sent.
LOADED = (
    "torch",
    "pandas",
    "pyspark.sql.pandas.serializers",
    "feature_store.window_stream",
    "sparkml_ops.training.preprocessing",
    "sparkml_ops.training.baseline",
    "sparkml_ops.training.launch.rank",
    "sparkml_ops.training.loop",
    "sparkml_ops.performance.contest",
    "sparkml_ops.scoring.engines",
    "sparkml_ops.drift.source",
    "sparkml_ops.monitoring.tally",
)


def main() -> None:
    """Load, then be Spark's daemon."""
    for name, value in _WITHOUT_THREADS.items():
        os.environ.setdefault(name, value)
    for module in LOADED:
        with contextlib.suppress(ImportError):  # an executor that only computes features has no torch
            importlib.import_module(module)
    if _threads() != 1:
        os.execv(sys.executable, [sys.executable, "-m", "pyspark.daemon", *sys.argv[1:]])  # noqa: S606 - no shell
    gc.freeze()  # a collection in a worker would write to, and so copy, the pages that it shares
    from pyspark.daemon import manager

    manager()


def _threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


if __name__ == "__main__":
    main()
