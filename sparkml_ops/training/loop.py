"""The training loop of one rank: fit, train_epoch, train_step.

Everything random is drawn from a place (seed, epoch, step, shard) and not from a stream, so that neither the
number of workers nor an interruption changes it.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import asdict, dataclass, replace

import numpy as np
import safetensors.torch
import torch

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.environment import hardware
from sparkml_ops.errors import OpsError
from sparkml_ops.model.artifact import WEIGHTS
from sparkml_ops.model.module import DRAWING, MakeModule
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.storage import Storage, StorageFull
from sparkml_ops.training.checkpoint import Checkpoints, Epoch, Progress, best_epoch, load_moments
from sparkml_ops.training.device import on_device
from sparkml_ops.training.group_reader import GroupReader
from sparkml_ops.training.launch import RankContext
from sparkml_ops.training.loader import Batch, Loader
from sparkml_ops.training.objective import objective
from sparkml_ops.training.optimizer import build_optimizer
from sparkml_ops.training.own_module import forward, network, shard_seeds
from sparkml_ops.training.placement import Items, Placement
from sparkml_ops.training.plan import Plan
from sparkml_ops.training.precision import safe_products
from sparkml_ops.training.rhythm import choose_rhythm
from sparkml_ops.training.scaling import LossScale, finite
from sparkml_ops.training.schedule import rate
from sparkml_ops.training.stopwatch import Stopwatch
from sparkml_ops.training.validation import Validation
from sparkml_ops.training.weighting import RowWeights

__all__ = ["NotFiniteError", "Trainer", "TrainingTask"]

_SHOWN = 3  # inputs in a message
_BEAT_SECONDS = 5.0


class NotFiniteError(OpsError):
    """A gradient became infinite or no number; training cannot go on from it."""


@dataclass(frozen=True)
class TrainingTask:
    """What every rank runs.

    Args:
        spec: The model.
        plans: Order of the rows of `train`, and of `validation` where there are such rows.
        settings: Epochs, optimiser and the rest.
        storage: Where checkpoints lie.
        folder: Their prefix.
        start: Storage folder of the model whose weights are the first ones; None: drawn from the seed.
        row_weights: How much a row counts in training; None: all the same. In validation all do.
        stop: Asked on rank 0 after each epoch but the last, with all epochs so far: whether the training ends here.
        module: The object that makes the network, where no entry point does.
        moments: Storage name of the optimiser's state to begin with; None: it begins with none.
        catalogue: Of a retrieval, storage names of its items.
    """

    spec: ModelSpec
    plans: Mapping[str, Plan]
    settings: TrainingSection
    storage: Storage
    folder: str
    start: str | None = None
    row_weights: RowWeights | None = None
    stop: Callable[[tuple[Epoch, ...]], bool] | None = None
    module: MakeModule | None = None
    moments: str | None = None
    catalogue: tuple[str, ...] = ()

    def __call__(self, context: RankContext) -> bytes | None:
        """Train, from the newest checkpoint on; rank 0 returns where the run ended."""
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        if context.rank == 0:
            context.report({"kind": "hardware", **hardware(), "threads": torch.get_num_threads()})
        if context.device == "cuda":
            torch.use_deterministic_algorithms(True)
        with safe_products(self.settings.dtype):
            progress = Trainer(self, context).fit()
        return progress.to_json() if context.rank == 0 else None


class Trainer:
    """One rank of a training.

    Args:
        task: What to train, on which rows.
        context: The rank's place among the others.
    """

    def __init__(self, task: TrainingTask, context: RankContext) -> None:
        self._task, self._context, self._settings = task, context, task.settings
        self._dtype = torch.float64 if task.settings.dtype == "float64" else torch.float32
        self._device = torch.device(context.device)
        self._scale = LossScale() if task.settings.dtype == "float16" else None
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(task.settings.dtype)
        self._products: AbstractContextManager[None] = nullcontext() if half is None else torch.autocast(self._device.type, half)
        with DRAWING:
            torch.manual_seed(task.settings.seed)
        self.model = network(task.spec, task.settings.seed, self._dtype, task.module).to(self._device)
        self._weights = list(self.model.parameters())
        self._optimizer = build_optimizer(task.settings.optimizer, self._weights)
        self._losses = objective(task.spec, context.communicator)
        self._items = Items(task.spec, task.storage, task.catalogue, self._dtype) if task.spec.kind == "two_tower" else None
        every, steps = task.settings.collectives.local_steps, self._plan.steps
        self._rhythm = choose_rhythm(context.communicator, self.model, self._optimizer, every=every, steps=steps)
        self.loaders = {split: self._loader(split, plan) for split, plan in task.plans.items()}
        self._checkpoints = Checkpoints(task.storage, task.folder)
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        self._shares = 1.0, torch.ones((), dtype=self._dtype, device=self._device)
        self._seconds = {part: Stopwatch() for part in ("read", "compute", "communicate")}
        self._history: tuple[Epoch, ...] = ()
        self._beat = time.monotonic()

    def fit(self) -> Progress:
        """Train until the last epoch, or until the validation loss has not fallen for `patience` epochs."""
        progress = self._resume()
        while progress.epoch < self._settings.epochs and not self._stale(progress.history) and not self._stopped(progress):
            progress = self._train_epoch(progress)
        return progress

    def _train_epoch(self, progress: Progress) -> Progress:
        started, every = time.monotonic(), self._settings.checkpoint_every
        rows = 0
        self._seconds = {part: Stopwatch() for part in self._seconds}
        self._history = progress.history
        with closing(self.loaders["train"].batches(progress.epoch, progress.step)) as batches:
            for batch in self._waiting(on_device(batches, self._device)):
                self._train_step(progress.epoch, batch)
                rows += batch.rows
                self._say_alive(progress.epoch, batch.step)
                if every and (batch.step + 1) % every == 0 and batch.step + 1 < self._plan.steps:
                    progress = replace(progress, step=batch.step + 1, loss=progress.loss + self._reduced_loss())
                    self._publish(progress)
        loss = (progress.loss + self._reduced_loss()) / self._plan.rows
        speed = rows / (time.monotonic() - started)
        validated, figure = self._validate(progress.epoch)
        area, recall = (figure, None) if self._items is None else (None, figure)
        epoch = replace(Epoch(progress.epoch, loss, validated, area, speed, *self._usage()), validation_recall_at_10=recall)
        progress = Progress(progress.epoch + 1, history=(*progress.history, epoch))
        self._publish(progress)
        if self._context.rank == 0:
            self._context.report({"kind": "epoch", "epochs": self._settings.epochs, **asdict(epoch)})
        return progress

    def _train_step(self, epoch: int, batch: Batch) -> None:
        with self._timed("compute"):
            self._set_rate(epoch * self._plan.steps + batch.step)
            self._optimizer.zero_grad()
            loss = self._backward(self._rhythm.share(batch), self._masks(epoch, batch))
        with self._timed("communicate"):
            self._rhythm.synchronize()
        with self._timed("compute"):
            if self._gradients_fit(epoch, batch):
                if (longest := self._settings.optimizer.clip_norm) is not None:
                    torch.nn.utils.clip_grad_norm_(self._weights, longest)
                self._rhythm.step(batch)
            self._loss += loss
        with self._timed("communicate"):
            self._rhythm.end(batch)

    def _backward(self, batch: Batch, masks: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Put this rank's part of the gradient into the weights; returns the sum of its rows' losses."""
        *earlier, (last, last_masks) = _parts(batch, masks, self._settings.accumulate)
        weights, total = self._weights, None
        share = self._share(batch.rows if self._scale is None else batch.rows / self._scale.factor)
        for part, part_masks in earlier:
            losses, mine = self._summed(part, part_masks)
            # Not by `backward`, with which the reduction over ranks begins.
            for weight, gradient in zip(weights, torch.autograd.grad(losses, weights, share, materialize_grads=True), strict=True):
                weight.grad = gradient if weight.grad is None else weight.grad + gradient
            total = mine if total is None else total + mine
        losses, mine = self._summed(last, last_masks)
        losses.backward(share)  # type: ignore[no-untyped-call]
        return mine if total is None else total + mine

    def _share(self, divisor: float) -> torch.Tensor:
        """What a row's loss counts: divided by the rows of all workers, so that the sum over ranks is the mean over the global batch, however uneven."""
        if self._shares[0] != divisor:
            self._shares = divisor, torch.ones((), dtype=self._dtype, device=self._device) / divisor
        return self._shares[1]

    def _summed(self, batch: Batch, masks: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        weight = None if self._task.row_weights is None else batch.weight
        return self._losses(self._logits(batch, masks), batch.label, weight)

    def _logits(self, batch: Batch, masks: tuple[torch.Tensor, ...] = ()) -> torch.Tensor:
        with self._products:
            logits = forward(self._task.spec, self.model, batch, masks)
        return logits.to(self._dtype)

    def _masks(self, epoch: int, batch: Batch) -> tuple[torch.Tensor, ...]:
        """Dropout factors of each hidden layer, drawn for each shard apart: the same whichever worker holds it."""
        if self._task.spec.kind == "module":
            return shard_seeds(self.model, batch, self._settings.seed, epoch)
        hidden, dropout = self._task.spec.thinned, self._task.spec.dropout
        if not dropout:
            return ()
        draws = np.empty((len(batch.label), sum(hidden)), np.float32)
        first = 0
        for shard, rows in batch.shards:
            draw = np.random.default_rng((self._settings.seed, epoch, batch.step, shard, 1))
            draws[first : first + rows] = draw.random((rows, sum(hidden)), np.float32)
            first += rows
        kept = (torch.from_numpy(draws).to(self._device) >= dropout).to(self._dtype) / (1 - dropout)
        return tuple(torch.split(kept, list(hidden), dim=1))

    def _set_rate(self, step: int) -> None:
        settings, steps = self._settings, self._plan.steps
        now = rate(settings.optimizer, step, steps=steps, epochs=settings.epochs, batch_size=settings.batch_size, history=self._history)
        for group in self._optimizer.param_groups:
            group["lr"] = now

    def _gradients_fit(self, epoch: int, batch: Batch) -> bool:
        """Whether to step: in half precision a step whose scaled gradients overflow is left out."""
        # The reduced gradients are the same on every rank, so all ranks stop here or none does, without asking each other.
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        if self._scale is None:
            if finite(gradients):
                return True
        elif finite(gradients, self._scale.factor):
            self._scale.fitted()
            return True
        elif self._scale.overflowed():
            return False
        # What a site's rows hold stays there.
        seen = f"of {len(batch.label)} rows of its sites" if self._settings.sites else _extremes(self._task.spec, batch)
        raise self._not_finite(f"a gradient that is not finite in step {batch.step} of epoch {epoch}; {seen}")

    def _not_finite(self, found: str) -> NotFiniteError:
        newest = self._checkpoints.newest()
        return NotFiniteError(
            found,
            expected=f"finite numbers (the last checkpoint is {newest.name if newest else 'none yet'})",
            mend="lower training.optimizer.lr, or look for extreme feature values",
        )

    def _validate(self, epoch: int) -> tuple[float | None, float | None]:
        """Mean loss of the validation split and AUC of a binary model, recall of a retrieval; the same on every rank."""
        if "validation" not in self.loaders:
            return None, None
        loader = self.loaders["validation"]
        self.model.eval()
        found = self._measure()
        with torch.inference_mode(), closing(loader.batches(0)) as batches:
            for batch in self._waiting(on_device(batches, self._device)):
                with self._timed("compute"):
                    found.add(self._logits(batch), batch.label)
                self._say_alive(epoch, self._plan.steps)
        self.model.train()
        with self._timed("communicate"):
            loss, area = found.merged(self._context.communicator)
        return loss / loader.plan.rows, area

    @torch.no_grad()  # not inference mode, of whose tensors Horovod makes no gather
    def _measure(self) -> Validation | Placement:
        if self._items is None:
            return Validation(self._task.spec.target)
        return Placement(self._task.spec, self._items.vectors(self.model, self._context.communicator))

    def _usage(self) -> Iterator[float]:
        """Seconds of reading, computing and communicating, a mean over the ranks; then the most memory that one has taken, in MiB."""
        mine = torch.zeros(self._context.size, 4, dtype=torch.float64)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
        mine[self._context.rank] = torch.tensor([*(self._seconds[part].seconds for part in ("read", "compute", "communicate")), peak])
        ranks = self._context.communicator.all_reduce(mine)
        return (round(value, 3) for value in (*ranks[:, :3].mean(0).tolist(), float(ranks[:, 3].max())))

    def _resume(self) -> Progress:
        """Put every rank to the newest checkpoint; rank 0 says which that is."""
        found = (self._checkpoints.newest() if self._context.rank == 0 else None) or Progress()
        epoch, step = self._context.communicator.broadcast(torch.tensor([found.epoch, found.step])).tolist()
        if (epoch, step) != (0, 0):
            progress = self._checkpoints.at(epoch, step)
            self._checkpoints.restore(progress, self.model, self._optimizer, self._scale)
            return progress
        if self._task.start is not None and self._context.rank == 0:
            self.model.load_state_dict(safetensors.torch.load(self._task.storage.read(f"{self._task.start}/{WEIGHTS}")))
        with torch.no_grad():
            for weight in self.model.parameters():
                weight.copy_(self._context.communicator.broadcast(weight))
        if self._task.moments is not None:
            load_moments(self._optimizer, safetensors.torch.load(self._task.storage.read(self._task.moments)))
        return found

    def _publish(self, progress: Progress) -> None:
        if self._context.rank == 0:
            keep = {Progress(best_epoch(progress.history, self._settings.keep).epoch + 1).name} if progress.history else set()
            self._checkpoints.publish(progress, self.model, self._optimizer, self._scale, keep=frozenset(keep))

    def _reduced_loss(self) -> float:
        """Sum of the losses of all ranks since the last call."""
        with self._timed("communicate"):
            total = self._context.communicator.all_reduce(self._loss.reshape(1))
        self._loss.zero_()
        if not math.isfinite(summed_up := float(total[0])):  # in half precision its steps were left out, and no factor would mend it
            raise self._not_finite("a training loss that is not finite")
        return summed_up

    def _stale(self, history: tuple[Epoch, ...]) -> bool:
        patience = self._settings.patience
        return patience is not None and bool(history) and len(history) - 1 - best_epoch(history, "best").epoch >= patience

    def _stopped(self, progress: Progress) -> bool:
        """Whether somebody else ends the training at the end of an epoch; all ranks hear it from rank 0 and end in the same step."""
        if self._task.stop is None or not progress.history or progress.step:
            return False
        said = self._context.rank == 0 and self._task.stop(progress.history)
        return bool(self._context.communicator.broadcast(torch.tensor([int(said)]))[0])

    def _loader(self, split: str, plan: Plan) -> Loader:
        weights, dtype = self._task.row_weights if split == "train" else None, str(self._dtype).removeprefix("torch.")
        reader = GroupReader(self._task.spec, label=self._settings.label, split=split, dtype=dtype, weights=weights)
        return Loader(plan, reader, rank=self._context.rank, size=self._context.size)

    @property
    def _plan(self) -> Plan:
        return self._task.plans["train"]

    def _say_alive(self, epoch: int, step: int) -> None:
        if (now := time.monotonic()) - self._beat >= min(_BEAT_SECONDS, self._settings.hang_timeout / 4):
            self._beat = now
            with suppress(StorageFull):  # a full disk ends the training where something would be lost: at a checkpoint
                self._context.report({"kind": "step", "epoch": epoch, "step": step, "steps": self._plan.steps})

    def _waiting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        iterator = iter(batches)
        while True:
            with self._timed("read"):
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch

    def _timed(self, part: str) -> Stopwatch:
        return self._seconds[part]


def _extremes(spec: ModelSpec, batch: Batch) -> str:
    """The inputs of this rank's rows that lie farthest from their mean, to find the row that broke a step."""
    if not len(batch.label):
        return "no rows on this rank"
    far = torch.nan_to_num(batch.numeric[:, : len(spec.numeric)].abs().cpu(), nan=math.inf, posinf=math.inf)
    deviations, rows = far.max(dim=0)
    order = torch.argsort(deviations, descending=True)[:_SHOWN].tolist()
    shown = (f"`{spec.numeric[index].name}` by {deviations[index]:.3g} at row_position {batch.position[rows[index]]}" for index in order)
    return f"of {len(batch.label)} rows on this rank the farthest from the mean, in standard deviations: {', '.join(shown)}"


def _parts(batch: Batch, masks: tuple[torch.Tensor, ...], parts: int) -> list[tuple[Batch, tuple[torch.Tensor, ...]]]:
    """A batch in parts, with the masks of their rows."""
    if parts == 1:
        return [(batch, masks)]
    cut = [torch.tensor_split(mask, parts) for mask in masks]
    return [(part, tuple(mask[index] for mask in cut)) for index, part in enumerate(batch.cut(parts))]
