"""`runs costs`: what each verb took of its machine, beside its own history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from sparkml_ops import clock
from sparkml_ops.config.costs import CostsSection
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.work import Work

__all__ = ["VerbCost", "costs", "expected", "rows_of"]

_HISTORY, _FEWEST = 12, 3
_TIMES, _DEVIATIONS = 1.5, 4.0


@dataclass(frozen=True)
class VerbCost:
    """The newest run of a verb about windows of one size, beside those before it.

    Args:
        verb: Name.
        target: Table or model that it is about.
        window: Of the newest run.
        runs: Earlier runs that it is compared with, twelve at most.
        seconds: By the wall clock.
        cpu_seconds: Of all processes on the driver's machine.
        peak_bytes: Most memory at one moment.
        read_bytes: From storage.
        written_bytes: To storage.
        rows: That it was about; None where its record names none.
        rows_per_second: By the wall clock.
        cpu_per_million: CPU seconds for a million rows.
        usual: Median of the earlier runs: CPU seconds for a million rows, or CPU seconds where there are no rows; None for fewer than three.
        slower: How many times that of the usual it took; None likewise.
        regressed: More than 1.5 times the usual, and further from it than four median absolute deviations.
        jvm_seconds: The JVM's part of `cpu_seconds`; the rest is Python's. None of runs of earlier versions, as the next three.
        write_seconds: By the wall clock, inside commits of tables, with what Spark computes as it writes.
        object_seconds: The same, inside writes of objects and calls of the tracking store.
        queue_seconds: The same, until a session was there and the ranks of a training had met.
        money: By the prices of `costs`; None without one.
        money_per_million: For a million rows.
        currency: Of both.
    """

    verb: str
    target: str
    window: str
    runs: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    read_bytes: int
    written_bytes: int
    rows: int | None
    rows_per_second: float | None
    cpu_per_million: float | None
    usual: float | None
    slower: float | None
    regressed: bool
    jvm_seconds: float | None = None
    write_seconds: float | None = None
    object_seconds: float | None = None
    queue_seconds: float | None = None
    money: float | None = None
    money_per_million: float | None = None
    currency: str = ""


def costs(work: Work, *, as_of: datetime | str | None = None) -> tuple[VerbCost, ...]:
    """The newest run of each verb that was measured, in the order of the verbs' names; needs no Spark where the warehouse is a folder.

    Args:
        as_of: Runs with a later clock do not count.
    """
    now = clock.resolve(as_of)
    found: dict[tuple[str, str, str, int], list[FinishedRun]] = defaultdict(list)
    for run in work.ledger.runs({"project": work.config.project}):
        if run.as_of <= now and run.cost is not None:
            # A day is not compared with a month, nor a first training with a warm one.
            found[run.key.verb, run.key.target, run.key.slot, len(run.key.window)].append(run)
    return tuple(_cost(runs, work.sections.costs) for _, runs in sorted(found.items()))


def expected(work: Work, key: RunKey) -> str | None:
    """What work like this took so far, in words: medians of the newest twelve runs; None where none was measured.

    Args:
        key: Of the work: runs of its verb, target and slot about windows of its size are compared.
    """
    where = {"verb": key.verb, "project": key.project, "target": key.target, "slot": key.slot}
    runs = [run for run in work.ledger.runs(where) if run.cost is not None and len(run.key.window) == len(key.window)][-_HISTORY:]
    if not runs:
        return None
    prices, known = work.sections.costs, [(run.seconds, run.cost) for run in runs if run.cost is not None]
    seconds, cpu, peak = (
        median(item[0] for item in known),
        median(item[1].cpu_seconds for item in known),
        median(item[1].peak_bytes for item in known),
    )
    money = prices.of(cpu, int(peak), seconds)
    priced = "" if money is None else f", {money:.2g} {prices.currency}"
    return f"expect {seconds:.0f} s, {cpu:.0f} CPU s and {peak / 2**30:.1f} GiB{priced}: the median of {len(runs)} runs"


def rows_of(record: Any) -> int | None:
    """Rows that a run was about, as its record names them; None where it does not.

    >>> rows_of({"rows": 990, "quarantined": 10}), rows_of({"metrics": {}, "training_set": {"rows": 600}}), rows_of([])
    (1000, 600, None)
    """
    if not isinstance(record, Mapping):
        return None
    if isinstance(record.get("rows"), int):
        return int(record["rows"]) + int(record.get("quarantined", 0))
    # A training reads its set; to register or promote a model reads no row of it.
    return rows_of(record["training_set"]) if "metrics" in record and "training_set" in record else None


def _cost(runs: Sequence[FinishedRun], prices: CostsSection) -> VerbCost:
    newest, earlier = runs[-1], runs[-1 - _HISTORY : -1]
    assert newest.cost is not None
    rows, taken = rows_of(newest.record), [_normal(run) for run in earlier]
    usual = median(taken) if len(taken) >= _FEWEST else None
    value = _normal(newest)
    spread = 0.0 if usual is None else median([abs(other - usual) for other in taken])
    cost = newest.cost
    money = prices.of(cost.cpu_seconds, cost.peak_bytes, newest.seconds)
    return VerbCost(
        newest.key.verb,
        newest.key.target,
        newest.key.window,
        len(earlier),
        round(newest.seconds, 3),
        cost.cpu_seconds,
        cost.peak_bytes,
        cost.read_bytes,
        cost.written_bytes,
        rows,
        rows / newest.seconds if rows is not None and newest.seconds > 0 else None,
        value if rows else None,
        usual,
        value / usual if usual else None,
        usual is not None and value > _TIMES * usual and value - usual > _DEVIATIONS * spread,
        cost.jvm_seconds,
        cost.write_seconds,
        cost.object_seconds,
        cost.queue_seconds,
        money,
        money * 1e6 / rows if money is not None and rows else None,
        "" if money is None else prices.currency,
    )


def _normal(run: FinishedRun) -> float:
    """CPU seconds for a million rows, or for the run."""
    assert run.cost is not None
    rows = rows_of(run.record)
    return run.cost.cpu_seconds * 1e6 / rows if rows else run.cost.cpu_seconds
