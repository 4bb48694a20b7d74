"""The table `alerts`: everything that ever happened to an alert, append-only and numbered.

The rows of one call are one batch. Its number is the version of a Delta transaction, which only one writer can land: of two checks at the
same time one finds its number taken, reads again and has nothing left to say. So no alert is opened twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from pyspark.sql.types import BooleanType, DataType, DoubleType, IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from feature_store.errors import ContractError
from sparkml_ops import clock
from sparkml_ops.errors import ConflictError
from sparkml_ops.window import instant

__all__ = ["ALERTS_TABLE", "AlertEvent", "Book", "Kind", "append", "fingerprint", "read"]

ALERTS_TABLE = "alerts"
Kind = Literal["opened", "resolved", "acknowledged", "muted", "unmuted", "verdict", "claimed", "delivered", "failed"]
_TYPES: dict[type, DataType] = {str: StringType(), int: IntegerType(), float: DoubleType(), bool: BooleanType(), datetime: TimestampType()}
_COLUMNS: dict[str, type] = {
    "project": str,
    "batch": int,
    "event_id": str,
    "fingerprint": str,
    "number": int,
    "kind": str,
    "at": datetime,
    "written_at": datetime,
    "policy": str,
    "policy_hash": str,
    "subject": str,
    "severity": str,
    "owner": str,
    "runbook": str,
    "meaning": str,
    "model": str,
    "version": int,
    "window": str,
    "value": float,
    "limit": float,
    "said": str,
    "causes": str,
    "notify": bool,
    "channels": str,
    "until": datetime,
    "verdict": str,
    "channel": str,
    "about": int,
    "actor": str,
    "note": str,
}
_SCHEMA = StructType([StructField(name, _TYPES[kind], nullable=name not in ("project", "batch")) for name, kind in _COLUMNS.items()])
_TIMES = ("at", "written_at", "until")


@dataclass(frozen=True)
class AlertEvent:
    """Something that happened to an alert.

    Args:
        fingerprint: What the alert is about: project, model, policy and subject.
        number: Of the event, from 1 on for each fingerprint; 0 until it is written.
        kind: What happened.
        at: The clock, UTC.
        policy: Name of the policy.
        policy_hash: Digest of what it declared then.
        subject: Empty for the model as a whole, `column=distance`, `segment=origin=EWR`.
        severity: `log`, `ticket` or `page`.
        owner: Who is asked.
        runbook: Address of what to do.
        meaning: Why it matters.
        model: Registered name.
        version: Of the model that scored the window; None where none did.
        window: With which the alert opened or resolved; of what a person did, the newest one with a reading.
        value: The reading.
        limit: The policy's.
        said: The same for people.
        causes: The gravest first.
        notify: Whether channels are to be told.
        channels: Those that were to be told when it happened.
        until: End of a mute, or of a claim to deliver.
        verdict: `real` or `noise`.
        channel: Of a delivery, or of a failure to deliver.
        about: Number of the event that was delivered.
        actor: Who did it; empty for a check.
        note: In words.
        written_at: Wall clock.
    """

    fingerprint: str
    number: int
    kind: Kind
    at: datetime
    policy: str
    policy_hash: str = ""
    subject: str = ""
    severity: str = "log"
    owner: str = ""
    runbook: str = ""
    meaning: str = ""
    model: str = ""
    version: int | None = None
    window: str = ""
    value: float | None = None
    limit: float | None = None
    said: str = ""
    causes: tuple[Mapping[str, Any], ...] = ()
    notify: bool = False
    channels: tuple[str, ...] = ()
    until: datetime | None = None
    verdict: str = ""
    channel: str = ""
    about: int | None = None
    actor: str = ""
    note: str = ""
    written_at: datetime | None = None

    @property
    def id(self) -> str:
        """`<fingerprint>#<number>`: by it a receiver knows an event that comes twice."""
        return f"{self.fingerprint}#{self.number}"

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"event_id": self.id, **asdict(self)}


@dataclass(frozen=True)
class Book:
    """All events of a project in their order, and the number of the last batch."""

    project: str
    batch: int
    events: tuple[AlertEvent, ...]

    def numbered(self, events: Sequence[AlertEvent]) -> tuple[AlertEvent, ...]:
        """Events with the numbers that follow."""
        last: dict[str, int] = {event.fingerprint: event.number for event in self.events}
        found = []
        for event in events:
            last[event.fingerprint] = last.get(event.fingerprint, 0) + 1
            found.append(replace(event, number=last[event.fingerprint]))
        return tuple(found)


def fingerprint(project: str, model: str, policy: str, subject: str) -> str:
    """What an alert is about, in twelve hexadecimal digits: the same trouble has the same one in every window.

    >>> fingerprint("flights", "flights", "late-scores", "")
    'c7258e6353db'
    """
    return hashlib.sha256(json.dumps([project, model, policy, subject]).encode()).hexdigest()[:12]


def read(tables: Tables, project: str) -> Book:
    """All that happened to a project's alerts; needs no Spark where the warehouse is a folder."""
    rows = tables.rows(ALERTS_TABLE, {"project": project}) if tables.exists(ALERTS_TABLE) else []
    rows.sort(key=lambda row: (row["batch"], row["fingerprint"], row["number"]))
    return Book(project, max((row["batch"] for row in rows), default=0), tuple(_event(row) for row in rows))


def append(tables: Tables, book: Book, events: Sequence[AlertEvent]) -> Book:
    """Write events as the next batch, all of them or none, and return the book with them.

    Raises:
        ConflictError: Another writer took the number: read the book again, and decide again.
    """
    if not events:
        return book
    batch, written = book.batch + 1, tuple(replace(event, written_at=clock.wall()) for event in book.numbered(events))
    conflict = ConflictError(f"another change of the alerts of {book.project} at the same time", mend="run the command again")
    try:
        commit = tables.add(
            ALERTS_TABLE, _SCHEMA, [_row(book.project, batch, event) for event in written], transaction=Transaction(f"alerts/{book.project}", batch)
        )
    except ContractError as error:
        raise conflict from error  # others landed two batches or more meanwhile
    if not commit.fresh:
        raise conflict
    return Book(book.project, batch, (*book.events, *written))


def _row(project: str, batch: int, event: AlertEvent) -> dict[str, Any]:
    values = {**event.to_document(), "project": project, "batch": batch, "causes": json.dumps(event.causes), "channels": ",".join(event.channels)}
    return {name: values[name] for name in _COLUMNS}


def _event(row: Mapping[str, Any]) -> AlertEvent:
    times: dict[str, Any] = {name: None if row[name] is None else instant(row[name]) for name in _TIMES}
    plain = {name: row[name] for name in _COLUMNS if name not in ("project", "batch", "event_id", "causes", "channels", *_TIMES)}
    channels = tuple(row["channels"].split(",")) if row["channels"] else ()
    return AlertEvent(causes=tuple(json.loads(row["causes"])), channels=channels, **plain, **times)
