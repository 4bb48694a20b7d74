"""Options of the collectives: how the ranks of a training put their gradients together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sparkml_ops.config.section import Section

__all__ = ["CollectivesSection"]


class CollectivesSection(Section):
    """`training.collectives`: what travels between ranks, in which pieces."""

    fusion_mib: float = Field(
        default=4.0,
        gt=0,
        le=1024,
        description="MiB of gradients that go out together: larger ones hide the latency of a collective, smaller ones begin before backward ends; "
        "also Horovod's HOROVOD_FUSION_THRESHOLD",
    )
    cycle_ms: float = Field(
        default=1.0, gt=0, le=1000, description="horovod only: milliseconds between two rounds that start what is ready (HOROVOD_CYCLE_TIME)"
    )
    compression: Literal["none", "fp16", "bf16"] = Field(
        default="none",
        description="gradients on their way: as they are, or rounded to 16 bits (scaled, so that none overflows) and added in full precision; "
        "rounding happens on each rank, so the result then depends on the number of workers by that much",
    )
    local_steps: int = Field(
        default=1,
        ge=1,
        description="1: gradients are summed at each step. More (local SGD): each rank makes so many steps on its own rows before the models are "
        "averaged by rows; less is said, and the result depends on the number of workers. With training.sites: federated averaging",
    )
    timeline: bool = Field(
        default=False, description="horovod only: publish Horovod's timeline of each launch (attempt-<k>/timeline.json, for chrome://tracing)"
    )
