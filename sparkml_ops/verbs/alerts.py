"""`alerts`: judge the stored figures by the project's policies, and what people say of the alerts."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from feature_store.duration import parse_duration
from sparkml_ops import alerts, clock
from sparkml_ops.alerts import Alert, AlertEvent, Book, Delivery, PolicyRecord, Replay
from sparkml_ops.errors import ConfigurationError, ConflictError, ContractError
from sparkml_ops.logs import logger
from sparkml_ops.verbs.alert_evidence import AlertEvidence
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import instant

__all__ = ["AlertCheck", "acknowledge", "backtest", "check", "find", "mute", "open_alerts", "precision", "resolve", "say"]

_ATTEMPTS = 4


@dataclass(frozen=True)
class AlertCheck:
    """What a check found.

    Args:
        as_of: The clock, ISO 8601.
        policies: That were judged.
        opened: Alerts that it opened, the gravest first.
        resolved: Alerts that it resolved.
        unmuted: Alerts whose mute was over.
        open: How many are open now.
        delivered: What channels took.
        failed: What they did not; the next check tries again.
        waiting: What channels have still to be told, by then or by another check.
    """

    as_of: str
    policies: tuple[str, ...]
    opened: tuple[AlertEvent, ...]
    resolved: tuple[AlertEvent, ...]
    unmuted: tuple[AlertEvent, ...]
    open: int
    delivered: int = 0
    failed: tuple[str, ...] = ()
    waiting: int = 0


def check(work: Work, *, as_of: datetime | str | None = None) -> AlertCheck:
    """Judge what was stored; a repeat finds nothing new and writes nothing.

    Raises:
        ConfigurationError: No policy is declared.
        ContractError: A check with a later clock has written already.
    """
    now = clock.resolve(as_of)
    work.check()
    _declared(work)
    readings = AlertEvidence(work, now).readings()

    def decide(book: Book) -> Sequence[AlertEvent]:
        _in_order(book, now)
        return _addressed(work, tuple(alerts.judge(_watched(work), work.sections.alerts.policies, readings, alerts.fold(book.events), now)))

    book, written = _write(work, decide, now)
    for event in written:
        if event.kind != "claimed":
            logger.warning("alert %s: %s %s, %s: %s", event.fingerprint, event.policy, event.kind, event.severity, event.said)
    opened, resolved, unmuted = (tuple(event for event in written if event.kind == kind) for kind in ("opened", "resolved", "unmuted"))
    return _tell(work, book, written, AlertCheck(now.isoformat(), tuple(work.sections.alerts.policies), opened, resolved, unmuted, _open(book)), now)


def open_alerts(work: Work, *, every: bool = False) -> tuple[Alert, ...]:
    """Alerts that are not resolved, the gravest and then the newest first; with `every` also the others."""
    found = alerts.fold(alerts.read(work.tables, work.config.project).events).values()
    return tuple(sorted((alert for alert in found if every or alert.open), key=_rank))


def find(work: Work, mark: str) -> tuple[Alert, tuple[AlertEvent, ...]]:
    """An alert and all that happened to it.

    Args:
        mark: Its fingerprint, or the beginning.

    Raises:
        ContractError: None begins so, or several do.
    """
    return _one(alerts.read(work.tables, work.config.project), mark)


def acknowledge(work: Work, mark: str, *, note: str = "", as_of: datetime | str | None = None) -> Alert:
    """Somebody looks after it: nothing more is sent but that it is resolved."""
    return _act(work, mark, "acknowledged", clock.resolve(as_of), note=note)


def mute(work: Work, mark: str, *, until: str, note: str = "", as_of: datetime | str | None = None) -> Alert:
    """Nothing is sent of it until an instant, also if it is resolved and opens again.

    Args:
        until: An instant, UTC, or a length of time from the clock on, as `14d`.

    Raises:
        ContractError: The instant is not later than the clock.
    """
    now = clock.resolve(as_of)
    end = now + parse_duration(until) if until[:1].isdigit() and until[-1:].isalpha() and "-" not in until else instant(until)
    if end <= now:
        raise ContractError(
            f"a mute until {end.isoformat()} as of {now.isoformat()}", expected="a later instant, or a length of time", mend="correct --until"
        )
    return _act(work, mark, "muted", now, note=note, until=end)


def resolve(work: Work, mark: str, *, note: str = "", as_of: datetime | str | None = None) -> Alert:
    """A person says that it is over: only a window that has no reading yet opens it again."""
    return _act(work, mark, "resolved", clock.resolve(as_of), note=note)


def say(work: Work, mark: str, verdict: Literal["real", "noise"], *, note: str = "", as_of: datetime | str | None = None) -> Alert:
    """A person says whether its last opening was right: the policy's measured precision."""
    return _act(work, mark, "verdict", clock.resolve(as_of), note=note, verdict=verdict)


def precision(work: Work) -> tuple[PolicyRecord, ...]:
    """How often each policy was right, by the verdicts; those that are no longer declared included."""
    found = alerts.episodes(alerts.read(work.tables, work.config.project).events)
    names = dict.fromkeys([*work.sections.alerts.policies, *(episode.policy for episode in found)])
    return tuple(alerts.precision(name, found) for name in names)


def backtest(work: Work, *, as_of: datetime | str | None = None) -> tuple[Replay, ...]:
    """What the declared policies would have done in the windows that are stored; `--set` tries another policy. Writes nothing.

    Figures of performance are replayed as each measurement knew them; of drift only the newest comparison of a window is stored.

    Raises:
        ConfigurationError: No policy is declared.
    """
    _declared(work)
    readings = AlertEvidence(work, clock.resolve(as_of), every=True).readings()
    stored = alerts.episodes(alerts.read(work.tables, work.config.project).events)
    return alerts.replay(_watched(work), work.sections.alerts.policies, readings, stored)


