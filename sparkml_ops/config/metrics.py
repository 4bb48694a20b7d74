"""Options of the metrics for Prometheus."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sparkml_ops.config.section import Section

__all__ = ["MetricsSection"]

_MOST = 50


class MetricsSection(Section):
    """`metrics`: which names become labels; every other figure stays in the tables, in full."""

    columns: tuple[str, ...] = Field(default=(), max_length=_MOST, description="columns whose drift is a metric of its own; the others are counted")
    segments: tuple[Annotated[str, Field(pattern=r"^[^=]+=.+$")], ...] = Field(
        default=(), max_length=_MOST, description='segments whose performance is a metric of its own, as "origin=JFK"'
    )
