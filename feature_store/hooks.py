"""Named points that every commit, MLflow call and publication of an object passes.

They do nothing in production. A test sets the environment variable `SPARKML_OPS_HOOKS` to a
JSON object and so records the points that a process passes, or kills it at one of them:

    {"record": "names.txt"}                                  append each point's name to a file
    {"kill": "delta.commit.scores:after", "once": "marker"}  SIGKILL there, unless the marker file exists
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

__all__ = ["VARIABLE", "passing", "reach", "timing"]

VARIABLE = "SPARKML_OPS_HOOKS"
_TIMES: ContextVar[dict[str, float] | None] = ContextVar("times", default=None)


@contextmanager
def passing(name: str) -> Iterator[None]:
    """Reach `<name>:before`, run the body, and reach `<name>:after` if it did not fail."""
    reach(f"{name}:before")
    times, began = _TIMES.get(), time.perf_counter()
    try:
        yield
    finally:
        if times is not None:
            family = name.partition(".")[0]
            times[family] = times.get(family, 0.0) + time.perf_counter() - began
    reach(f"{name}:after")


@contextmanager
def timing() -> Iterator[dict[str, float]]:
    """Seconds that pass inside the points of this thread, by the first word of their names, added up.

    >>> with timing() as times, passing("delta.commit.demo"):
    ...     time.sleep(0.001)
    >>> list(times), times["delta"] >= 0.001
    (['delta'], True)
    """
    times: dict[str, float] = {}
    outer = _TIMES.get()
    token = _TIMES.set(times)
    try:
        yield times
    finally:
        _TIMES.reset(token)
        if outer is not None:  # of work that does other work
            outer.update({family: outer.get(family, 0.0) + seconds for family, seconds in times.items()})


def reach(name: str) -> None:
    """Say that the process is at the point `name`, and do what a test asked for there."""
    settings = _settings(os.environ.get(VARIABLE, ""))
    if not settings:
        return
    if record := settings.get("record"):
        with Path(record).open("a") as names:
            names.write(f"{name}\n")
    if settings.get("kill") == name and _first_time(settings["once"]):
        os.kill(os.getpid(), signal.SIGKILL)


@cache
def _settings(text: str) -> dict[str, str]:
    return dict(json.loads(text)) if text else {}


def _first_time(marker: str) -> bool:
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
