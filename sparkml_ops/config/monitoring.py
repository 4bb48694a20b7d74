"""Options of monitoring."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, field_validator

from feature_store.declaration import Duration
from sparkml_ops.config.section import Section

__all__ = ["MonitoringSection"]


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

    @field_validator("lag_hours")
    @classmethod
    def _rising(cls, hours: tuple[float, ...]) -> tuple[float, ...]:
        if hours[0] <= 0 or any(later <= earlier for earlier, later in pairwise(hours)):
            raise ValueError("lag_hours must be above 0 and rising")
        return hours
