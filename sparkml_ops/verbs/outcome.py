"""The frame around every verb: repeat or run, log, and enter in the ledger."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import metadata
from typing import Any, Generic, Literal, TypeVar

from pydantic import TypeAdapter

from sparkml_ops import clock, logs
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.logs import logger
from sparkml_ops.meter import Meter
from sparkml_ops.records import to_document
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.work import Work

__all__ = ["Generation", "Outcome", "Plan", "Task", "outcome", "plan"]

R = TypeVar("R")

# Number of deliberate repeats of the same work; "next" is one more than the newest finished one.
Generation = int | Literal["next"]


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """How a verb ended.

    Args:
        record: What it hands on.
        fresh: False where the work had been finished before and nothing was written.
        run_id: The run that did the work.
        seconds: How long this call took.
    """

    record: R
    fresh: bool
    run_id: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a verb would read and write; making it writes nothing.

    Args:
        key: Identity of the work.
        done: Whether a finished run of it is there, so that nothing would be done.
        reads: Tables, models and files that would be read.
        writes: Tables, models and objects that would be written.
        notes: What else there is to know before the run.
    """

    key: str
    done: bool
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task(Generic[R]):
    """One piece of work of a verb.

    Args:
        key: Its identity.
        kind: Type of its record.
        declared: Sections of the configuration that decide its result.
        body: Does the work; called with the run's id and the clock.
        repeatable: Whether a finished run stands for the work for ever. A promotion depends on the state
            of the registry instead, and a build without a clock on its sources: they always look again.
        wrote: Whether the body wrote anything; asked afterwards, a run that wrote nothing leaves no row.
        settle: The key to enter in the ledger where only the work itself tells it; an entry that is there already
            says that another call did the work.
        restore: Makes the record from its document, where that is more than its plain fields.
        check: Refuses, before Spark starts, what cannot be done as of an instant; a plan asks it as well.
    """

    key: RunKey
    kind: Any
    declared: Sequence[str]
    body: Callable[[str, datetime], R]
    repeatable: bool = True
    wrote: Callable[[], bool] = field(default=lambda: True)
    settle: Callable[[], RunKey] | None = None
    restore: Callable[[Mapping[str, Any]], R] | None = None
    check: Callable[[datetime], None] = field(default=lambda _: None)


def outcome(work: Work, task: Task[R], *, as_of: datetime | str | None = None) -> Outcome[R]:
    """Return the record of a finished run, or run the work and enter it in the ledger.

    Raises:
        ContractError: The work is finished under another configuration.
    """
    started, now = clock.wall(), clock.resolve(as_of)
    work.check()
    key = task.key
    with logs.work(project=key.project, verb=key.verb, window=key.window):
        if task.repeatable and (finished := work.ledger.find(key)):
            _check_configuration(work, task, finished)
            logger.info("%s: already done%s", key.verb, _version(finished.record))
            restore = task.restore or TypeAdapter(task.kind).validate_python
            return Outcome(restore(finished.record), False, finished.run_id, _since(started))
        task.check(now)
        run_id = uuid.uuid4().hex
        with logs.work(run_id=run_id):
            logger.info("%s: started as of %s", key.verb, now.isoformat(timespec="seconds"))
            with Meter() as meter:
                record = task.body(run_id, now)
            entered = task.settle() if task.settle else key
            fresh = task.wrote() and (task.settle is None or work.ledger.find(entered) is None)
            if fresh:
                code = metadata.version("sparkml-ops")
                config_hash = work.config.hash(*task.declared)
                work.ledger.append(FinishedRun(run_id, entered, to_document(record), config_hash, code, now, started, clock.wall(), meter.cost))
            logger.info("%s: %s in %.1f s%s", key.verb, "done" if fresh else "already done", _since(started), _version(to_document(record)))
            return Outcome(record, fresh, run_id, _since(started))


def plan(
    work: Work,
    task: Task[Any],
    *,
    reads: Sequence[str],
    writes: Sequence[str],
    notes: Sequence[str] = (),
    as_of: datetime | str | None = None,
) -> Plan:
    """The plan of a task; what the verb would refuse at once is refused here."""
    done = task.repeatable and work.ledger.find(task.key) is not None
    if not done:
        task.check(clock.resolve(as_of))
    return Plan(task.key.text, done, tuple(reads), () if done else tuple(writes), tuple(notes))


def generation(work: Work, key: RunKey, wanted: Generation) -> RunKey:
    """The key with its generation as a number.

    Raises:
        ContractError: It is neither a number from 0 nor "next".
    """
    if wanted != "next" and (type(wanted) is not int or wanted < 0):
        raise ContractError(f"the generation {wanted!r}", expected='a number from 0, or "next"', mend="correct --generation")
    if wanted != "next":
        return replace(key, generation=wanted)
    runs = work.ledger.runs({"verb": key.verb, "project": key.project, "target": key.target})
    same = [run.key.generation for run in runs if replace(run.key, generation=0) == replace(key, generation=0)]
    return replace(key, generation=max(same, default=-1) + 1)


def _check_configuration(work: Work, task: Task[Any], finished: FinishedRun) -> None:
    wanted = work.config.hash(*task.declared)
    if wanted != finished.config_hash:
        raise ContractError(
            f"{task.key.text} finished under configuration {finished.config_hash}, while {', '.join(task.declared)} now hash to {wanted}",
            expected="the same configuration for the same work",
            mend="add `--generation next` to do the work again, or take the change back",
        )


def _version(record: Any) -> str:
    """Where the record's newest table version is, as ` at version N` of which table."""
    if isinstance(record, list | tuple):
        return f" at {len(record)} tables"
    for place in (record, record.get("snapshot") or {}):
        if "version" in place:
            return f" at version {place['version']}"
    return ""


def _since(started: datetime) -> float:
    return (clock.wall() - started).total_seconds()
