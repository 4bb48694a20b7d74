"""Options of the optimiser: how a step follows from its gradients."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sparkml_ops.config.section import Section

__all__ = ["OptimizerSection"]


class OptimizerSection(Section):
    """`training.optimizer`: torch's AdamW or SGD, and the course of the learning rate."""

    kind: Literal["adamw", "sgd"] = Field(default="adamw", description="torch's optimiser")
    lr: float = Field(default=1e-3, gt=0, description="highest learning rate; never scaled by the number of workers")
    lr_batch: int | None = Field(
        default=None, ge=1, description="batch size that lr belongs to: the rate grows with batch_size in proportion; null: lr as it is"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="adamw: decoupled, a step, as a share of lr; sgd: added to the gradient")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd only: Nesterov's momentum; 0 is plain gradient descent")
    clip_norm: float | None = Field(default=None, gt=0, description="longest gradient over all weights, in the 2-norm; null: any")
    schedule: Literal["cosine", "constant", "step", "plateau"] = Field(
        default="cosine",
        description="course of the learning rate: down to 0 over all epochs; constant; times factor after each `every` epochs; or, with plateau, "
        "after `every` epochs without a lower validation loss",
    )
    warmup_steps: int = Field(default=0, ge=0, description="first steps, in which the rate rises in a straight line")
    every: int = Field(default=2, ge=1, description="epochs, for the schedules step and plateau")
    factor: float = Field(default=0.1, gt=0, lt=1, description="for the schedules step and plateau")

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        idle = {"momentum": self.kind == "adamw", **dict.fromkeys(("every", "factor"), self.schedule in ("cosine", "constant"))}
        if unused := sorted(name for name, without in idle.items() if without and name in self.model_fields_set):
            raise ValueError(f"training.optimizer.{unused[0]} has no meaning with kind {self.kind} and schedule {self.schedule}: leave it out")
        return self
