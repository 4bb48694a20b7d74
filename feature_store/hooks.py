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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

__all__ = ["VARIABLE", "passing", "reach"]

VARIABLE = "SPARKML_OPS_HOOKS"


@contextmanager
def passing(name: str) -> Iterator[None]:
    """Reach `<name>:before`, run the body, and reach `<name>:after` if it did not fail."""
    reach(f"{name}:before")
    yield
    reach(f"{name}:after")


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
