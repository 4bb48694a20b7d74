"""Options of retraining: what speaks for a new model, what holds it back, and how it is made."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from feature_store.declaration import Duration
from feature_store.duration import parse_duration
from sparkml_ops.config.section import Section

__all__ = ["DriftTrigger", "PerformanceTrigger", "PolicySection", "RangeSection", "RetrainingSection"]


_NEVER, _ALWAYS = "no figure is beyond it: it could never fire", "every figure is beyond it: it would always fire"


class DriftTrigger(Section):
    """`retraining.policy.drift`: enough windows in which enough columns drift from what the champion was trained on."""

    windows: int = Field(default=2, ge=1, description="windows that must drift")
    of: int = Field(default=3, ge=1, description="among how many of the newest windows that the champion scored")
    columns: int = Field(default=1, ge=1, description="drifting columns that make a window count")

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        if self.windows > self.of:
            raise ValueError(f"windows {self.windows} of {self.of}: it could never fire; windows is at most of")
        return self


class PerformanceTrigger(Section):
    """`retraining.policy.performance`: the champion's figure in the newest window with enough truth is beyond a limit."""

    metric: Literal["auc", "log_loss", "brier", "calibration_error"] = Field(default="auc", description="a figure of the monitor report")
    at_least: float | None = Field(default=None, description="lowest value that is good enough; null: no limit below")
    at_most: float | None = Field(default=None, description="highest value that is good enough; null: no limit above")
    estimated: bool = Field(default=False, description="whether the estimate counts where no truth is known yet")
    minimum_rows: int = Field(default=1000, ge=1, description="rows with truth (or estimated ones) below which a window's figure decides nothing")

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("neither at_least nor at_most is set: it could never fire")
        highest = None if self.metric == "log_loss" else 1.0
        if self.at_least is not None and not 0 < self.at_least <= (highest or self.at_least):
            raise ValueError(f"at_least {self.at_least:g} of {self.metric}: {_NEVER if self.at_least <= 0 else _ALWAYS}")
        if self.at_most is not None and not 0 <= self.at_most < (highest or math.inf):
            raise ValueError(f"at_most {self.at_most:g} of {self.metric}: {_ALWAYS if self.at_most < 0 else _NEVER}")
        return self


class PolicySection(Section):
    """`retraining.policy`: triggers, of which one is enough, and brakes, of which one is enough to wait."""

    schedule: Duration | None = Field(default=None, description='age of the champion\'s newest training row at which a new model is due, as "90d"')
    drift: DriftTrigger | None = Field(default=None, description="null: drift alone never retrains")
    performance: PerformanceTrigger | None = Field(default=None, description="null: no floor")
    labels: int | None = Field(
        default=None, ge=1, description="new labels since the champion's training rows that make a new model due; null: labels alone never do"
    )
    on_demand: bool = Field(default=True, description="whether a person may ask for it")
    minimum_labels: int = Field(default=1000, ge=0, description="new labels without which nothing is trained")
    cooldown: Duration = Field(default="1d", description="least time between two trainings, on the clock of as_of")
    lease: Duration = Field(default="6h", description="wall-clock time after which a training on a machine that cannot be seen counts as dead")
    daily_budget: int = Field(default=1, ge=1, description="most trainings a UTC day, on the clock of as_of")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not (self.schedule or self.drift or self.performance or self.labels or self.on_demand):
            raise ValueError("no trigger is set and on_demand is off: this policy can never fire; set schedule, drift, performance or labels")
        if self.schedule and parse_duration(self.cooldown) > parse_duration(self.schedule):
            raise ValueError(f"cooldown {self.cooldown} is longer than schedule {self.schedule}: the schedule could never be kept")
        return self


class RangeSection(Section):
    """`retraining.range`: rows that a new model is trained on."""

    kind: Literal["growing", "rolling"] = Field(default="growing", description="all rows so far, or the newest ones alone")
    length: Duration | None = Field(default=None, description='how far a rolling range reaches back, as "180d"')

    @model_validator(mode="after")
    def _length_where_it_rolls(self) -> Self:
        if (self.kind == "rolling") != (self.length is not None):
            raise ValueError("length belongs to kind rolling, and rolling needs one")
        return self


class RetrainingSection(Section):
    """`retraining`: when a new model is due, and how it is made."""

    policy: PolicySection = Field(default=PolicySection(), description="what decides")
    mode: Literal["stateless", "warm", "stateful"] = Field(
        default="stateless",
        description="from scratch; from the champion's weights and preprocessing on rows that it has not seen; or with its optimiser's state too",
    )
    range: RangeSection = Field(default=RangeSection(), description="of a training from scratch")
    replay: float = Field(
        default=0.0, ge=0, le=1, description="share of the keys of earlier rows that a training which goes on sees again, against forgetting"
    )
    full_every: int | None = Field(
        default=None, ge=1, description="of so many generations the first is from scratch, also where the mode goes on; null: only the very first"
    )

    @model_validator(mode="after")
    def _of_a_mode_that_goes_on(self) -> Self:
        if self.mode == "stateless" and (unused := [name for name in ("replay", "full_every") if getattr(self, name)]):
            raise ValueError(f"{unused[0]} has no meaning with mode stateless: leave it out")
        return self
