"""How often an alert was right: its episodes with their verdicts, the precision of each policy, and what a policy would have done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sparkml_ops.alerts.alert import fold
from sparkml_ops.alerts.judge import Watched, judge
from sparkml_ops.alerts.reading import Reading
from sparkml_ops.alerts.stored import AlertEvent, Book
from sparkml_ops.config.alerts import PolicyBase
from sparkml_ops.window import Window

__all__ = ["Episode", "PolicyRecord", "Replay", "episodes", "precision", "replay"]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Episode:
    """One time that an alert was open.

    Args:
        window: The one that opened it.
        last: The one that resolved it, or empty while it is open.
        opened_at: Clock of the check, UTC.
        resolved_at: None while it is open.
        delay: Seconds from the window's end to the opening.
        verdict: `real`, `noise`, or nothing.
    """

    fingerprint: str
    policy: str
    subject: str
    window: str
    last: str
    opened_at: datetime
    resolved_at: datetime | None
    delay: float
    verdict: str = ""

    def overlaps(self, other: Episode) -> bool:
        """Whether both are about the same trouble at the same time."""
        if self.fingerprint != other.fingerprint:
            return False
        (start, end), (first, past) = self._span(), other._span()
        return start < past and first < end

    def _span(self) -> tuple[datetime, datetime]:
        """From the window that opened it to the one that resolved it; a person may do so before another window has come."""
        window = Window.parse(self.window)
        return window.start, max(Window.parse(self.last).start, window.end) if self.last else datetime.max.replace(tzinfo=window.start.tzinfo)


@dataclass(frozen=True)
class PolicyRecord:
    """How often a policy was right, by what people said.

    Args:
        episodes: How often it opened an alert.
        real: Of these, those that people called real.
        noise: Those that they called noise.
        precision: Share of real among the judged; None before the first verdict.
        lower: End of its interval at 95 % (Wilson, 1927).
        upper: The other end.
    """

    policy: str
    episodes: int
    real: int
    noise: int
    precision: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class Replay:
    """What a policy would have done.

    Args:
        record: With the verdicts of those stored episodes that overlap.
        missed: Stored episodes called real that it would not have opened.
        weekly: Episodes in a week of the time looked at.
        delay: Mean seconds from the end of a window to the opening with it; None where it never opened.
        episodes: One by one.
    """

    record: PolicyRecord
    missed: int
    weekly: float
    delay: float | None
    episodes: tuple[Episode, ...]


def episodes(events: Iterable[AlertEvent]) -> tuple[Episode, ...]:
    """Each time that an alert was open, in the order of the openings."""
    found: list[Episode] = []
    newest: dict[str, int] = {}
    for event in events:
        if event.kind == "opened":
            newest[event.fingerprint] = len(found)
            delay = (event.at - Window.parse(event.window).end).total_seconds()
            found.append(Episode(event.fingerprint, event.policy, event.subject, event.window, "", event.at, None, delay))
        elif (place := newest.get(event.fingerprint)) is not None:
            if event.kind == "resolved" and found[place].resolved_at is None:
                found[place] = replace(found[place], last=event.window, resolved_at=event.at)
            elif event.kind == "verdict":
                found[place] = replace(found[place], verdict=event.verdict)
    return tuple(found)


def precision(policy: str, found: Sequence[Episode]) -> PolicyRecord:
    """How often the episodes of a policy were real.

    >>> from datetime import UTC
    >>> at = datetime(2013, 8, 1, tzinfo=UTC)
    >>> found = [Episode("f", "late", "", "2013-07", "", at, None, 0.0, verdict) for verdict in ("real", "real", "noise", "")]
    >>> record = precision("late", found)
    >>> record.real, record.noise, round(record.precision, 3)
    (2, 1, 0.667)
    """
    from scipy.stats import binomtest

    mine = [episode for episode in found if episode.policy == policy]
    real, noise = (sum(episode.verdict == verdict for episode in mine) for verdict in ("real", "noise"))
    if real + noise == 0:
        return PolicyRecord(policy, len(mine), 0, 0, None, None, None)
    interval = binomtest(real, real + noise).proportion_ci(_CONFIDENCE, method="wilson")
    return PolicyRecord(policy, len(mine), real, noise, real / (real + noise), float(interval.low), float(interval.high))


def replay(
    watched: Watched, policies: Mapping[str, PolicyBase], readings: Mapping[str, Sequence[Reading]], stored: Sequence[Episode]
) -> tuple[Replay, ...]:
    """Judge past windows once more, at each instant at which one was measured, by what was known then.

    Args:
        readings: By name of the policy, every measurement of every window.
        stored: Episodes that happened, with their verdicts.
    """
    clocks = sorted({reading.known for found in readings.values() for reading in found})
    book = Book(watched.project, 0, ())
    for now in clocks:
        events = tuple(judge(watched, policies, readings, fold(book.events), now))
        book = replace(book, events=(*book.events, *book.numbered(events)))
    simulated = episodes(book.events)
    weeks = max((clocks[-1] - clocks[0]).total_seconds() / 604_800, 1.0) if clocks else 1.0
    return tuple(_replayed(name, simulated, stored, weeks) for name in policies)


def _replayed(policy: str, simulated: Sequence[Episode], stored: Sequence[Episode], weeks: float) -> Replay:
    mine = tuple(_with_verdict(episode, stored) for episode in simulated if episode.policy == policy)
    real = [episode for episode in stored if episode.policy == policy and episode.verdict == "real"]
    missed = sum(not any(found.overlaps(episode) for found in mine) for episode in real)
    delay = sum(episode.delay for episode in mine) / len(mine) if mine else None
    return Replay(precision(policy, mine), missed, len(mine) / weeks, delay, mine)


def _with_verdict(episode: Episode, stored: Sequence[Episode]) -> Episode:
    said = [other.verdict for other in stored if other.verdict and episode.overlaps(other)]
    return replace(episode, verdict=said[-1] if said else "")
