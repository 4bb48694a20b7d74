"""What the machines of runs cost."""

from __future__ import annotations

from pydantic import Field

from sparkml_ops.config.section import Section

__all__ = ["CostsSection"]


class CostsSection(Section):
    """`costs`: prices, by which runs are shown in money; without one they are not."""

    cpu_hour: float = Field(default=0.0, ge=0, description="price of one CPU for an hour that it really computes")
    gib_hour: float = Field(default=0.0, ge=0, description="price of one GiB of memory for an hour, of the most that a run held at one moment")
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$", description="of the prices, as ISO 4217 has it")

    def of(self, cpu_seconds: float, peak_bytes: int, seconds: float) -> float | None:
        """What a run costs; None without a price.

        >>> CostsSection(cpu_hour=0.36, gib_hour=0.036).of(100.0, 2 << 30, 50.0)
        0.011
        """
        if not self.cpu_hour and not self.gib_hour:
            return None
        return round((cpu_seconds * self.cpu_hour + peak_bytes / 2**30 * seconds * self.gib_hour) / 3600, 9)
