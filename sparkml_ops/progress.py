"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sparkml_ops.logs import logger

__all__ = ["Advance", "track"]

# Called with the steps done so far and a short text on where things stand.
Advance = Callable[[int, str], None]

_QUIET_SECONDS = 10.0


@contextmanager
def track(name: str, total: int) -> Iterator[Advance]:
    """Show the progress of `total` steps; call the given function with the steps done."""
    if not sys.stderr.isatty():
        yield _logging(name, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total, state="")
        yield lambda done, state: bar.update(task, completed=done, state=state)


def _logging(name: str, total: int) -> Advance:
    last = [float("-inf")]

    def advance(done: int, state: str) -> None:
        now = time.monotonic()
        if done >= total or now - last[0] >= _QUIET_SECONDS:
            last[0] = now
            logger.info("%s: %s of %s %s", name, done, total, state)

    return advance
