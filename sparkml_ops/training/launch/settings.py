"""How a training is launched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from sparkml_ops.errors import ConfigurationError

__all__ = ["Backend", "Collectives", "Compression", "Device", "LaunchSettings"]

Backend = Literal["horovod", "ddp", "local"]
Compression = Literal["none", "fp16", "bf16"]
Device = Literal["auto", "cpu", "gpu"]


@dataclass(frozen=True, kw_only=True)
class Collectives:
    """What travels between ranks, in which pieces.

    Args:
        fusion_mib: MiB of gradients that go out together; also Horovod's fusion threshold.
        cycle_ms: Milliseconds of Horovod's cycle.
        compression: Of gradients on their way: 16 bits a value instead of 32 or 64.
        timeline: Publish Horovod's timeline of the attempt.

    >>> Collectives(fusion_mib=0.5).capacity
    524288
    """

    fusion_mib: float = 4.0
    cycle_ms: float = 1.0
    compression: Compression = "none"
    timeline: bool = False

    @property
    def capacity(self) -> int:
        """Bytes of gradients that go out together."""
        return round(self.fusion_mib * 2**20)

    def __post_init__(self) -> None:
        """Refuse what no collective can mean."""
        if self.compression not in get_args(Compression):
            raise ConfigurationError(f"training.collectives.compression={self.compression!r}", expected="one of " + ", ".join(get_args(Compression)))
        for name in ("fusion_mib", "cycle_ms"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"training.collectives.{name}={getattr(self, name)!r}", expected="more than 0")


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Ranks, their backend, and how long to wait for them.

    Args:
        workers: Number of ranks; 1 for `local`.
        ranks_per_task: How many of them a Spark task holds, each with a GPU of its own.
        device: `gpu`, `cpu`, or `auto`: on GPUs where Spark gives its tasks any.
        backend: `horovod` (Gloo), `ddp` (torch.distributed on Gloo) or `local` (this process, no Spark).
        start_timeout: Seconds until all ranks must have met.
        hang_timeout: Seconds without a report of a rank after which it counts as hanging.
        attempts: Launches in total; a rank that dies (signal, lost executor, hang) costs one, an exception ends the training at once.
        threads: Compute threads of a rank; more threads in all ranks than a host has cores slow each other down.
        interface: Network interface that the ranks listen on; empty: loopback where all share a host, else that of Spark's own address.
        collectives: How gradients travel.
        environment: Further environment variables of each rank.

    >>> LaunchSettings(workers=3, backend="local")
    Traceback (most recent call last):
        ...
    sparkml_ops.errors.ConfigurationError: found training.workers=3 with training.backend=local; expected 1 worker; set training.workers=1, or the backend horovod or ddp
    """

    workers: int = 1
    ranks_per_task: int = 1
    device: Device = "auto"
    backend: Backend = "horovod"
    start_timeout: float = 120.0
    hang_timeout: float = 600.0
    attempts: int = 3
    threads: int = 1
    interface: str = ""
    collectives: Collectives = Collectives()
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no launch can mean."""
        if self.backend not in get_args(Backend):
            raise ConfigurationError(f"training.backend={self.backend!r}", expected="one of " + ", ".join(get_args(Backend)))
        for name in ("workers", "ranks_per_task", "attempts", "threads", "start_timeout", "hang_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"training.{name}={getattr(self, name)!r}", expected="more than 0")
        if self.device not in get_args(Device):
            raise ConfigurationError(f"training.device={self.device!r}", expected="one of " + ", ".join(get_args(Device)))
        if self.workers % self.ranks_per_task:
            raise ConfigurationError(
                f"training.workers={self.workers} with tasks of {self.ranks_per_task} GPUs",
                expected="a multiple: each GPU of a task has a rank",
                mend="change training.workers or spark.task.resource.gpu.amount",
            )
        if self.backend == "local" and self.workers != 1:
            raise ConfigurationError(
                f"training.workers={self.workers} with training.backend=local",
                expected="1 worker",
                mend="set training.workers=1, or the backend horovod or ddp",
            )
        if self.collectives.timeline and self.backend != "horovod":
            raise ConfigurationError(
                f"training.collectives.timeline with training.backend={self.backend}",
                expected="the backend horovod, whose timeline it is",
                mend="leave it out",
            )

    @property
    def tasks(self) -> int:
        """Spark tasks that the ranks need at once."""
        return self.workers // self.ranks_per_task
