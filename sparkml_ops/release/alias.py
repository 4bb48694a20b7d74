"""Where the champion's alias is in MLflow, beside what its events say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from feature_store.delta import Tables
from sparkml_ops.errors import ContractError
from sparkml_ops.release.events import CHAMPION, ModelEvent, history
from sparkml_ops.tracking import Registry

__all__ = ["FOLLOWS", "AliasState", "alias_state"]

# Tag of the registered model: the event that its alias follows.
FOLLOWS = f"sparkml_ops.{CHAMPION}.event"


@dataclass(frozen=True)
class AliasState:
    """The alias as it is found.

    Args:
        model: Registered name.
        last: The last event; None before the first.
        version: What the alias means now; None where there is no alias.
        state: `none` before the first champion, `follows` its last event, `cut off` where the move of that event was
            not finished (the next one finishes it), `by hand` where no event put it.
    """

    model: str
    last: ModelEvent | None
    version: int | None
    state: Literal["none", "follows", "cut off", "by hand"]

    def refusal(self) -> ContractError:
        """What there is to say about an alias that somebody moved or deleted."""
        last = self.last
        recorded = "none" if last is None else f"version {last.to_version} (event {last.id}, {last.reason} at {last.at:%Y-%m-%d %H:%M} UTC)"
        place = "no version" if self.version is None else f"version {self.version}"
        again = (
            "set it again in MLflow, or accept that it is gone with `sparkml-ops reconcile`; then `sparkml-ops rollback` makes it the champion again"
        )
        return ContractError(
            f"{self.model}@{CHAMPION} at {place}, moved by hand in MLflow",
            expected=f"what the last event says: {recorded}",
            mend=again if self.version is None else "move it back in MLflow, or accept it with `sparkml-ops reconcile`",
        )


def alias_state(tables: Tables, tracking: Registry, model: str) -> AliasState:
    """Compare the champion's alias with its events; nothing is written, and Spark is not needed.

    Raises:
        ContractError: The model has events and is not in the registry, or the store cannot be used.
        RetryableError: A server does not answer.
    """
    events, found = history(tables, model), tracking.alias(model, CHAMPION)
    last = events[-1] if events else None
    if last is None:
        return AliasState(model, last, found, "none" if found is None else "by hand")
    if found == last.to_version:
        return AliasState(model, last, found, "follows")
    # Still where it was before the last event, and never seen to follow it: a process was killed in between.
    cut_off = found == last.from_version and tracking.note(model, FOLLOWS) != last.id
    return AliasState(model, last, found, "cut off" if cut_off else "by hand")
