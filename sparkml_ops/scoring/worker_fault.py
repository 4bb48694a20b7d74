"""What went wrong in a worker, said on the driver in this project's words."""

from __future__ import annotations

import re

from sparkml_ops.errors import ContractError, OpsError

__all__ = ["told"]

_ENDED = ("Python worker exited unexpectedly", "Python worker failed to connect back")
_REFUSED = re.compile(r"ContractError: found (?P<found>[^\n]+)")


def told(error: Exception, where: str) -> Exception:
    r"""The error of a pass: a process that ended, or a refusal in a worker, under its own type; another one stays as it is.

    Args:
        error: What Spark raised; of a job that failed that is Java's own error in one place, PySpark's in another.
        where: What was scored.

    >>> told(RuntimeError("... sparkml_ops.errors.ContractError: found a file; expected another\n at ..."), "window 2013-07")
    ContractError('found a file; expected another')
    """
    if isinstance(error, OpsError):
        return error
    text = str(error)
    if refused := _REFUSED.search(text):
        return ContractError(refused["found"].strip())
    if any(sign in text for sign in _ENDED):
        return OpsError(
            f"a Python worker that ended while it scored {where}",
            expected="one that lives: the system ends who takes all memory, and a call of a library that never comes back is ended too",
            mend="look at the executor's log; spark.executor.pyspark.memory makes too little memory the fault of a row. Nothing was written",
        )
    return error
