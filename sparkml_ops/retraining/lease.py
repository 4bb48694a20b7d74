"""The table `retrainings`: who trains a new model, one at a time, and by which decision.

A row is written before the work begins and is a Delta transaction with the next number, which one writer alone can land.
Who takes one looks for others first, and the number makes look and row one step: of two that saw nobody one lands.
It holds as long as its run has no entry in the ledger and its process may live: on this machine that is looked up,
of another one it is believed until the lease runs out. So a killed retraining blocks nobody; started again, it goes on
by the decision that it had taken, whatever the registry looks like by now.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psutil
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from sparkml_ops.errors import ContractError, RetryableError
from sparkml_ops.window import instant

__all__ = ["TABLE", "Lease", "give_up", "in_flight", "leases", "take"]

TABLE = "retrainings"
_CLOCK = 1.0  # seconds by which the start of a process may be told differently
_SCHEMA = StructType(
    [
        StructField("number", IntegerType(), nullable=False),
        *(StructField(name, StringType(), nullable=False) for name in ("project", "key", "host")),
        StructField("pid", IntegerType(), nullable=False),
        StructField("born", DoubleType(), nullable=False),
        *(StructField(name, TimestampType(), nullable=False) for name in ("as_of", "expires_at")),
        StructField("decision", StringType(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Lease:
    """The right to train, taken by a process for a piece of work.

    Args:
        number: Position in the project's history, from 1.
        key: Run key of the retraining, as text.
        host: Machine of the process.
        pid: Its number there.
        born: When the process started, seconds since 1970: numbers are used again.
        as_of: Clock of the decision.
        expires_at: Wall clock, UTC.
        decision: What was decided, and why.
    """

    number: int
    project: str
    key: str
    host: str
    pid: int
    born: float
    as_of: datetime
    expires_at: datetime
    decision: Mapping[str, Any]

    @property
    def mine(self) -> bool:
        """Whether this very process holds it."""
        host, pid, born = _self()
        return (self.host, self.pid) == (host, pid) and abs(self.born - born) < _CLOCK

    def alive(self, wall: datetime) -> bool:
        """Whether its process may still be at work.

        Args:
            wall: The wall clock: processes die by no other.
        """
        if wall >= self.expires_at or self.host != socket.gethostname():
            return wall < self.expires_at
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.born) < _CLOCK)
        except psutil.Error:
            return False


def leases(tables: Tables, project: str) -> tuple[Lease, ...]:
    """All leases of a project, oldest first; needs no Spark."""
    if not tables.exists(TABLE):
        return ()
    return tuple(sorted((_lease(row) for row in tables.rows(TABLE, {"project": project})), key=lambda lease: lease.number))


def in_flight(held: tuple[Lease, ...], finished: Callable[[str], bool], key: str, wall: datetime) -> Lease | None:
    """The other piece of work that trains at this moment, or None.

    Args:
        held: As `leases` gives them.
        finished: Whether a run key has its entry in the ledger.
        key: The own run key.
    """
    newest = {lease.key: lease for lease in held}
    return next((lease for lease in newest.values() if lease.key != key and lease.alive(wall) and not finished(lease.key)), None)


def take(
    tables: Tables,
    project: str,
    key: str,
    decision: Mapping[str, Any],
    *,
    as_of: datetime,
    wall: datetime,
    length: timedelta,
    finished: Callable[[str], bool],
) -> Lease:
    """Take the lease for a piece of work, or take it over from a process that died at the same work.

    Raises:
        RetryableError: Another process is at the same work, another piece of work trains, or somebody was faster.
    """
    held = leases(tables, project)
    before = next((lease for lease in reversed(held) if lease.key == key), None)
    if before is not None and (before.mine or not before.alive(wall)):
        decision = before.decision
    elif before is not None:
        raise RetryableError(f"{key} at work in process {before.pid} on {before.host}", expected="one driver", mend="wait until it has ended")
    # Whoever decided before this look may have seen nobody: what counts is who trains when the next number lands.
    if other := in_flight(held, finished, key, wall):
        raise RetryableError(
            f"{other.key} in training in process {other.pid} on {other.host}", expected="one retraining at a time", mend="run the verb again later"
        )
    host, pid, born = _self()
    lease = Lease(held[-1].number + 1 if held else 1, project, key, host, pid, born, as_of, wall + length, decision)
    if not _append(tables, lease):
        raise RetryableError("another driver that took the lease first", expected="one retraining at a time", mend="run the verb again later")
    return lease


def give_up(tables: Tables, lease: Lease, wall: datetime) -> None:
    """End a lease whose work failed; the same work may take it again and goes on by its decision."""
    _append(tables, replace(lease, number=lease.number + 1, expires_at=wall))


def _append(tables: Tables, lease: Lease) -> bool:
    """Whether the row landed under its number."""
    row = {**asdict(lease), "decision": json.dumps(lease.decision, sort_keys=True, default=str)}
    try:
        return tables.add(TABLE, _SCHEMA, [row], transaction=Transaction(f"{TABLE}/{lease.project}", lease.number)).fresh
    except ContractError:
        # A number below the last is refused; several may have landed since the look.
        if any(other.number > lease.number for other in leases(tables, lease.project)):
            return False
        raise


def _self() -> tuple[str, int, float]:
    return socket.gethostname(), os.getpid(), psutil.Process().create_time()


def _lease(row: Mapping[str, Any]) -> Lease:
    values = dict(row) | {name: instant(row[name]) for name in ("as_of", "expires_at")} | {"decision": json.loads(row["decision"])}
    return Lease(**values)
