"""The table `model_events`: every move of an alias, append-only and numbered.

MLflow keeps no history of aliases and compares nothing when one moves. So an event is written first:
its number is the version of a Delta transaction, which only one writer can land. The alias follows,
and then a tag of the registered model names the event that it follows. Where a process was killed in
between, the tag does not name the last event, and the next call finishes the move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pyspark.sql.types import IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from sparkml_ops.errors import ConflictError
from sparkml_ops.window import instant

__all__ = ["CHAMPION", "TABLE", "ModelEvent", "append_event", "champion_at", "history", "version_before"]

TABLE = "model_events"
CHAMPION = "champion"
_SCHEMA = StructType(
    [
        StructField("event_id", StringType(), nullable=False),
        StructField("number", IntegerType(), nullable=False),
        StructField("model", StringType(), nullable=False),
        StructField("alias", StringType(), nullable=False),
        StructField("from_version", IntegerType()),
        StructField("to_version", IntegerType()),
        StructField("at", TimestampType(), nullable=False),
        StructField("reason", StringType(), nullable=False),
        StructField("gate_report", StringType()),
        StructField("actor", StringType(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ModelEvent:
    """One move of an alias.

    Args:
        number: Position in the history of this model and alias, from 1.
        from_version: What the alias meant before; None where there was no alias.
        to_version: What it means afterwards; None where it was taken away.
        at: Clock of the move, UTC.
        reason: `promote`, `rollback`, or `by hand`: found so in MLflow and accepted.
        gate_report: The passed report behind a promotion.
        actor: Who asked for it; may be empty.
    """

    number: int
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    at: datetime
    reason: Literal["promote", "rollback", "by hand"]
    gate_report: str | None
    actor: str

    @property
    def id(self) -> str:
        """`<model>@<alias>#<number>`."""
        return f"{self.model}@{self.alias}#{self.number}"


def history(tables: Tables, model: str, alias: str = CHAMPION) -> tuple[ModelEvent, ...]:
    """All moves of an alias of a model, oldest first; needs no Spark."""
    if not tables.exists(TABLE):
        return ()
    rows = tables.rows(TABLE, {"model": model, "alias": alias})
    return tuple(sorted((_event(row) for row in rows), key=lambda event: event.number))


def champion_at(tables: Tables, model: str, at: datetime, alias: str = CHAMPION) -> int | None:
    """The version that an alias meant at an instant, by the events; None before the first.

    Args:
        at: UTC; a move at this very instant counts.
    """
    last = next((event for event in reversed(history(tables, model, alias)) if event.at <= at), None)
    return None if last is None else last.to_version


def version_before(events: Sequence[ModelEvent]) -> int | None:
    """The version to roll back to: a rollback undoes one move, two undo two.

    >>> at = instant("2013-08-01")
    >>> steps = [(1, None, 1, "promote"), (2, 1, 2, "promote"), (3, 2, 1, "rollback"), (4, 1, 3, "promote")]
    >>> events = [ModelEvent(number, "m", "champion", old, new, at, reason, None, "") for number, old, new, reason in steps]
    >>> [version_before(events[:count]) for count in range(5)]
    [None, None, 1, None, 1]
    """
    held: list[int | None] = []
    for event in events:
        if event.reason == "rollback" and held:
            held.pop()
        else:
            held.append(event.to_version)
    return held[-2] if len(held) > 1 else None


def append_event(tables: Tables, event: ModelEvent) -> None:
    """Add an event under its number.

    Raises:
        ConflictError: Another move took the number first.
    """
    row = {**asdict(event), "event_id": event.id}
    commit = tables.add(TABLE, _SCHEMA, [row], transaction=Transaction(f"{TABLE}/{event.model}/{event.alias}", event.number))
    if not commit.fresh:
        raise ConflictError(
            f"another move of {event.model}@{event.alias} at the same time", mend="look at the history, then run the verb again if it is still wanted"
        )


def _event(row: Mapping[str, Any]) -> ModelEvent:
    at = instant(row["at"])
    return ModelEvent(at=at, **{name: row[name] for name in _SCHEMA.names if name not in ("event_id", "at")})
