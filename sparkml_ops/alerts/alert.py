"""An alert as its events left it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sparkml_ops.alerts.machine import Standing
from sparkml_ops.alerts.stored import AlertEvent, Kind
from sparkml_ops.window import Window

__all__ = ["Alert", "State", "again", "fold"]

State = Literal["open", "acknowledged", "muted", "resolved"]


@dataclass(frozen=True)
class Alert:
    """One piece of trouble, whatever became of it.

    Args:
        opening: The event that opened it last.
        last: The newest event that changed it.
        state: What it is in.
        until: End of its mute; None: it is not muted.
        episodes: How often it was opened.
        verdict: What a person said of the last time: `real`, `noise`, or nothing.
        resolved: The event that resolved it last.
    """

    opening: AlertEvent
    last: AlertEvent
    state: State
    until: datetime | None = None
    episodes: int = 1
    verdict: str = ""
    resolved: AlertEvent | None = None

    @property
    def fingerprint(self) -> str:
        """What it is about."""
        return self.opening.fingerprint

    @property
    def open(self) -> bool:
        """Whether it is not resolved."""
        return self.state != "resolved"

    @property
    def standing(self) -> Standing:
        """Where the state machine goes on."""
        newest = max((event.window for event in (self.opening, self.last, self.resolved) if event and event.window), key=_end, default="")
        resolved = self.resolved.window if self.resolved else ""
        return Standing(self.open, _end(newest) if newest else None, self.opening.at, _end(resolved) if resolved else None)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types."""
        shown = (
            "fingerprint",
            "policy",
            "subject",
            "severity",
            "owner",
            "runbook",
            "meaning",
            "model",
            "version",
            "window",
            "value",
            "limit",
            "said",
            "causes",
        )
        return {
            "state": self.state,
            "until": self.until,
            "opened_at": self.opening.at,
            "resolved_at": None if self.resolved is None or self.open else self.resolved.at,
            "episodes": self.episodes,
            "verdict": self.verdict,
            **{name: getattr(self.opening, name) for name in shown},
        }


def fold(events: Iterable[AlertEvent]) -> dict[str, Alert]:
    """The alerts that some events made, by fingerprint, in the order in which they were first opened."""
    found: dict[str, Alert] = {}
    for event in events:
        alert = found.get(event.fingerprint)
        if event.kind == "opened":
            found[event.fingerprint] = _opened(alert, event)
        elif alert is not None and event.kind not in ("claimed", "delivered", "failed"):
            found[event.fingerprint] = _changed(alert, event)
    return found


def again(alert: Alert, kind: Kind, at: datetime, **changes: Any) -> AlertEvent:
    """A further event of an alert, with what it was opened by."""
    plain: dict[str, Any] = {"notify": False, "channels": (), "actor": "", "note": "", "until": None, "written_at": None, **changes}
    return replace(alert.opening, number=0, kind=kind, at=at, **plain)


def _opened(before: Alert | None, event: AlertEvent) -> Alert:
    """Anew: an earlier mute that still runs goes on."""
    until = before.until if before is not None and before.until is not None and before.until > event.at else None
    episodes, resolved = (0, None) if before is None else (before.episodes, before.resolved)
    return Alert(event, event, "open" if until is None else "muted", until, episodes + 1, "", resolved)


def _changed(alert: Alert, event: AlertEvent) -> Alert:
    if event.kind == "verdict":
        return replace(alert, verdict=event.verdict)
    if event.kind == "muted":
        return replace(alert, last=event, until=event.until, state="muted" if alert.open else alert.state)
    if event.kind == "unmuted":
        return replace(alert, last=event, until=None, state="open" if alert.open else alert.state)
    if event.kind == "acknowledged":
        return replace(alert, last=event, state="acknowledged", until=None)
    return replace(alert, last=event, state="resolved", resolved=event)


def _end(window: str) -> datetime:
    return Window.parse(window).end
