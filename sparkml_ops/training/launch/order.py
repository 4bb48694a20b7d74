"""What a rank's process is told when it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from sparkml_ops.training.launch.settings import Backend, Collectives

__all__ = ["Order"]


@dataclass(frozen=True)
class Order:
    """One rank of one attempt; the task itself follows as bytes.

    Args:
        storage: Root of the storage.
        threads: Compute threads.
        host: Address of rank 0.
        port: Port of rank 0's store (`ddp`).
        listener: File descriptor on which rank 0 already listens there; -1 elsewhere.
        timeout: Seconds that a collective may take; longer than the hang timeout, which speaks first.
        collectives: How gradients travel.
        gpu: Whether the rank computes on the GPU that it sees.
    """

    backend: Backend
    rank: int
    size: int
    attempt: int
    run: str
    storage: str
    threads: int
    host: str
    port: int
    listener: int
    timeout: float
    collectives: Collectives = field(default_factory=Collectives)
    gpu: bool = False

    def to_json(self) -> bytes:
        """As one JSON object."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """Read what `to_json` wrote."""
        found = json.loads(data)
        return cls(**{**found, "collectives": Collectives(**found["collectives"])})
