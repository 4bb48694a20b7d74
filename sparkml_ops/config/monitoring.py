"""Options of monitoring."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from feature_store.declaration import Duration
from sparkml_ops.config.section import Section

__all__ = ["MonitoringSection", "ValueSection"]


class ValueSection(Section):
    """`monitoring.value`: what decisions are worth, in any unit; a cost is below zero."""

    true_positive: float = Field(default=0.0, description="worth of a row of label 1 that was decided for 1")
    false_positive: float = Field(default=0.0, description="worth of a row of label 0 that was decided for 1")
    false_negative: float = Field(default=0.0, description="worth of a row of label 1 that was decided for 0")
    true_negative: float = Field(default=0.0, description="worth of a row of label 0 that was decided for 0")
    amount: str | None = Field(default=None, description="numeric column of the scoring set by which a row's worth is multiplied; null counts as 0")
    classes: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="of a model of several classes: true class to predicted class to worth; what is not named is worth 0"
    )
    reward: str | None = Field(
        default=None, description="numeric column of the spine that says what a row brought once its label is known, as the revenue after a click"
    )


class MonitoringSection(Section):
    """`monitoring`: what is measured against the truth, and when a window counts as complete."""

    segments: tuple[str, ...] = Field(default=(), description="columns of the predictions or the scoring set, each of whose values is measured too")
    max_segments: int = Field(default=200, ge=1, description="most values of a segment column")
    probability: str | None = Field(
        default=None, description="the model's output that is the probability of label 1; null: `probability`, or the only output"
    )
    complete_at: float = Field(default=0.95, gt=0, le=1, description="share of the scored rows with a known truth at which a window is final; 0 to 1")
    final_after: Duration = Field(default="30d", description="time after a window's end at which it is final whatever is known")
    lag_hours: tuple[float, ...] = Field(
        default=(1, 3, 6, 12, 24, 48, 72, 168, 336, 720), min_length=1, description="hours after the spine time of the label-lag curve, rising"
    )
    calibration_bins: int = Field(default=10, ge=2, description="equally deep bins of the expected calibration error")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="level of the intervals of realised figures; estimates have 3 standard errors")

    threshold: float = Field(default=0.5, ge=0, le=1, description="score from which a row counts as decided for 1, in worth and fairness")
    value: ValueSection | None = Field(default=None, description="what decisions are worth; null: not measured")
    sensitive: tuple[str, ...] = Field(default=(), description="columns between whose values decisions are compared in every window")
    sensitive_rows: int = Field(default=30, ge=2, description="fewest rows of a value, or of a value and label, that take part in the comparison")

    @model_serializer(mode="wrap")
    def _without_the_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Finished runs of projects that measure neither worth nor fairness keep the hash of their configuration.
        unused = {name for name in ("value", "sensitive") if not getattr(self, name)}
        unused |= {"threshold", "sensitive_rows"} if len(unused) == 2 else set()
        return {name: value for name, value in serialize(self).items() if name not in unused}

    @model_validator(mode="after")
    def _worth_something(self) -> Self:
        found = self.value
        worth = found and (found.true_positive, found.false_positive, found.false_negative, found.true_negative)
        if found and not any(worth or ()) and not found.classes and found.reward is None:
            raise ValueError("value in which every outcome is worth 0 and no reward is named: it would measure nothing")
        if found and found.amount is not None and found.classes:
            raise ValueError("value.amount with value.classes: an amount multiplies the worth of binary decisions")
        return self

    @property
    def cut_by(self) -> tuple[str, ...]:
        """Columns each of whose values is measured: segments, then sensitive ones."""
        return tuple(dict.fromkeys((*self.segments, *self.sensitive)))

    @field_validator("lag_hours")
    @classmethod
    def _rising(cls, hours: tuple[float, ...]) -> tuple[float, ...]:
        if hours[0] <= 0 or any(later <= earlier for earlier, later in pairwise(hours)):
            raise ValueError("lag_hours must be above 0 and rising")
        return hours
