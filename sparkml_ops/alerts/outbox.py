"""What channels have still to be told: kept in the table, claimed by one check, and told until somebody has taken it."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sparkml_ops import clock
from sparkml_ops.alerts.address import Refused
from sparkml_ops.alerts.senders import Notice, send
from sparkml_ops.alerts.stored import AlertEvent, Book, Kind
from sparkml_ops.config.alerts import AlertsSection
from sparkml_ops.config.channels import Channel, WebhookChannel
from sparkml_ops.config.secret import hide_passwords
from sparkml_ops.errors import first_line

__all__ = ["Delivery", "claims", "deliver", "pending"]

_ORDER = ("page", "ticket", "log")
_PAUSE = 0.5  # seconds before the second attempt, twice as long before each further one
_LONGEST = 300


@dataclass(frozen=True)
class Delivery:
    """An event for a channel."""

    event: AlertEvent
    channel: str


def pending(book: Book, settings: AlertsSection, wall: datetime) -> list[Delivery]:
    """What was to be told, was not, and is nobody's at the moment; the gravest first, of one alert in order.

    Args:
        wall: By which a claim of another check is over.
    """
    ends: dict[tuple[str, int | None, str], datetime | None] = {}  # a failure ends its claim: it has no end of its own
    told = set()
    for event in book.events:
        key = (event.fingerprint, event.about, event.channel)
        if event.kind == "delivered":
            told.add(key)
        elif event.kind in ("claimed", "failed"):
            ends[key] = event.until
    found: dict[str, list[Delivery]] = defaultdict(list)
    held: set[tuple[str, str]] = set()
    due = [(event, channel) for event in book.events for channel in event.channels if channel in settings.channels]
    for event, channel in due:
        key = (event.fingerprint, event.number, channel)
        end = ends.get(key)
        if key not in told and ((end is not None and end > wall) or (event.fingerprint, channel) in held):
            held.add((event.fingerprint, channel))  # what comes after it waits too
        elif key not in told:
            found[channel].append(Delivery(event, channel))
    return [item for items in found.values() for item in sorted(items, key=lambda item: _ORDER.index(item.event.severity))]


def claims(deliveries: Iterable[Delivery], settings: AlertsSection, now: datetime, wall: datetime) -> list[AlertEvent]:
    """Events that keep other checks from telling the same until this one has surely ended; of each channel's so many as one check may tell."""
    until, counts, found = wall + timedelta(seconds=2 * settings.delivery_seconds + 60), Counter[str](), []
    for item in deliveries:
        counts[item.channel] += 1
        if counts[item.channel] <= settings.deliveries:
            found.append(_outcome(item, "claimed", now, until=until))
    return found


def deliver(project: str, book: Book, deliveries: Sequence[Delivery], settings: AlertsSection, now: datetime) -> list[AlertEvent]:
    """Tell the channels side by side, and say how it went; raises nothing, and ends in time.

    What is neither taken nor refused when the time is over has no outcome: its claim ends, and a later check tells it again under the same key.
    """
    deadline, by_channel = time.monotonic() + settings.delivery_seconds, defaultdict(list)
    for item in deliveries:
        by_channel[item.channel].append(item)
    opened = {event.fingerprint: event.written_at for event in book.events if event.kind == "opened"}
    tellers = [_Teller(project, settings.channels[name], items, opened, now, deadline) for name, items in by_channel.items()]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join(max(deadline - time.monotonic(), 0.0) + 1.0)
    return [event for teller in tellers for event in tuple(teller.outcomes)]


class _Teller(threading.Thread):
    """Tells one channel; a daemon, for a channel that hangs must not hold the process."""

    def __init__(
        self, project: str, channel: Channel, items: Sequence[Delivery], opened: Mapping[str, datetime | None], now: datetime, deadline: float
    ) -> None:
        super().__init__(daemon=True)
        self._project, self._channel, self._items, self._opened, self._now, self._deadline = project, channel, items, opened, now, deadline
        self.outcomes: list[AlertEvent] = []

    def run(self) -> None:
        """Each event by itself where the channel takes them so, else all in one."""
        parts = [[item] for item in self._items] if isinstance(self._channel, WebhookChannel) else [list(self._items)]
        failed, away = set[str](), ""
        for part in parts:
            said, goes_on = (
                (away, False) if away else self._said(part) if part[0].event.fingerprint not in failed else ("an earlier event failed", True)
            )
            failed |= {item.event.fingerprint for item in part} if said else set()
            away = said if said and not goes_on else away
            self.outcomes += [_outcome(item, "failed" if said else "delivered", self._now, note=said) for item in part]

    def _said(self, part: Sequence[Delivery]) -> tuple[str, bool]:
        """Why some events were not taken, and whether the next ones may fare better; empty where they were."""
        notices = [Notice(self._project, item.event, self._opened.get(item.event.fingerprint) or clock.wall()) for item in part]
        for attempt in range(self._channel.attempts):
            left = self._deadline - time.monotonic()
            if left <= 0:
                return "the check's time for its channels is over", False
            try:
                send(self._channel, notices, min(self._channel.timeout, left))
            except Exception as error:
                said, final = hide_passwords(first_line(error))[:_LONGEST] or type(error).__name__, isinstance(error, Refused) and error.final
                if final or attempt + 1 == self._channel.attempts:
                    return said, final
                time.sleep(min(_PAUSE * 2**attempt, max(self._deadline - time.monotonic(), 0.0)))
            else:
                break
        return "", True


def _outcome(item: Delivery, kind: Kind, now: datetime, *, until: datetime | None = None, note: str = "") -> AlertEvent:
    event = item.event
    return AlertEvent(
        event.fingerprint,
        0,
        kind,
        now,
        event.policy,
        subject=event.subject,
        severity=event.severity,
        channel=item.channel,
        about=event.number,
        until=until,
        note=note,
    )
