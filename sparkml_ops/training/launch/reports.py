"""Reports of the ranks: published as objects, read by the driver in order."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

from sparkml_ops.storage import Storage
from sparkml_ops.training.launch.folder import AttemptFolder

__all__ = ["ReportReader", "ReportWriter"]


class ReportWriter:
    """Publishes one rank's reports, each as a new object."""

    def __init__(self, storage: Storage, folder: AttemptFolder, rank: int) -> None:
        self._storage, self._folder, self._rank = storage, folder, rank
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def publish(self, report: dict[str, Any]) -> None:
        """Publish a report; TypeError where it is no JSON."""
        data = json.dumps(report).encode()
        with self._lock:
            self._storage.publish(self._folder.report(self._rank, next(self._numbers)), data, kind="report")


class ReportReader:
    """Hands the driver each report of an attempt once.

    Args:
        say: Called with each new report; the reports of one rank come in their order.
    """

    def __init__(self, storage: Storage, folder: AttemptFolder, say: Callable[[dict[str, Any]], None]) -> None:
        self._storage, self._folder, self._say = storage, folder, say
        self._seen: set[str] = set()

    def poll(self) -> int:
        """Hand over what is new and return the number of ranks that have met."""
        names = self._storage.list(self._folder.prefix)
        for name in names:
            if self._folder.is_report(name) and name not in self._seen:
                self._seen.add(name)
                self._say(json.loads(self._storage.read(name)))
        return sum(map(self._folder.is_started, names))
