"""How a launch ends badly."""

from __future__ import annotations

from functools import partial

from sparkml_ops.errors import OpsError, RetryableError

__all__ = ["PeerLost", "RankFailed", "StartTimeout"]


class RankFailed(OpsError):
    """A rank's task raised, or ranks died more often than `attempts` allows (exit code 5).

    Args:
        rank: The failing rank; -1 where Spark ended the stage without naming one.
        kind: How it ended: `raised`, `died`, `hung`, `lost` or `refused`, as in `Outcome`.
        type: Name of the rank's own exception, or of the signal that ended it.
        message: The exception's message.
        traceback: The rank's own traceback; of a hanging rank its stacks, of a dead one the end of its error output.
    """

    def __init__(
        self,
        found: str,
        *,
        expected: str = "",
        mend: str = "",
        rank: int = -1,
        kind: str = "raised",
        type: str = "",
        message: str = "",
        traceback: str = "",
    ) -> None:
        self.rank, self.kind, self.type, self.message, self.traceback = rank, kind, type, message, traceback
        super().__init__(found, expected=expected, mend=mend)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between processes, all fields included."""
        return (partial(type(self), self.found, **{name: value for name, value in vars(self).items() if name != "found"}), ())


class StartTimeout(RetryableError, TimeoutError):
    """The ranks did not meet in time, mostly for want of free slots; the same call may succeed later (exit code 4)."""


class PeerLost(RetryableError, ConnectionError):
    """A collective broke because another rank is gone; that rank's own end is the cause."""
