"""How a training is launched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from sparkml_ops.errors import ConfigurationError

__all__ = ["Backend", "LaunchSettings"]

Backend = Literal["horovod", "ddp", "local"]


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Ranks, their backend, and how long to wait for them.

    Args:
        workers: Number of ranks, each in one Spark slot; 1 for `local`.
        backend: `horovod` (Gloo), `ddp` (torch.distributed on Gloo) or `local` (this process, no Spark).
        start_timeout: Seconds until all ranks must have met.
        hang_timeout: Seconds without a report of a rank after which it counts as hanging.
        attempts: Launches in total; a rank that dies (signal, lost executor, hang) costs one, an exception ends the training at once.
        threads: Compute threads of a rank; more threads in all ranks than a host has cores slow each other down.
        interface: Network interface that the ranks listen on; empty: loopback where all share a host, else that of Spark's own address.
        environment: Further environment variables of each rank.

    >>> LaunchSettings(workers=3, backend="local")
    Traceback (most recent call last):
        ...
    sparkml_ops.errors.ConfigurationError: found training.workers=3 with training.backend=local; expected 1 worker; set training.workers=1, or the backend horovod or ddp
    """

    workers: int = 1
    backend: Backend = "horovod"
    start_timeout: float = 120.0
    hang_timeout: float = 600.0
    attempts: int = 3
    threads: int = 1
    interface: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no launch can mean."""
        if self.backend not in get_args(Backend):
            raise ConfigurationError(f"training.backend={self.backend!r}", expected="one of " + ", ".join(get_args(Backend)))
        for name in ("workers", "attempts", "threads", "start_timeout", "hang_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"training.{name}={getattr(self, name)!r}", expected="more than 0")
        if self.backend == "local" and self.workers != 1:
            raise ConfigurationError(
                f"training.workers={self.workers} with training.backend=local",
                expected="1 worker",
                mend="set training.workers=1, or the backend horovod or ddp",
            )
