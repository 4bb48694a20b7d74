"""The learning rate of a step, from its place and the finished epochs alone: a resumed run goes on with the rate of the unbroken one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sparkml_ops.config.optimizer import OptimizerSection
from sparkml_ops.training.checkpoint import Epoch

__all__ = ["rate"]


def rate(settings: OptimizerSection, step: int, *, steps: int, epochs: int, batch_size: int, history: Sequence[Epoch] = ()) -> float:
    """The learning rate of a step.

    Args:
        settings: Rate, warm-up and schedule.
        step: Number of the step in the whole run, from 0.
        steps: Steps of an epoch.
        epochs: Epochs of the run.
        batch_size: Rows of a global batch, for the linear scaling rule (Goyal et al. 2017).
        history: Finished epochs, for a schedule that waits for the validation loss.

    >>> section = OptimizerSection(lr=0.5, schedule="constant", warmup_steps=4)
    >>> [rate(section, step, steps=10, epochs=1, batch_size=8) for step in (0, 1, 3, 9)]
    [0.125, 0.25, 0.5, 0.5]
    """
    peak = settings.lr if settings.lr_batch is None else settings.lr * batch_size / settings.lr_batch
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    if settings.schedule == "cosine":
        done, whole = step - settings.warmup_steps, epochs * steps - settings.warmup_steps
        return peak * (1 + math.cos(math.pi * done / whole)) / 2
    if settings.schedule == "step":
        return float(peak * settings.factor ** (step // steps // settings.every))
    if settings.schedule == "plateau":
        return float(peak * settings.factor ** _plateaus(history, settings.every))
    return peak


def _plateaus(history: Sequence[Epoch], every: int) -> int:
    """How often the loss, of the validation split where there is one, has not fallen for so many epochs in a row."""
    best, waited, found = math.inf, 0, 0
    for epoch in history:
        loss = epoch.train_loss if epoch.validation_loss is None else epoch.validation_loss
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited == every:
            waited, found = 0, found + 1
    return found
