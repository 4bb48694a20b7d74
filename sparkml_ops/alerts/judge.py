"""What a check says: the events that follow from policies, readings and the alerts so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sparkml_ops.alerts.alert import Alert, again
from sparkml_ops.alerts.machine import Move, Standing, moves
from sparkml_ops.alerts.reading import Reading, known_at
from sparkml_ops.alerts.rules import burning, unusual
from sparkml_ops.alerts.stored import AlertEvent, fingerprint
from sparkml_ops.config.alerts import BurnPolicy, DriftPolicy, PolicyBase

__all__ = ["Watched", "judge", "series"]


@dataclass(frozen=True)
class Watched:
    """Whose alerts they are."""

    project: str
    model: str


def judge(
    watched: Watched, policies: Mapping[str, PolicyBase], readings: Mapping[str, Iterable[Reading]], alerts: Mapping[str, Alert], now: datetime
) -> Iterator[AlertEvent]:
    """The events of a check; none where nothing changed, however often it is asked.

    A subject without an alert so far is judged by its newest window, with those before it as evidence: what opened and resolved
    between two checks wakes nobody afterwards. An alert goes on from the window of its last event.

    Args:
        readings: By name of the policy; those that a later clock measured do not count.
        alerts: By fingerprint.
        now: The clock, UTC.
    """
    moved = set()
    for name, policy in policies.items():
        for subject, found in series(policy, readings.get(name, ()), now).items():
            mark = fingerprint(watched.project, watched.model, name, subject)
            before = alerts.get(mark)
            standing = before.standing if before else Standing(until=found[-2].end if len(found) > 1 else None)
            muted = before is not None and before.until is not None and before.until > now
            for move in moves(policy, standing, found):
                moved.add(mark)
                yield _event(watched, name, policy, mark, move, now, notify=not muted)
    unmoved = [alert for mark, alert in alerts.items() if mark not in moved]
    yield from _unmuted(policies, unmoved, now)
    yield from _abandoned(policies, unmoved, now)


def series(policy: PolicyBase, readings: Iterable[Reading], now: datetime) -> dict[str, list[Reading]]:
    """What a clock knows, by subject, in the policy's unit."""
    known = known_at(readings, now)
    if isinstance(policy, BurnPolicy):
        return {subject: burning(policy, found) for subject, found in known.items()}
    if isinstance(policy, DriftPolicy) and policy.history:
        return {subject: unusual(policy, found) for subject, found in known.items()}
    return known


def _event(watched: Watched, name: str, policy: PolicyBase, mark: str, move: Move, now: datetime, *, notify: bool) -> AlertEvent:
    reading = move.reading
    return AlertEvent(
        mark,
        0,
        move.kind,
        now,
        name,
        policy_hash=_digest(policy),
        subject=reading.subject,
        severity=policy.severity,
        owner=policy.owner,
        runbook=policy.runbook,
        meaning=policy.meaning,
        model=watched.model,
        version=reading.version,
        window=reading.window,
        value=reading.value,
        limit=reading.limit,
        said=reading.said,
        causes=reading.causes,
        notify=notify,
    )


def _unmuted(policies: Mapping[str, PolicyBase], alerts: Iterable[Alert], now: datetime) -> Iterator[AlertEvent]:
    """Mutes that are over while the trouble is not."""
    for alert in alerts:
        if alert.state == "muted" and alert.until is not None and alert.until <= now and alert.opening.policy in policies:
            yield again(alert, "unmuted", now, notify=True, note="the mute is over")


def _abandoned(policies: Mapping[str, PolicyBase], alerts: Iterable[Alert], now: datetime) -> Iterator[AlertEvent]:
    """Alerts of policies that nobody declares any more."""
    for alert in alerts:
        if alert.open and alert.opening.policy not in policies:
            yield again(alert, "resolved", now, notify=alert.until is None, note="its policy is no longer declared")


def _digest(policy: PolicyBase) -> str:
    return hashlib.sha256(json.dumps(policy.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]
