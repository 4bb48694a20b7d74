"""Years without a JVM: records as the verbs hand them on, with numbers from a seeded generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparkml_ops.monitoring.year import ColumnState, Month
from sparkml_ops.records import ModelVersion, MonitorReport, Performance, RetrainDecision, Snapshot, TrainingSet

__all__ = ["COLUMNS", "Maker", "model"]

TRAINING_SET = TrainingSet("set", Snapshot("set", 0), {}, "hash", 1000)
METRICS = {"auc": (0.71, 0.008), "log_loss": (0.52, 0.01), "brier": (0.17, 0.005), "calibration_error": (0.02, 0.006), "rate": (0.2, 0.01)}
COLUMNS = (
    "temperature",
    "humidity",
    "wind_speed",
    "distance",
    "carrier",
    "origin",
    "late_before_sum_6h",
    "departures_count_1h",
    "plane_age",
    "destination",
)


def model(version: int) -> ModelVersion:
    return ModelVersion("flights", version, f"digest{version}", TRAINING_SET)


@dataclass(frozen=True)
class Maker:
    """Makes months whose every number differs."""

    random: np.random.Generator

    def monitor(self, window: str, version: int, *, final: bool = True, level: float = 0.0) -> MonitorReport:
        figures = []
        for metric, (middle, width) in METRICS.items():
            for kind in ("realised", "estimated"):
                value = middle + (level if metric == "auc" else 0.0) + float(self.random.normal(0, width))
                figures.append(Performance(None, metric, kind, value, value - width, value + width * 1.4, 20_000))  # type: ignore[arg-type]
            figures.append(Performance("origin=JFK", metric, "realised", 0.123456, None, None, 7_000))
        lag = ((1.0, 0.4), (24.0, 0.99))
        return MonitorReport(
            model(version),
            window,
            "champion",
            f"{window}-28T00:00:00+00:00",
            27_000,
            26_500,
            0.981 if final else 0.62,
            final,
            tuple(figures),
            lag,
            (),
            Snapshot("performance_metrics", 1),
        )

    def drift(self, columns: Sequence[str], level: float) -> dict[str, ColumnState]:
        found = {}
        for place, name in enumerate(columns):
            effect = float(abs(self.random.normal(0, 0.5)) + level * max(0.0, 1.2 - place / 4))
            verdict = "undecided" if place == 8 else "fault" if (place, level > 1.9) == (6, True) else "drift" if effect > 1 else "no drift"
            found[name] = ColumnState(verdict, None if place == 8 else effect)
        return found

    def month(self, window: str, version: int, *, level: float = 0.5, columns: Sequence[str] = COLUMNS, final: bool = True) -> Month:
        rows = int(self.random.integers(26_000, 29_500))
        decision = RetrainDecision(
            window, f"{window}-28T00:00:00+00:00", "no", "", f"no trigger fired (realised auc 0.7{rows}; 80,000 new labels)", {}, version
        )
        return Month(
            window,
            f"{window}-28T00:00:00+00:00",
            rows,
            int(self.random.integers(5, 90)),
            version,
            self.drift(columns, level),
            self.monitor(window, version, final=final, level=-level / 80),
            decision,
        )
