"""What a commit is, and the note by which its writer finds it again.

A commit carries a JSON document in its user metadata: a token that finds the version again,
the transaction it was, and details that the caller wants to find after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import deltalake

from feature_store.records import Snapshot

__all__ = ["Commit", "Transaction", "history", "notes"]


@dataclass(frozen=True)
class Transaction:
    """A write that must land once.

    Args:
        app: Names the unit of work: target, window, slot, generation.
        version: Above the last landed one of the same `app`, else Delta skips the write.
    """

    app: str
    version: int = 1


@dataclass(frozen=True)
class Commit:
    """A landed commit.

    Args:
        snapshot: The version that it made.
        details: What its writer recorded in it.
        fresh: False where the transaction had landed before and this call wrote nothing.
    """

    snapshot: Snapshot
    details: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = True


def history(log: deltalake.DeltaTable, limit: int | None) -> list[dict[str, Any]]:
    """What the log tells of its last commits, newest first, each with its `version`; the log is then the newest.

    The library counts the versions down from the one that it has loaded, also where others have landed since, which it lists too: so they
    are counted anew until none has come in between.

    Args:
        limit: How many commits to look at; None: all.
    """
    while True:
        loaded = log.version()
        found = log.history(limit)
        log.update_incremental()
        if log.version() == loaded:
            return found


def notes(log: deltalake.DeltaTable, *, limit: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Versions with our notes, newest first; `limit` is how many commits to look at, None all."""
    for entry in history(log, limit):
        try:
            note = json.loads(entry.get("userMetadata") or "null")
        except ValueError:
            continue
        if isinstance(note, dict) and "token" in note:
            yield int(entry["version"]), note
