"""What ranks report while the store of the run's log is away."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest

from sparkml_ops.errors import RetryableError
from sparkml_ops.training.live import Live


@dataclass
class Log:
    """A log that is away for a while."""

    away: bool = False
    asked: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)

    def take(self, number: int) -> None:
        self.asked.append(number)
        if self.away:
            raise RetryableError("no answer")
        self.taken.append(number)


@dataclass
class Clock:
    """Seconds set by the test."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_not_taken_is_logged_at_the_end_in_its_order() -> None:
    """After a try that failed there is none for the pause, then again: what came meanwhile is kept, what comes later goes in at once."""
    log, clock = Log(), Clock()
    live = Live(pause=300, clock=clock)
    for number, (seconds, away) in enumerate([(0, False), (10, True), (20, False), (310, True), (609, False), (610, False)]):
        clock.now, log.away = seconds, away
        live.send(partial(log.take, number))

    assert log.asked == [0, 1, 3, 5]
    assert log.taken == [0, 5]
    live.settle()
    live.settle()
    assert log.taken == [0, 5, 1, 2, 3, 4]


def test_a_log_that_stays_away_is_an_error_at_the_end_only() -> None:
    """The same call may succeed later, and then misses nothing; another fault comes out at once."""
    log = Log(away=True)
    live = Live(clock=Clock())
    live.send(partial(log.take, 0))
    live.send(partial(log.take, 1))

    with pytest.raises(RetryableError, match="no answer"):
        live.settle()
    log.away = False
    live.settle()
    assert log.taken == [0, 1]
    with pytest.raises(KeyError, match="no such run"):
        Live(clock=Clock()).send(_fail)


def _fail() -> None:
    raise KeyError("no such run")
