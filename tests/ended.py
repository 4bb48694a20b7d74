"""A command that has ended."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Ended", "run"]


@dataclass(frozen=True)
class Ended:
    """What a command printed and how it ended."""

    status: int
    output: str
    errors: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of JSON on standard output."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def record(self) -> dict[str, Any]:
        """The one line on standard output of a command that did its work."""
        assert self.status == 0, self.errors[-3000:]
        (record,) = self.records
        return record


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Ended:
    """Run a command in an environment and a folder."""
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=1500)
    return Ended(done.returncode, done.stdout, done.stderr)
