"""Gates over evidence of their own: each is its limits on the figures that were found; where nothing was found there is no evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sparkml_ops.config.gates import (
    CalibrationGate,
    CardGate,
    ContractGate,
    EvidenceGate,
    FairnessGate,
    LineageGate,
    ParityGate,
    ReproducibilityGate,
    SecurityGate,
    SizeGate,
    StabilityGate,
    ThroughputGate,
)
from sparkml_ops.records import GateResult
from sparkml_ops.release.limits import Limit, judge, no_evidence

__all__ = ["Finding", "by_evidence"]


@dataclass(frozen=True)
class Finding:
    """What was found out for one gate.

    Args:
        figures: By name; what does not exist has no entry.
        gap: Why nothing was found out; empty where something was.
        note: What people should read beside the figures.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    gap: str = ""
    note: str = ""


def by_evidence(name: str, gate: EvidenceGate, finding: Finding | None) -> GateResult:
    """The verdict on a finding.

    >>> gate = SizeGate(kind="artifact_size", at_most=10)
    >>> [by_evidence("size", gate, finding).verdict for finding in (Finding({"mebibytes": 2.5}), Finding({"mebibytes": 11.0}), Finding(), None)]
    ['pass', 'fail', 'no evidence', 'no evidence']
    """
    if finding is None:
        return no_evidence(name, "not measured")
    if finding.gap:
        return no_evidence(name, finding.gap)
    result = judge(name, _LIMITS[type(gate)](gate), finding.figures)
    return replace(result, found=finding.figures, message="; ".join(part for part in (result.message, finding.note) if part))


def _contract(gate: ContractGate) -> list[Limit]:
    return [
        Limit("wrong_types", "<=", 0.0),
        Limit("missing_share", "<=", gate.missing_at_most),
        Limit("unknown_share", "<=", gate.unknown_at_most),
        Limit("infinite_share", "<=", gate.infinite_at_most),
    ]


def _lineage(gate: LineageGate) -> list[Limit]:
    return [Limit("absent", "<=", 0.0)]


def _reproducibility(gate: ReproducibilityGate) -> list[Limit]:
    if gate.metric_tolerance is None:
        return [Limit("differing_files", "<=", 0.0), Limit("differing_metrics", "<=", 0.0)]
    return [Limit("largest_metric_difference", "<=", gate.metric_tolerance)]


def _calibration(gate: CalibrationGate) -> list[Limit]:
    limits = (
        ("calibration_error", "<=", gate.error_at_most),
        ("brier", "<=", gate.brier_at_most),
        ("calibration_slope", ">=", gate.slope_at_least),
        ("calibration_slope", "<=", gate.slope_at_most),
    )
    return _given(limits)


def _fairness(gate: FairnessGate) -> list[Limit]:
    limits = (
        ("demographic_parity", "<=", gate.demographic_parity_at_most),
        ("equal_opportunity", "<=", gate.equal_opportunity_at_most),
        ("equalised_odds", "<=", gate.equalised_odds_at_most),
    )
    return [Limit("groups", ">=", 2), *_given(limits)]


def _stability(gate: StabilityGate) -> list[Limit]:
    return [Limit("unscored", "<=", 0.0), Limit("broken", "<=", 0.0), Limit("largest_change", "<=", gate.change_at_most)]


def _parity(gate: ParityGate) -> list[Limit]:
    ways = ("clean_process", "executors", *(("onnx",) if gate.onnx else ()))
    return [Limit("rows", ">=", 1), *(Limit(f"{way}_difference", "<=", gate.tolerance) for way in ways)]


def _throughput(gate: ThroughputGate) -> list[Limit]:
    return _given((("rows_per_second", ">=", gate.rows_per_second_at_least), ("peak_memory", "<=", gate.peak_memory_at_most)))


def _size(gate: SizeGate) -> list[Limit]:
    return [Limit("mebibytes", "<=", gate.at_most)]


def _security(gate: SecurityGate) -> list[Limit]:
    return [Limit("refusals", "<=", 0.0)]


def _card(gate: CardGate) -> list[Limit]:
    return [Limit("empty_fields", "<=", 0.0)]


def _given(limits: tuple[tuple[str, str, float | None], ...]) -> list[Limit]:
    return [Limit(metric, relation, limit) for metric, relation, limit in limits if limit is not None]


_LIMITS: dict[type[Any], Callable[[Any], list[Limit]]] = {
    ContractGate: _contract,
    LineageGate: _lineage,
    ReproducibilityGate: _reproducibility,
    CalibrationGate: _calibration,
    FairnessGate: _fairness,
    StabilityGate: _stability,
    ParityGate: _parity,
    ThroughputGate: _throughput,
    SizeGate: _size,
    SecurityGate: _security,
    CardGate: _card,
}
