"""How predictions of one kind of model are counted against the truth: what a task makes of some rows, and what merges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.monitoring.money import Money
from sparkml_ops.performance.scores import ScoreCounts

__all__ = ["Binary", "Kind", "State", "floats"]


class State(Protocol):
    """Counts and sums over rows; parts merge."""

    def merge(self, other: Self) -> Self:
        """Both parts of the rows together."""
        ...

    def to_bytes(self) -> bytes:
        """For the way between processes."""
        ...


class Kind(Protocol):
    """How the predictions of one kind of model are counted; shipped to the executors."""

    def scored(self, window: str, scored: pa.Table) -> State:
        """All rows with a prediction, whatever their label."""
        ...

    def labelled(self, known: pa.Table) -> State:
        """Those whose truth is known."""
        ...

    def money(self, known: pa.Table) -> Money:
        """What these are about, and what they brought."""
        ...

    def empty(self) -> tuple[State, State]:
        """No rows, scored and labelled."""
        ...

    def read(self, scored: bytes, labelled: bytes) -> tuple[State, State]:
        """What `to_bytes` of both wrote."""
        ...


@dataclass(frozen=True)
class Binary:
    """A model that gives the probability of label 1, counted by score.

    Args:
        threshold: Score from which a row is decided for 1.
        priced: Whether rows have amounts or rewards.
    """

    threshold: float = 0.5
    priced: bool = False

    def scored(self, window: str, scored: pa.Table) -> ScoreCounts:  # noqa: ARG002 -- scores count alike in every window
        """All rows count as label 0."""
        scores = floats(scored.column("score"))
        return ScoreCounts.of(scores, np.zeros(len(scores), np.int64))

    def labelled(self, known: pa.Table) -> ScoreCounts:
        """By score and label."""
        return ScoreCounts.of(floats(known.column("score")), floats(known.column("label")).astype(np.int64))

    def money(self, known: pa.Table) -> Money:
        """By label and decision."""
        if not self.priced:
            return Money()
        decided = floats(known.column("score")) >= self.threshold
        return Money.of(floats(known.column("label")), decided, floats(known.column("amount")), floats(known.column("reward")))

    def empty(self) -> tuple[ScoreCounts, ScoreCounts]:
        """No rows."""
        return ScoreCounts.empty(), ScoreCounts.empty()

    def read(self, scored: bytes, labelled: bytes) -> tuple[ScoreCounts, ScoreCounts]:
        """Both."""
        return ScoreCounts.from_bytes(scored), ScoreCounts.from_bytes(labelled)


def floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """A column's numbers; a null is NaN."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(), np.float64)
