"""What is known of a challenger beside the champion: plain numbers, or the reason why there are none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparkml_ops.performance.contest import Standing
from sparkml_ops.performance.measured import Measured
from sparkml_ops.records import ModelVersion

__all__ = ["CHALLENGER", "CHAMPION_NAME", "NO_CHAMPION", "Comparison", "identity", "numbers"]

CHALLENGER, CHAMPION_NAME = "challenger", "champion"
# What a gate's result is bound to where there was no champion.
NO_CHAMPION = "none"


def identity(champion: ModelVersion | None) -> str:
    """What evidence is bound to: version and digest, since the champion may change before a promotion.

    >>> identity(None)
    'none'
    """
    return NO_CHAMPION if champion is None else f"{champion.version} {champion.digest}"


@dataclass(frozen=True)
class Comparison:
    """A challenger's figures on its evaluation rows, beside the champion's where those can be trusted.

    Args:
        champion: Identity of the champion at the time.
        gap: Why nothing was measured against the champion; empty where it was, or where there is none.
        metrics: Figures on all rows by name.
        slices: `column=value` to figures by name: rows, positives, negatives, challenger_auc, champion_auc, ...
        unmeasured: Column of a slice to the reason why it was not measured.
    """

    champion: str
    gap: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> bool:
        """Whether there is no champion yet."""
        return self.champion == NO_CHAMPION


def numbers(standing: Standing) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The figures of a contest by name, over all rows and by slice; what does not exist has no entry."""
    metrics = _figures(standing.measured)
    intervals = (
        ("auc_gain_champion", standing.auc_gain),
        ("auc_gain_champion_delong", standing.delong),
        ("log_loss_gain_champion", standing.loss_gain),
    )
    for name, interval in intervals:
        if interval is not None:
            metrics |= {f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}
    return _finite(metrics), {name: _finite(_figures(measured)) for name, measured in standing.slices.items()}


def _figures(measured: Mapping[str, Measured]) -> dict[str, float]:
    challenger = measured[CHALLENGER]
    positives = int(challenger.counts.positives.sum())
    found: dict[str, float] = {"rows": challenger.rows, "positives": positives, "negatives": challenger.rows - positives}
    for name, scores in measured.items():
        found |= {f"{name}_auc": scores.counts.auc, f"{name}_log_loss": scores.loss / scores.rows}
    if CHAMPION_NAME in measured:
        found["auc_gain_champion"] = found[f"{CHALLENGER}_auc"] - found[f"{CHAMPION_NAME}_auc"]
        found["log_loss_gain_champion"] = found[f"{CHAMPION_NAME}_log_loss"] - found[f"{CHALLENGER}_log_loss"]
    return found


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}
