"""The finished runs of a project that a clock knows of."""

from __future__ import annotations

from datetime import datetime

from sparkml_ops import release
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["Finished"]


class Finished:
    """The ledger, read once.

    Args:
        work: The project.
        now: The clock, UTC: runs with a later one are left out.
    """

    def __init__(self, work: Work, now: datetime) -> None:
        runs = work.ledger.standing({"project": work.config.project})
        self._runs = sorted((run for run in runs if run.as_of <= now), key=lambda run: (run.as_of, run.finished_at))
        self._target = work.sections.scoring.target
        self._keys = {run.key.text for run in runs}

    def newest(self, verb: str) -> FinishedRun | None:
        """The run of a verb with the latest clock."""
        return next((run for run in reversed(self._runs) if run.key.verb == verb), None)

    def newest_window(self, verb: str) -> FinishedRun | None:
        """The run about the window that ends last, of the champion's slot of the project's target; of several the one with the latest clock."""
        # `max` keeps the first of equals: the latest clock comes first.
        return max(reversed(self._of_target(verb)), key=lambda run: Window.parse(run.key.window).end, default=None)

    def newest_by_window(self, verb: str) -> dict[str, FinishedRun]:
        """Of each of the champion's windows the run with the latest clock, in the order of the windows."""
        newest = {run.key.window: run for run in self._of_target(verb)}
        return dict(sorted(newest.items(), key=lambda item: Window.parse(item[0]).end))

    def windows(self, verb: str) -> tuple[str, ...]:
        """Labels of the champion's windows, each once."""
        return tuple(dict.fromkeys(run.key.window for run in self._of_target(verb)))

    def has(self, key: str) -> bool:
        """Whether a key has its entry, whatever the clock of its run."""
        return key in self._keys

    def _of_target(self, verb: str) -> list[FinishedRun]:
        return [run for run in self._runs if (run.key.verb, run.key.target, run.key.slot) == (verb, self._target, release.CHAMPION)]
