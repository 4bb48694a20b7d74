"""What a policy sees of a window, whatever its signal: how far it is from the limit, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sparkml_ops.window import Window

__all__ = ["Place", "Reading", "known_at"]

Place = Literal["beyond", "between", "good"]


@dataclass(frozen=True)
class Reading:
    """One window as one policy measures it.

    Args:
        subject: What it is about: empty for the model as a whole, `column=distance`, `segment=origin=EWR`.
        window: Label.
        known: Clock of the run that measured it, UTC: earlier checks could not see it.
        value: In the unit of the policy.
        limit: The policy's, in the same unit.
        place: `beyond` the limit, `good`, or `between` the limit and the one that clears it: then it speaks for nothing.
        said: The same for people.
        rows: Scored rows of the window; 0 where they do not matter.
        version: Of the model that scored the window; None where none did.
        causes: The gravest first: what an owner would look at.
    """

    subject: str
    window: str
    known: datetime
    value: float
    limit: float
    place: Place
    said: str
    rows: int = 0
    version: int | None = None
    causes: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def end(self) -> datetime:
        """Exclusive end of its window."""
        return Window.parse(self.window).end


def known_at(readings: Iterable[Reading], now: datetime) -> dict[str, list[Reading]]:
    """What a clock knows: of each subject and window the newest reading, in the order of the windows."""
    newest: dict[tuple[str, str], Reading] = {}
    for reading in sorted((item for item in readings if item.known <= now), key=lambda item: item.known):
        newest[reading.subject, reading.window] = reading
    found: dict[str, list[Reading]] = {}
    for reading in sorted(newest.values(), key=lambda item: (item.end, -len(item.window))):
        found.setdefault(reading.subject, []).append(reading)
    return found
