"""When an alert opens and when it resolves: a pure function of a policy, readings and what was decided before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from feature_store.duration import parse_duration
from sparkml_ops.alerts.reading import Reading
from sparkml_ops.config.alerts import PolicyBase

__all__ = ["Move", "Standing", "moves"]


@dataclass(frozen=True)
class Standing:
    """Where an alert stands before the readings are looked at.

    Args:
        open: Whether it is open, acknowledged or muted while open.
        until: End of the newest window that an earlier decision knew; None: there was none.
        at: Clock of that decision; None: there was none.
        resolved: End of the window with which it was resolved last; None: never.
    """

    open: bool = False
    until: datetime | None = None
    at: datetime | None = None
    resolved: datetime | None = None


@dataclass(frozen=True)
class Move:
    """An alert opens or resolves with a window."""

    kind: Literal["opened", "resolved"]
    reading: Reading


def moves(policy: PolicyBase, standing: Standing, readings: Sequence[Reading]) -> Iterator[Move]:
    """What the windows after the standing do to an alert.

    It opens with a window that is beyond the limit, if enough of the newest windows are, and the cooldown is over.
    It resolves when enough windows in a row are good, all later than the one that opened it, or that one measured again. Windows without
    evidence have no reading: they neither speak for an alert nor against it.

    Args:
        readings: Of one subject, in the order of their windows, those before the standing included.

    >>> from datetime import UTC
    >>> from sparkml_ops.config.alerts import FreshnessPolicy
    >>> policy = FreshnessPolicy(signal="freshness", owner="us", runbook="https://wiki/late", within="1d", windows=2, of=3)
    >>> states = {"2013-01": "beyond", "2013-02": "good", "2013-03": "beyond", "2013-04": "between", "2013-05": "good"}
    >>> known = datetime(2014, 1, 1, tzinfo=UTC)
    >>> readings = [Reading("", window, known, 0.0, 0.0, state, "") for window, state in states.items()]
    >>> [(move.kind, move.reading.window) for move in moves(policy, Standing(), readings)]
    [('opened', '2013-03'), ('resolved', '2013-05')]
    """
    is_open, resolved, since = standing.open, standing.resolved, (standing.until, standing.at)
    for place, reading in enumerate(readings):
        if standing.until is not None and not (reading.end > standing.until or (is_open and _later(reading, since))):
            continue
        if not is_open and _opens(policy, readings[: place + 1], resolved):
            is_open, since = True, (reading.end, reading.known)
            yield Move("opened", reading)
        elif is_open and _resolves(policy, readings[: place + 1], since):
            is_open, resolved = False, reading.end
            yield Move("resolved", reading)


def _opens(policy: PolicyBase, readings: Sequence[Reading], resolved: datetime | None) -> bool:
    newest = readings[-policy.of :]
    if newest[-1].place != "beyond" or sum(reading.place == "beyond" for reading in newest) < policy.windows:
        return False
    return resolved is None or policy.cooldown is None or newest[-1].end - resolved >= parse_duration(policy.cooldown)


def _resolves(policy: PolicyBase, readings: Sequence[Reading], since: tuple[datetime | None, datetime | None]) -> bool:
    """Whether the last windows are good, none of which was known so when it opened."""
    newest = readings[-policy.clear_windows :]
    return len(newest) == policy.clear_windows and all(item.place == "good" and _later(item, since) for item in newest)


def _later(reading: Reading, since: tuple[datetime | None, datetime | None]) -> bool:
    """Whether a reading is of a later window, or of the same one measured again."""
    end, at = since
    return end is None or reading.end > end or (reading.end == end and at is not None and reading.known > at)
