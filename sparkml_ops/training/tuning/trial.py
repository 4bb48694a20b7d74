"""One trial of a study, and the objects of a study under `storage.root`.

`<study>/trials/<number>/begun.json` holds what a trial tries, `finished.json` how it ended. Both are put once and whole, so a study
that was killed is known from them: what is finished stays, what has begun goes on from its checkpoints.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Epoch

__all__ = ["FORMAT", "StudyFolder", "Trial", "best_trial", "figure", "ranked"]

FORMAT = 1


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Args:
        number: Counted from 0 in the order in which trials began.
        params: Dotted key of the configuration to the value that was tried.
        state: `complete`, `pruned` (stopped early) or `failed` (its training broke down).
        value: The metric of the epoch whose weights would be kept; None unless it is complete.
        epochs: The metric after each epoch that was trained; None where it does not exist.
        seconds: Duration of its training.
        elapsed: Duration of the study when it ended, in seconds, over all its starts.
        reason: Why it failed, or was stopped where the pruner had not asked for it.
    """

    number: int
    params: Mapping[str, Any]
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    epochs: tuple[float | None, ...]
    seconds: float
    elapsed: float
    reason: str = ""

    def to_json(self) -> bytes:
        """A document that `from_json` reads back exactly."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Trial:
        """Read a document.

        Raises:
            ContractError: It is of another format.
        """
        document = _checked(data)
        return cls(**{**document, "epochs": tuple(document["epochs"])})


@dataclass(frozen=True)
class StudyFolder:
    """The objects of a study.

    Args:
        storage: Where they lie.
        folder: Their common prefix.
    """

    storage: Storage
    folder: str

    def of(self, number: int) -> str:
        """Prefix of the objects of a trial."""
        return f"{self.folder}/trials/{number:05d}"

    def begin(self, number: int, params: Mapping[str, Any]) -> None:
        """Say what a trial tries, before it does."""
        document = {"format": FORMAT, "params": dict(params)}
        self.storage.publish(f"{self.of(number)}/begun.json", json.dumps(document, sort_keys=True, allow_nan=False).encode(), kind="trial_begun")

    def finish(self, trial: Trial) -> None:
        """Say how a trial ended, then drop what only going on with it would need."""
        self.storage.publish(f"{self.of(trial.number)}/finished.json", trial.to_json(), kind="trial_finished")
        self.clear(trial.number)

    def keep_model(self, number: int, spec: ModelSpec, weights: dict[str, torch.Tensor]) -> None:
        """Keep the model of a trial; it counts when the trial is finished."""
        with TemporaryDirectory() as scratch:
            artifact.save(Path(scratch), spec, weights)
            for path in sorted(Path(scratch).iterdir()):
                self.storage.publish_file(f"{self.model(number)}/{path.name}", path, kind="trial_model")

    def model(self, number: int) -> str:
        """Storage folder of the model of a trial, where it is kept."""
        return f"{self.of(number)}/model"

    def clear(self, number: int) -> None:
        """Drop the checkpoints of a trial and what was asked in it."""
        for part in ("checkpoints", "asked", "answered"):
            self.storage.remove(f"{self.of(number)}/{part}")

    def read(self) -> tuple[tuple[Trial, ...], dict[int, Mapping[str, Any]]]:
        """Finished trials in order, and what those that only began try; of finished ones nothing else is left over."""
        names: dict[int, set[str]] = {}
        for name in self.storage.list(f"{self.folder}/trials"):
            if found := re.fullmatch(rf"{re.escape(self.folder)}/trials/(\d+)/([^/]+)(/.*)?", name):
                names.setdefault(int(found[1]), set()).add(found[2])
        finished, begun = [], {}
        for number, parts in sorted(names.items()):
            if "finished.json" in parts:
                finished.append(Trial.from_json(self.storage.read(f"{self.of(number)}/finished.json")))
                if parts & {"checkpoints", "asked", "answered"}:
                    self.clear(number)
            elif "begun.json" in parts:
                begun[number] = _checked(self.storage.read(f"{self.of(number)}/begun.json"))["params"]
        return tuple(finished), begun


def figure(epoch: Epoch, metric: str) -> float | None:
    """The metric of an epoch; None where it is no finite number.

    >>> figure(Epoch(0, 0.5, 0.4, None, 1.0, 0.0, 0.0, 0.0), "validation_loss")
    0.4
    """
    value = getattr(epoch, metric)
    return float(value) if value is not None and math.isfinite(value) else None


def ranked(trials: Sequence[Trial], direction: str) -> list[Trial]:
    """The complete trials, the best first; of equal ones the earlier."""
    sign = 1 if direction == "minimize" else -1
    return sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def best_trial(trials: Sequence[Trial], direction: str) -> Trial:
    """The best complete trial.

    Raises:
        ContractError: None is complete.
    """
    if found := ranked(trials, direction):
        return found[0]
    reasons = sorted({trial.reason for trial in trials if trial.reason})
    raise ContractError(
        f"{len(trials)} trials of which none is complete{': ' if reasons else ''}{'; '.join(reasons[:3])}",
        expected="at least one",
        mend="narrow tuning.space, or allow more trials or minutes",
    )


def _checked(data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(data)
    if (found := document.pop("format", None)) != FORMAT:
        raise ContractError(f"a trial of format {found}", expected=f"format {FORMAT}", mend="finish the study with the version that began it")
    return document
