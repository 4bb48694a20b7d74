"""What a rank's task is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sparkml_ops.errors import ContractError
from sparkml_ops.training.launch.communicator import Communicator

__all__ = ["RankContext", "Task", "call"]


@dataclass(frozen=True)
class RankContext:
    """One rank of one attempt.

    Args:
        communicator: The group, already met.
        attempt: 0 for the first launch; above it, resume from the last checkpoint.
        publish: Puts one report where the driver finds it.
        device: Where torch shall compute: `cpu`, or `cuda`: the one GPU that the rank sees.
    """

    communicator: Communicator
    attempt: int
    publish: Callable[[dict[str, Any]], None]
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def rank(self) -> int:
        """This rank, 0 to size - 1."""
        return self.communicator.rank

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.communicator.size

    def report(self, values: Mapping[str, Any]) -> None:
        """Send JSON-able values to the driver's `on_report`; it also says that this rank is alive.

        The driver sees `values` plus `rank` and `attempt`; reports of one rank arrive in their order.
        """
        self.publish({**values, "rank": self.rank, "attempt": self.attempt})


Task = Callable[[RankContext], bytes | None]


def call(task: Task, context: RankContext) -> bytes | None:
    """Run a task and check what it returns.

    Raises:
        ContractError: The result is neither bytes nor None.
    """
    result = task(context)
    if result is not None and not isinstance(result, bytes):
        raise ContractError(
            f"a task that returned {type(result).__name__}", expected="bytes or None", mend="encode the result, or store it and return its name"
        )
    return result
