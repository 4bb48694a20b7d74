"""The identity of a piece of work: what makes a second run of it a repeat."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RunKey"]


@dataclass(frozen=True)
class RunKey:
    """(verb, project, target, window, slot, generation): resolved models and versions are results, not part of it.

    >>> RunKey("score", "flights", "flights_scores", window="2013-07", slot="champion").text
    'score/flights/flights_scores/2013-07/champion/0'
    """

    verb: str
    project: str
    target: str
    window: str = ""
    slot: str = ""
    generation: int = 0

    @property
    def text(self) -> str:
        """The key as one line, for a log and for the ledger."""
        return "/".join((self.verb, self.project, self.target, self.window or "-", self.slot or "-", str(self.generation)))
