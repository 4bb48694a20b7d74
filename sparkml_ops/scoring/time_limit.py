"""An end to a model's call that takes too long."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Overdue", "at_most"]

# What a library may take to come back to Python, which alone looks at signals, before the process is ended.
_GRACE = 60.0


class Overdue(BaseException):
    """A call took too long; no Exception, which a model's own code might swallow and go on."""


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Interrupt what takes longer: Python code where it stands; a library that does not come back takes its process with it.

    A task whose process ends fails, and with it the pass: better a refused window than a night that waits for ever. A watch of this kind
    needs the main thread, which is where Spark's workers call functions; elsewhere there is no limit.

    Args:
        seconds: None: no end.

    Raises:
        Overdue: It was interrupted.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _end)
    watched = _watch(seconds + _GRACE)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if watched:
            faulthandler.cancel_dump_traceback_later()


def _end(number: int, frame: FrameType | None) -> None:
    raise Overdue


def _watch(seconds: float) -> bool:
    """Have the process ended from outside of Python, with its stack told; False where its standard error is none."""
    if sys.__stderr__ is None:
        return False
    try:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    except (AttributeError, OSError, RuntimeError, ValueError):
        return False
    return True
