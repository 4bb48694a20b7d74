"""Where a run stands, published so that any number of workers can go on from there.

`<run>/checkpoints/<epoch>-<step>/state.safetensors`, then `manifest.json`: the checkpoint counts when the manifest is there and the state is the
one that it names. A run goes on from the newest that counts.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.optim import Optimizer

from sparkml_ops.errors import ContractError
from sparkml_ops.model.module import DRAWING
from sparkml_ops.storage import Storage
from sparkml_ops.training.scaling import LossScale

__all__ = ["Checkpoints", "Epoch", "Progress", "best_epoch", "load_moments"]

FORMAT = 1
_log = logging.getLogger(__name__)
_MANIFEST = "manifest.json"
_STATE = "state.safetensors"
_SCALE = "loss_scale"


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; losses are means over rows, in the unit of the task's objective.

    Args:
        epoch: Counted from 0.
        train_loss: Of the train split while its weights moved, dropout included.
        validation_loss: Of the validation split after the epoch; None without such rows.
        validation_auc: Likewise, of a binary model.
        rows_per_second: Rows of the train split a second, all workers together.
        read_seconds: Time waiting for rows, on average over the ranks.
        compute_seconds: Time in forward, backward and update, likewise.
        communicate_seconds: Time waiting for other ranks, likewise.
        peak_memory_mib: Most memory of a rank's process so far, of the rank with the most; None in checkpoints of earlier versions.
        validation_recall_at_10: Share of the validation rows whose item is among the first ten of the catalogue, of a retrieval.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    validation_auc: float | None
    rows_per_second: float
    read_seconds: float
    compute_seconds: float
    communicate_seconds: float
    peak_memory_mib: float | None = None
    validation_recall_at_10: float | None = None


@dataclass(frozen=True)
class Progress:
    """A place in a run: the next step to do, and what was before it.

    Args:
        epoch: Epoch of the next step.
        step: The next step; 0 at the start of an epoch.
        loss: Sum of losses of this epoch's earlier steps, over all workers.
        history: Finished epochs.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    history: tuple[Epoch, ...] = ()

    @property
    def name(self) -> str:
        """Name of its checkpoint; names sort as places do."""
        return f"{self.epoch:05d}-{self.step:09d}"

    def to_json(self) -> bytes:
        """A document that `from_json` reads back exactly."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Progress:
        """Read a document.

        Raises:
            ContractError: It is of another format.
        """
        document: dict[str, Any] = json.loads(data)
        document.pop("state", None)
        if (found := document.pop("format")) != FORMAT:
            raise ContractError(f"progress of format {found}", expected=f"format {FORMAT}", mend="finish the run with the version that began it")
        return cls(**{**document, "history": tuple(Epoch(**epoch) for epoch in document["history"])})


def best_epoch(history: tuple[Epoch, ...], keep: str) -> Epoch:
    """The epoch whose weights are kept: the first of the lowest validation loss, or the last.

    >>> epochs = tuple(Epoch(index, 0.5, loss, 0.7, 1.0, 0.0, 0.0, 0.0) for index, loss in enumerate((0.5, 0.4, 0.45)))
    >>> best_epoch(epochs, "best").epoch, best_epoch(epochs, "last").epoch
    (1, 2)
    """
    losses = [epoch.validation_loss for epoch in history if epoch.validation_loss is not None]
    return history[losses.index(min(losses))] if keep == "best" and losses else history[-1]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        storage: Where they lie.
        folder: Their common prefix.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder

    def newest(self) -> Progress | None:
        """The place of the newest checkpoint whose state is whole, or None."""
        for name in reversed(self._names()):
            try:
                self._read(name)
            except (ContractError, FileNotFoundError) as error:
                _log.warning("checkpoint %s is left out: %s", name, error)
            else:
                return self._at(name)
        return None

    def at(self, epoch: int, step: int) -> Progress:
        """A place whose checkpoint is known to be there."""
        return self._at(Progress(epoch, step).name)

    def publish(self, progress: Progress, model: nn.Module, optimizer: Optimizer, scale: LossScale | None = None, *, keep: frozenset[str]) -> None:
        """Publish a checkpoint and drop older ones.

        Args:
            scale: Of a training in half precision.
            keep: Names of older checkpoints that stay, beside the one before this.
        """
        base = f"{self._folder}/{progress.name}"
        state = safetensors.torch.save({**dict(_tensors(model, optimizer)), **({} if scale is None else {_SCALE: scale.state()})})
        manifest = {**json.loads(progress.to_json()), "state": _mark(state)}
        self._storage.publish(f"{base}/{_STATE}", state, kind="checkpoint")
        self._storage.publish(f"{base}/{_MANIFEST}", json.dumps(manifest, sort_keys=True).encode(), kind="checkpoint_manifest")
        for name in self._names()[:-2]:
            if name not in keep:
                # The manifest first: what is left in between is no checkpoint.
                self._storage.remove(f"{self._folder}/{name}/{_MANIFEST}")
                self._storage.remove(f"{self._folder}/{name}")

    def restore(self, progress: Progress, model: nn.Module, optimizer: Optimizer, scale: LossScale | None = None) -> None:
        """Put model, optimiser, the factor of half precision and torch's random state back to a place."""
        tensors = self._read(progress.name)
        model.load_state_dict(_under(tensors, "model."))
        load_moments(optimizer, _under(tensors, "optimizer."))
        if scale is not None and _SCALE in tensors:
            scale.restore(tensors[_SCALE])
        with DRAWING:
            torch.set_rng_state(tensors["rng"])

    def weights(self, progress: Progress) -> dict[str, torch.Tensor]:
        """The model's weights at a place."""
        return _under(self._read(progress.name), "model.")

    def moments(self, progress: Progress) -> bytes:
        """The optimiser's state at a place, as `load_moments` takes it."""
        return safetensors.torch.save(_under(self._read(progress.name), "optimizer."))

    def remove(self) -> None:
        """Drop all checkpoints of the run."""
        self._storage.remove(self._folder)

    def _names(self) -> list[str]:
        found = (name.split("/") for name in self._storage.list(self._folder))
        return sorted(parts[-2] for parts in found if parts[-1] == _MANIFEST)

    def _at(self, name: str) -> Progress:
        return Progress.from_json(self._storage.read(f"{self._folder}/{name}/{_MANIFEST}"))

    def _read(self, name: str) -> dict[str, torch.Tensor]:
        state, manifest = (self._storage.read(f"{self._folder}/{name}/{part}") for part in (_STATE, _MANIFEST))
        if (wanted := json.loads(manifest).get("state")) not in (None, found := _mark(state)):
            raise ContractError(
                f"the state of checkpoint {self._folder}/{name} with {found['bytes']} bytes and digest {found['sha256'][:16]}",
                expected=f"{wanted['bytes']} bytes with {wanted['sha256'][:16]}, as it was published",
                mend="an object was cut off or changed: remove the checkpoint to go on from the one before, or use --generation next",
            )
        return dict(safetensors.torch.load(state))


def _mark(state: bytes) -> dict[str, Any]:
    return {"bytes": len(state), "sha256": hashlib.sha256(state).hexdigest()}


def load_moments(optimizer: Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give an optimiser the state of another: moments and step counts of each weight, by its number."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _tensors(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in model.state_dict().items():
        yield f"model.{name}", value.contiguous()
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            yield f"optimizer.{index}.{name}", torch.as_tensor(value).contiguous()
    yield "rng", torch.get_rng_state()


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
