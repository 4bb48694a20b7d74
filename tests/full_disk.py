"""A disk that fills up in the middle of a training; a module of its own, since ranks import it."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparkml_ops.training.checkpoint import Epoch
from sparkml_ops.training.loop import _BEAT_SECONDS

__all__ = ["FillUp"]


@dataclass(frozen=True)
class FillUp:
    """What rank 0 asks after each epoch: after the first it once takes all room for the next checkpoint.

    Args:
        disk: A small disk; None: a limit on the size of the rank's files takes its place.
        done: Marks that this has happened.
    """

    disk: Path | None
    done: Path

    def __call__(self, history: tuple[Epoch, ...]) -> bool:
        if not self.done.exists():
            self.done.touch()
            if self.disk is None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
            else:
                with suppress(OSError), (self.disk / "ballast").open("wb", buffering=0) as ballast:
                    while True:
                        ballast.write(bytes(4096))
            time.sleep(_BEAT_SECONDS)  # the next step of each rank says that it is alive, for which there is no room
        return False
