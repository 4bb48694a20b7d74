"""Where one attempt of a run leaves its objects under `storage.root`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sparkml_ops.storage import Storage

__all__ = ["AttemptFolder", "next_attempt"]


@dataclass(frozen=True)
class AttemptFolder:
    """Names of the objects of one attempt.

    >>> AttemptFolder("r1", 0).report(1, 7)
    'training/r1/attempt-0/reports/00000007-rank-1.json'
    """

    run: str
    attempt: int

    @property
    def prefix(self) -> str:
        """Prefix of all objects of the attempt."""
        return f"training/{self.run}/attempt-{self.attempt}"

    @property
    def ended(self) -> str:
        """Says that the driver gave the attempt up: tasks that Spark starts later do nothing."""
        return f"{self.prefix}/ended.json"

    def claimed(self, rank: int) -> str:
        """Says that a task began: the same task again is a retry of Spark's."""
        return f"{self.prefix}/claimed/task-{rank}.json"

    def started(self, rank: int) -> str:
        """Says that the rank has met the others."""
        return f"{self.prefix}/started/rank-{rank}.json"

    def report(self, rank: int, number: int) -> str:
        """One report; names sort by number, so each rank's reports keep their order."""
        return f"{self.prefix}/reports/{number:08d}-rank-{rank}.json"

    @property
    def timeline(self) -> str:
        """Horovod's timeline of the attempt, where one was asked for."""
        return f"{self.prefix}/timeline.json"

    def is_started(self, name: str) -> bool:
        """Whether the object says that a rank has met the others."""
        return name.startswith(f"{self.prefix}/started/")

    def is_report(self, name: str) -> bool:
        """Whether the object is a report."""
        return name.startswith(f"{self.prefix}/reports/")


def next_attempt(storage: Storage, run: str) -> int:
    """The first attempt number that the run has not used, so that a relaunched driver mixes nothing."""
    pattern = re.compile(rf"training/{re.escape(run)}/attempt-(\d+)/")
    used = [int(match[1]) for name in storage.list(f"training/{run}") if (match := pattern.match(name))]
    return max(used, default=-1) + 1
