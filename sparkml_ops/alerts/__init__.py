"""Alerts: from stored figures to somebody who is asked, by policies whose precision is measured."""

from __future__ import annotations

from sparkml_ops.alerts.alert import Alert, State, again, fold
from sparkml_ops.alerts.episodes import Episode, PolicyRecord, Replay, episodes, precision, replay
from sparkml_ops.alerts.judge import Watched, judge, series
from sparkml_ops.alerts.machine import Move, Standing, moves
from sparkml_ops.alerts.outbox import Delivery, claims, deliver, pending
from sparkml_ops.alerts.reading import Reading
from sparkml_ops.alerts.stored import ALERTS_TABLE, AlertEvent, Book, append, fingerprint, read

__all__ = [
    "ALERTS_TABLE",
    "Alert",
    "AlertEvent",
    "Book",
    "Delivery",
    "Episode",
    "Move",
    "PolicyRecord",
    "Reading",
    "Replay",
    "Standing",
    "State",
    "Watched",
    "again",
    "append",
    "claims",
    "deliver",
    "episodes",
    "fingerprint",
    "fold",
    "judge",
    "moves",
    "pending",
    "precision",
    "read",
    "replay",
    "series",
]
