"""Where the features of one row came from: of each lookup the version that was read, and the times of the row that was taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from feature_store.assembly import Assembly
from feature_store.errors import ContractError
from feature_store.leakage_audit import SourceTimes

__all__ = ["Provenance", "provenance"]


@dataclass(frozen=True)
class Provenance:
    """One lookup of one row.

    Args:
        table: Its feature table.
        version: The version that was read; None of a frame.
        event_time: Of the feature row that was taken, UTC; None where none matched.
        known_time: When that had become known, UTC.
        features: Columns of the joined row that it gave.
    """

    table: str
    version: int | None
    event_time: datetime | None
    known_time: datetime | None
    features: tuple[str, ...]


def provenance(assembly: Assembly) -> tuple[Provenance, ...]:
    """Join the first row of a spine again, under the join's audit, for the times alone; one job.

    Raises:
        ContractError: The spine has no row.
    """
    times = SourceTimes.of(assembly)
    row = times.joined.first()
    if row is None:
        raise ContractError("a spine without a row", expected="the row whose features are asked about", mend="correct the condition")
    return tuple(
        Provenance(
            table=str(lookup.table) if isinstance(lookup.table, str) else name,
            version=assembly.inputs.get(lookup.table) if isinstance(lookup.table, str) else None,
            event_time=_utc(row[f"{name}__event_time"]),
            known_time=_utc(row[f"{name}__known_time"]),
            features=tuple(f"{lookup.prefix}{feature}" for feature in lookup.features or ()),
        )
        for lookup, name in zip(assembly.lookups, times.names, strict=True)
    )


def _utc(value: datetime | None) -> datetime | None:
    """An instant that Spark handed over, which is in the zone of this process, without saying so."""
    return None if value is None else value.astimezone(UTC)
