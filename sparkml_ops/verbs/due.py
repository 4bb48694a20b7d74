"""What is due: the windows that nobody has scored yet, and those that were scored and not measured or decided upon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from pyspark.sql import SparkSession

from sparkml_ops import clock
from sparkml_ops.config.root import Config
from sparkml_ops.errors import ContractError
from sparkml_ops.logs import logger
from sparkml_ops.records import ScoredWindow
from sparkml_ops.verbs import score
from sparkml_ops.verbs.outcome import Outcome, Plan
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Size, Window

__all__ = ["due_windows", "open_windows", "perform", "plan", "run"]


def run(
    spark: SparkSession | None, config: Config, *, slot: str = "champion", since: str | None = None, as_of: datetime | str | None = None
) -> tuple[ScoredWindow, ...]:
    """Score the windows that have ended and were not scored yet, in order.

    Args:
        slot: Role under which predictions are stored; also the alias that names the model.
        since: First window to look at; None: the first scored one, so that a gap between scored windows is due too.
        as_of: The clock, of every window: windows that end later are not due, and each is scored with what is known
            at this instant, not at its own end. Features are joined as of each row in any case.

    Raises:
        ContractError: Nothing was scored yet and there is no `since`, or it has another size than the windows before it.
        OpsError: Of the first window that failed; those before it are scored and stay.
    """
    return tuple(item.record for item in perform(Work(config, spark), slot=slot, since=since, as_of=as_of))


def perform(work: Work, *, slot: str = "champion", since: str | None = None, as_of: datetime | str | None = None) -> Iterator[Outcome[ScoredWindow]]:
    """Score window after window and say how each ended."""
    now = clock.resolve(as_of)
    for window in _due(work, slot, since, now):
        yield score.perform(work, window=window.label, slot=slot, as_of=now)


def plan(work: Work, *, slot: str = "champion", since: str | None = None, as_of: datetime | str | None = None) -> Iterator[Plan]:
    """What would be read and written, window by window."""
    now = clock.resolve(as_of)
    for window in _due(work, slot, since, now):
        yield score.plan(work, window=window.label, slot=slot, as_of=now)


def due_windows(scored: Iterable[str], *, as_of: datetime, since: Window | None = None, size: Size | None = None) -> tuple[Window, ...]:
    """The windows that have ended and are not among the scored ones, oldest first: gaps between them, then those after the newest.

    Args:
        scored: Labels, in any order.
        as_of: A window that ends at this very instant is due.
        since: First window to look at; None: the first scored one.
        size: Size of the windows; None: that of the newest scored one, of a month where there is none.

    Raises:
        ContractError: There is no window to begin at, or it has another size.

    >>> [window.label for window in due_windows(["2013-07", "2013-09"], as_of=clock.resolve("2013-11-01"))]
    ['2013-08', '2013-10']
    """
    windows = sorted((Window.parse(label) for label in set(scored)), key=lambda window: (window.end, window.start))
    size = size or (windows[-1].size if windows else "month")
    same = {window.start: window for window in windows if window.size == size}
    if since is None and not same:
        raise ContractError(f"no {size} scored so far", expected="one to go on from", mend=f"say where to begin: `--from {_EXAMPLES[size]}`")
    if since is not None and since.size != size:
        raise ContractError(
            f"--from {since.label}, a {since.size}",
            expected=f"a {size}, as {_EXAMPLES[size]}: rows that are scored in windows of two sizes would have two predictions",
            mend=f"begin at a {size}, or set scoring.window={since.size}",
        )
    others = [window for window in windows if window.size != size]
    window, due = since or same[min(same)], []
    while window.end <= as_of:
        # A day of a month that was scored as a month has its predictions: it is no gap.
        if window.start not in same and not any(other.start <= window.start and window.end <= other.end for other in others):
            due.append(window)
        window = window.next()
    return tuple(due)


def open_windows(work: Work, verb: str, *, slot: str = "champion", as_of: datetime | str | None = None) -> tuple[str, ...]:
    """The windows that a verb has still to do, oldest first; needs no Spark.

    For `score` those that `score --due` would take; for `drift` the scored ones that were not compared; for `monitor` those
    whose truth is not final; for `retrain` the newest scored one, unless it was decided upon: an older decision would come too late.

    Args:
        as_of: The clock of `score`.

    Raises:
        ContractError: Another verb, or `score` without a window to begin at.
    """
    if verb not in _BY_WINDOW:
        raise ContractError(f"windows of {verb}", expected=f"one of {', '.join(_BY_WINDOW)}", mend="name a verb that goes by windows")
    if verb == "score":
        return tuple(window.label for window in _due(work, slot, None, clock.resolve(as_of)))
    runs = [run for run in work.ledger.runs({"project": work.config.project}) if verb == "retrain" or run.key.slot == slot]
    about = {"retrain": work.sections.release.model}.get(verb, work.sections.scoring.target)
    done = {run.key.window for run in runs if (run.key.verb, run.key.target) == (verb, about) and run.record.get("final", True)}
    scored = sorted(set(_scored(work, slot)), key=lambda label: Window.parse(label).end)
    return tuple(label for label in (scored[-1:] if verb == "retrain" else scored) if label not in done)


_BY_WINDOW = ("score", "drift", "monitor", "retrain")
_EXAMPLES: dict[Size, str] = {"month": "2013-07", "day": "2013-07-14", "hour": "2013-07-14T05"}


def _scored(work: Work, slot: str) -> list[str]:
    where = {"verb": "score", "project": work.config.project, "target": work.sections.scoring.target}
    return [run.key.window for run in work.ledger.standing(where) if run.key.slot == slot]


def _due(work: Work, slot: str, since: str | None, now: datetime) -> tuple[Window, ...]:
    settings, scored = work.sections.scoring, _scored(work, slot)
    size = settings.window if "window" in settings.model_fields_set else None
    due = due_windows(scored, as_of=now, since=None if since is None else Window.parse(since), size=size)
    if due:
        logger.info("score: %d windows are due, %s to %s", len(due), due[0].label, due[-1].label)
    else:
        logger.info("score: nothing is due as of %s%s", now.isoformat(timespec="minutes"), f", the newest is {max(scored)}" if scored else "")
    return due
