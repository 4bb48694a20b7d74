"""Numbers on their way into a run's log while ranks train."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sparkml_ops.errors import RetryableError

__all__ = ["Live"]

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 300.0


class Live:
    """Logs what ranks report, as it comes; a store that is away ends no training and loses no number.

    MLflow itself tries for some minutes before it says that a server does not answer. What was not taken is kept, and for a pause nothing more
    is tried: the driver would hear nothing of its ranks meanwhile, one report after the other. `settle` logs what is kept.

    Args:
        pause: Seconds without a try after one that failed.
        clock: Seconds that never run backwards.
    """

    def __init__(self, pause: float = _PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause, self._clock = pause, clock
        self._kept: list[Callable[[], None]] = []
        self._again = clock()

    def send(self, log: Callable[[], None]) -> None:
        """Log now, or keep it.

        Args:
            log: Logs one thing; the same again changes nothing.
        """
        if self._clock() < self._again:
            self._kept.append(log)
            return
        try:
            log()
        except RetryableError as error:
            _log.warning("training goes on without its log: %s", error)
            self._kept.append(log)
            self._again = self._clock() + self._pause

    def settle(self) -> None:
        """Log what is kept, in its order.

        Raises:
            RetryableError: The store is still away.
        """
        while self._kept:
            self._kept[0]()
            del self._kept[0]