def _act(work: Work, mark: str, kind: Literal["acknowledged", "muted", "resolved", "verdict"], now: datetime, **changes: Any) -> Alert:
    work.check()
    changed: list[str] = []

    def decide(book: Book) -> Sequence[AlertEvent]:
        alert, _ = _one(book, mark)
        changed[:] = [alert.fingerprint]
        if kind in ("acknowledged", "resolved") and not alert.open:
            raise ContractError(f"alert {alert.fingerprint}, which is resolved", expected="an open one", mend="`sparkml-ops alerts list` shows them")
        newest = _newest_window(work, alert, now) if kind == "resolved" else alert.opening.window
        told = kind == "resolved" and alert.state != "muted"
        return _addressed(work, (alerts.again(alert, kind, now, window=newest, actor=getpass.getuser(), notify=told, **changes),))

    book, written = _write(work, decide, now)
    _tell(work, book, written, AlertCheck(now.isoformat(), (), (), (), (), 0), now)
    return alerts.fold(book.events)[changed[0]]


def _write(work: Work, decide: Callable[[Book], Sequence[AlertEvent]], now: datetime) -> tuple[Book, tuple[AlertEvent, ...]]:
    """Decide and write, with a claim of what is then to be told; when another was faster, once more on what it wrote."""
    settings = work.sections.alerts
    for attempt in range(1, _ATTEMPTS + 1):
        book, wall = alerts.read(work.tables, work.config.project), clock.wall()
        events = decide(book)
        after = replace(book, events=(*book.events, *book.numbered(events)))
        claimed = alerts.claims(alerts.pending(after, settings, wall), settings, now, wall)
        try:
            written = alerts.append(work.tables, book, (*events, *claimed))
        except ConflictError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return written, written.events[len(book.events) :]
    raise AssertionError("not reached")


def _tell(work: Work, book: Book, written: Sequence[AlertEvent], found: AlertCheck, now: datetime) -> AlertCheck:
    """Tell the channels what this call has claimed, and enter how it went: neither ends the call with an error."""
    settings, by_id = work.sections.alerts, {(event.fingerprint, event.number): event for event in book.events}
    mine = [
        Delivery(by_id[event.fingerprint, event.about], event.channel) for event in written if event.kind == "claimed" and event.about is not None
    ]
    outcomes = alerts.deliver(work.config.project, book, mine, settings, now)
    for _ in range(_ATTEMPTS):
        try:
            book = alerts.append(work.tables, alerts.read(work.tables, work.config.project), outcomes) if outcomes else book
        except ConflictError:
            continue
        break
    else:
        logger.warning("alerts: what was delivered could not be entered; it is told once more under the same keys")
    failed = tuple(f"{event.channel}: {event.fingerprint}#{event.about}: {event.note}" for event in outcomes if event.kind == "failed")
    for line in failed:
        logger.warning("alerts: not delivered by %s", line)
    delivered = sum(event.kind == "delivered" for event in outcomes)
    waiting = len(alerts.pending(book, settings, datetime.max.replace(tzinfo=now.tzinfo)))
    return replace(found, delivered=delivered, failed=failed, waiting=waiting)


def _addressed(work: Work, events: Sequence[AlertEvent]) -> tuple[AlertEvent, ...]:
    """With the channels that are to be told; one that is declared later is not told of the past."""
    return tuple(replace(event, channels=work.sections.alerts.told(event.policy)) if event.notify else event for event in events)


def _open(book: Book) -> int:
    return sum(alert.open for alert in alerts.fold(book.events).values())


def _one(book: Book, mark: str) -> tuple[Alert, tuple[AlertEvent, ...]]:
    found = alerts.fold(book.events)
    matching = [name for name in found if name.startswith(mark)]
    if len(matching) != 1 or not mark:
        raise ContractError(
            f"the alert {mark!r}, which {len(matching)} of {len(found)} begin with",
            expected="the fingerprint of one alert, or its beginning",
            mend="`sparkml-ops alerts list --all` shows them",
        )
    return found[matching[0]], tuple(event for event in book.events if event.fingerprint == matching[0])


def _newest_window(work: Work, alert: Alert, now: datetime) -> str:
    """The newest window that the policy has a reading of: what a person has seen when resolving."""
    opening, policy = alert.opening, work.sections.alerts.policies.get(alert.opening.policy)
    if policy is None:
        return opening.window
    readings = AlertEvidence(work, now).readings()[opening.policy]
    found = alerts.series(policy, readings, now).get(opening.subject, [])
    return found[-1].window if found else opening.window


def _in_order(book: Book, now: datetime) -> None:
    """Refuse a clock that goes back behind what a check decided."""
    later = [event for event in book.events if event.kind in ("opened", "resolved", "unmuted") and not event.actor and event.at > now]
    if later:
        raise ContractError(
            f"a check as of {now.isoformat()}, after one as of {later[-1].at.isoformat()}",
            expected="a clock that goes forward",
            mend="use a later --as-of; `sparkml-ops alerts backtest` looks at the past",
        )


def _declared(work: Work) -> None:
    if not work.sections.alerts.policies:
        raise ConfigurationError(
            "no alert policy",
            expected="a policy under alerts.policies",
            mend="declare one; docs/guides/alarms_that_people_trust.md begins with three",
        )


def _watched(work: Work) -> alerts.Watched:
    return alerts.Watched(work.config.project, work.sections.release.model)


def _rank(alert: Alert) -> tuple[int, float]:
    return ("page", "ticket", "log").index(alert.opening.severity), -alert.opening.at.timestamp()
