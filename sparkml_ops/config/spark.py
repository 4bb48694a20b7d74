"""Options of the Spark session that we build."""

from __future__ import annotations

from pydantic import Field

from sparkml_ops.config.section import Section

__all__ = ["SparkSection"]


class SparkSection(Section):
    """`spark`: used only where this project builds the session itself."""

    master: str = Field(default="local[*]", description="Spark master; under spark-submit it must agree with the submitted one")
    app_name: str = Field(default="sparkml-ops", description="name on the cluster")
    driver_memory: str = Field(default="2g", pattern=r"^[1-9][0-9]*[mg]$", description="heap of the driver's JVM")
    shuffle_partitions: int = Field(default=2, ge=1, description="partitions of a shuffle: 2 or 3 for each core of the cluster")
    snapshot_partitions: int = Field(default=2, ge=1, description="partitions of Delta's log state; its default of 50 makes small commits slow")
    packages: tuple[str, ...] = Field(default=(), description="Maven coordinates of more jars than those of Delta")
    conf: dict[str, str] = Field(default_factory=dict, description="further settings of Spark, by their full names; no secrets")
