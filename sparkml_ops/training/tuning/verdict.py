"""Whether a trial goes on after an epoch: its rank 0 asks by an object, the driver answers by another.

Only the driver knows the other trials. A rank may run anywhere, so both meet under `storage.root`; an answer stays, so a trial that is
started again after it was asked hears the same.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Epoch, Progress

__all__ = ["Asking", "answering"]

_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Asking:
    """What a rank calls after an epoch.

    Args:
        storage: Shared with the driver.
        folder: Prefix of the trial.
        patience: Seconds after which a trial that got no answer goes on.
    """

    storage: Storage
    folder: str
    patience: float

    def __call__(self, history: tuple[Epoch, ...]) -> bool:
        """Whether the training ends here."""
        name = f"{len(history):05d}.json"
        if (said := self._answer(name)) is None:
            self.storage.publish(f"{self.folder}/asked/{name}", Progress(len(history), history=history).to_json(), kind="trial_asked")
        until = time.monotonic() + self.patience
        while said is None and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            said = self._answer(name)
        return bool(said)

    def ended_at(self, epochs: int) -> bool:
        """Whether the trial was told to end after so many epochs."""
        return bool(self._answer(f"{epochs:05d}.json"))

    def _answer(self, name: str) -> bool | None:
        answer = f"{self.folder}/answered/{name}"
        return bool(json.loads(self.storage.read(answer))["stop"]) if self.storage.exists(answer) else None


@contextmanager
def answering(asking: Asking, decide: Callable[[tuple[Epoch, ...]], bool]) -> Iterator[None]:
    """Answer a trial while it runs; what `decide` raises is raised at the end.

    Args:
        decide: Called with all epochs so far: whether the trial ends.
    """
    storage, folder, over = asking.storage, asking.folder, threading.Event()
    faults: list[Exception] = []

    def answer() -> None:
        done: set[str] = set()
        while not over.wait(_LOOK_SECONDS) and not faults:
            try:
                for name in sorted(set(storage.list(f"{folder}/asked")) - done):
                    done.add(name)
                    stop = decide(Progress.from_json(storage.read(name)).history)
                    storage.publish(name.replace("/asked/", "/answered/"), json.dumps({"stop": stop}).encode(), kind="trial_answered")
            except Exception as fault:
                faults.append(fault)

    thread = threading.Thread(target=answer, daemon=True, name=f"answers {folder}")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if faults:
        raise faults[0]
