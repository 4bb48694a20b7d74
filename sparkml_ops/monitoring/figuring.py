"""From counts to figures, for each kind of model; shipped to the executors, where the counts are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtri

from sparkml_ops.config.monitoring import MonitoringSection
from sparkml_ops.monitoring.calibration import Calibration
from sparkml_ops.monitoring.classes import ClassCalibration, Classes, class_records
from sparkml_ops.monitoring.concentration import of_classes, of_scores
from sparkml_ops.monitoring.fairness import DISPARITIES, Decided, disparities_over
from sparkml_ops.monitoring.figures import Figure, Worth, estimated, mean_of, realised
from sparkml_ops.monitoring.kind import Binary, Kind
from sparkml_ops.monitoring.money import Sums
from sparkml_ops.monitoring.numbers import Numbers, Unit, error_records, expected_records
from sparkml_ops.monitoring.tally import Tally
from sparkml_ops.performance.decisions import Confusion
from sparkml_ops.records import Performance

__all__ = ["BinaryFiguring", "ClassFiguring", "Figuring", "NumberFiguring"]


class Figuring(Protocol):
    """What is made of the counts of a window and segment."""

    @property
    def settings(self) -> MonitoringSection:
        """Options."""
        ...

    @property
    def kind(self) -> Kind:
        """How rows are counted."""
        ...

    def figures(self, window: str, segment: str | None, tally: Tally) -> list[Performance]:
        """All figures."""
        ...

    def beside(self, tally: Tally) -> dict[str, Any]:
        """What of the counts the driver needs to compare segments, as JSON types."""
        ...

    def between(self, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[Performance]:
        """Figures of the differences between segments, by `name=value`."""
        ...


@dataclass(frozen=True)
class BinaryFiguring:
    """Of models that give the probability of label 1.

    Args:
        settings: Options.
        calibrations: By window.
    """

    settings: MonitoringSection
    calibrations: Mapping[str, Calibration | None]

    @property
    def kind(self) -> Binary:
        """Rows by score."""
        value = self.settings.value
        return Binary(self.settings.threshold, value is not None and (value.amount is not None or value.reward is not None))

    def figures(self, window: str, segment: str | None, tally: Tally) -> list[Performance]:
        """Realised, estimated, concentration, worth and reward."""
        settings, calibration = self.settings, self.calibrations.get(window)
        worth = self._worth
        plain = None if settings.value is None or settings.value.amount is not None else worth
        found = [
            *realised(tally.labelled, segment, bins=settings.calibration_bins, confidence=settings.confidence, worth=plain),
            *estimated(tally.scored, calibration, segment, worth=plain),
            *of_scores(tally.scored, segment),
        ]
        deviations = float(ndtri((1 + settings.confidence) / 2))
        if worth is not None and settings.value is not None and settings.value.amount is not None:
            rows, total, squares = tally.money.worth(worth.outcomes)
            found.append(_record(segment, "value", mean_of(rows, total, squares, deviations), rows))
        return [*found, *_reward(settings, tally.money.rewards, segment)]

    def beside(self, tally: Tally) -> dict[str, Any]:
        """The decisions."""
        if not self.settings.sensitive:
            return {}
        found = Decided.of(tally.scored, tally.labelled, self.settings.threshold)
        known = found.known
        cells = [known.true_negatives, known.false_positives, known.false_negatives, known.true_positives]
        return {"decided": [found.rows, found.ones, *cells]}

    def between(self, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[Performance]:
        """The disparities of each sensitive column, and the largest over all of them."""
        worst: dict[str, tuple[Figure, int]] = {}
        for column in self.settings.sensitive:
            groups = {}
            for name, document in parts.items():
                if name.startswith(f"{column}="):
                    rows, ones, *cells = document["decided"]
                    groups[name] = Decided(rows, ones, Confusion(*cells))
            found = disparities_over(groups, minimum=self.settings.sensitive_rows, confidence=self.settings.confidence)
            for metric, figure in found.items():
                about = sum(group.rows if metric == DISPARITIES[0] else group.known.rows for group in groups.values())
                yield _record(column, metric, figure, about)
                if metric not in worst or (figure.value or 0.0) > (worst[metric][0].value or 0.0):
                    worst[metric] = figure, about
        for metric, (figure, about) in worst.items():
            yield _record(None, metric, figure, about)

    @property
    def _worth(self) -> Worth | None:
        value = self.settings.value
        if value is None:
            return None
        outcomes = ((value.true_negative, value.false_positive), (value.false_negative, value.true_positive))
        return Worth(outcomes, self.settings.threshold) if any(map(any, outcomes)) else None


@dataclass(frozen=True)
class ClassFiguring:
    """Of models of several classes.

    Args:
        settings: Options.
        calibrations: By window.
        classes: In the order of the scores.
    """

    settings: MonitoringSection
    calibrations: Mapping[str, ClassCalibration | None]
    classes: tuple[str, ...]

    @property
    def kind(self) -> Classes:
        """Rows by class and score."""
        return Classes(len(self.classes), self.calibrations)

    def figures(self, window: str, segment: str | None, tally: Tally) -> list[Performance]:
        """Realised, estimated, concentration, worth and reward."""
        worth, confidence = self._worth(), self.settings.confidence
        return [
            *class_records(tally.labelled, segment, "realised", confidence=confidence, worth=worth),
            *class_records(tally.scored, segment, "estimated", calibration=self.calibrations.get(window), worth=worth),
            *of_classes(tally.scored, segment),
            *_reward(self.settings, tally.money.rewards, segment),
        ]

    def beside(self, tally: Tally) -> dict[str, Any]:  # noqa: ARG002 -- nothing is compared between segments
        """Nothing."""
        return {}

    def between(self, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[Performance]:  # noqa: ARG002
        """Nothing: which class is the favour to be dealt out alike, only a decision says."""
        return iter(())

    def _worth(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        named = self.settings.value.classes if self.settings.value else {}
        return np.array([[named.get(true, {}).get(said, 0.0) for said in self.classes] for true in self.classes]) if named else None


@dataclass(frozen=True)
class NumberFiguring:
    """Of models of a number.

    Args:
        settings: Options.
        learnt: By window the evaluation rows behind its expected errors, and their kurtosis; None: nothing is expected.
        unit: Of the label.
    """

    settings: MonitoringSection
    learnt: Mapping[str, tuple[int, float] | None]
    unit: Unit

    @property
    def kind(self) -> Numbers:
        """Errors, known and expected."""
        return Numbers(self.unit)

    def figures(self, window: str, segment: str | None, tally: Tally) -> list[Performance]:
        """Realised, estimated and reward."""
        rows, kurtosis = self.learnt.get(window) or (None, 3.0)
        return [
            *error_records(tally.labelled, self.unit, segment, self.settings.confidence),
            *expected_records(tally.scored, self.unit, segment, learnt_from=rows, kurtosis=kurtosis),
            *_reward(self.settings, tally.money.rewards, segment),
        ]

    def beside(self, tally: Tally) -> dict[str, Any]:  # noqa: ARG002 -- nothing is compared between segments
        """Nothing."""
        return {}

    def between(self, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[Performance]:  # noqa: ARG002
        """Nothing: a number decides nothing by itself."""
        return iter(())


def _reward(settings: MonitoringSection, rewards: Sums, segment: str | None) -> list[Performance]:
    if settings.value is None or settings.value.reward is None:
        return []
    deviations = float(ndtri((1 + settings.confidence) / 2))
    return [_record(segment, "reward", mean_of(rewards.rows, rewards.total, rewards.total_squares, deviations), rewards.rows)]


def _record(segment: str | None, metric: str, figure: Figure, rows: int) -> Performance:
    assert figure.value is None or math.isfinite(figure.value)
    return Performance(segment, metric, "realised", figure.value, figure.lower, figure.upper, rows)
