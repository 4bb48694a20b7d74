"""Logs that carry run, verb and window: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

from rich.console import Console
from rich.logging import RichHandler

__all__ = ["configure", "logger", "work"]

logger = logging.getLogger("sparkml_ops")

_WORK: ContextVar[Mapping[str, str]] = ContextVar("work", default=MappingProxyType({}))


@contextmanager
def work(**fields: str) -> Iterator[None]:
    """Every line logged inside carries these fields."""
    token = _WORK.set({**_WORK.get(), **{name: value for name, value in fields.items() if value}})
    try:
        yield
    finally:
        _WORK.reset(token)


def configure(*, human: bool | None = None) -> bool:
    """Log to standard error, for people or as JSON lines; without `human` the terminal decides. Returns whether it is for people."""
    people = sys.stderr.isatty() if human is None else human
    handler: logging.Handler
    if people:
        handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonLines())
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return people


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **_WORK.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
