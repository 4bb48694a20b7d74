"""The process that Spark forks its Python workers from, with heavy libraries loaded once: `spark.python.daemon.module` of local sessions.

Spark's own daemon loads nothing, so that each new worker spends seconds on `import torch`. A fork is safe as long as the process has one
thread, therefore what is loaded here starts none (pyarrow would), and that is checked: with a second thread Spark's own daemon takes over.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Load, then be Spark's daemon."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a pool of threads would start with the import; a task has one core
    with contextlib.suppress(ImportError):  # an executor that scores nothing needs neither
        import scipy.stats  # noqa: F401
        import torch  # noqa: F401
    if _threads() != 1:
        os.execv(sys.executable, [sys.executable, "-m", "pyspark.daemon", *sys.argv[1:]])  # noqa: S606 - no shell
    from pyspark.daemon import manager

    manager()


def _threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


if __name__ == "__main__":
    main()
