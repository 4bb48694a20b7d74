"""Release gates: pure functions from metrics to a verdict; what is missing is never a pass.

A gate is a list of comparisons. It passes where all hold, fails where one does not, and has no
evidence where a metric is missing or not finite, whatever the others say.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparkml_ops.config.release import AbsoluteGate, BaselinesGate, ReleaseSection
from sparkml_ops.records import GateReport, GateResult, ModelVersion

__all__ = ["absolute", "against_baselines", "enough_rows", "evaluate_gates"]

_RELATIONS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, ">": operator.gt, "<=": operator.le}
# The AUC of any constant, the base rate among them.
_CONSTANT_AUC = 0.5


@dataclass(frozen=True)
class _Comparison:
    """`metric` against a number, or against another metric plus a margin."""

    metric: str
    relation: str
    limit: float = 0.0
    other: str | None = None


def evaluate_gates(settings: ReleaseSection, metrics: Mapping[str, float], *, version: ModelVersion, config_hash: str) -> GateReport:
    """Judge a model version by all configured gates.

    Args:
        settings: The gates.
        metrics: Metrics of the evaluation split, by name.
        version: What is judged; the evaluation rows are part of its training set.
        config_hash: Of the configuration that holds the gates.

    Returns:
        A report bound to digest, evaluation set and configuration; it passed only where every gate did.
    """
    results = [enough_rows(settings.minimum_rows, metrics)]
    for name, gate in sorted(settings.gates.items()):
        results.append(absolute(name, gate, metrics) if isinstance(gate, AbsoluteGate) else against_baselines(name, gate, metrics))
    return GateReport(
        model=version.name,
        version=version.version,
        digest=version.digest,
        evaluation_hash=version.training_set.content_hash,
        config_hash=config_hash,
        passed=all(result.verdict == "pass" for result in results),
        results=tuple(results),
    )


def enough_rows(minimum: int, metrics: Mapping[str, float]) -> GateResult:
    """Whether the evaluation split is large enough to judge by; a small one is no evidence.

    >>> enough_rows(1000, {"evaluation_rows": 28_000}).verdict, enough_rows(1000, {"evaluation_rows": 3}).verdict
    ('pass', 'no evidence')
    """
    result = _judge("minimum_rows", [_Comparison("evaluation_rows", ">=", minimum)], metrics)
    if result.verdict != "fail":
        return result
    return GateResult(result.gate, "no evidence", result.found, result.limit, f"too few rows to judge by: {result.message}")


def absolute(name: str, gate: AbsoluteGate, metrics: Mapping[str, float]) -> GateResult:
    """Whether a metric lies within fixed limits.

    >>> gate = AbsoluteGate(kind="absolute", metric="evaluation_auc", at_least=0.7)
    >>> [absolute("auc", gate, {"evaluation_auc": value}).verdict for value in (0.7, 0.69, float("nan"))]
    ['pass', 'fail', 'no evidence']
    """
    limits = ((">=", gate.at_least), ("<=", gate.at_most))
    return _judge(name, [_Comparison(gate.metric, relation, limit) for relation, limit in limits if limit is not None], metrics)


def against_baselines(name: str, gate: BaselinesGate, metrics: Mapping[str, float]) -> GateResult:
    """Whether the model beats the base rate and a logistic regression on the evaluation rows.

    The gain in AUC over the regression must be positive beyond chance: its paired bootstrap interval
    (Efron & Tibshirani 1993, ch. 13) lies above the limit. Log loss must be no worse than either's.
    """
    comparisons = [
        _Comparison("auc_gain_logistic_lower", ">", gate.auc_gain),
        _Comparison("evaluation_auc", ">", _CONSTANT_AUC),
        _Comparison("evaluation_log_loss", "<=", gate.log_loss_margin, "baseline_logistic_log_loss"),
        _Comparison("evaluation_log_loss", "<=", gate.log_loss_margin, "baseline_rate_log_loss"),
    ]
    return _judge(name, comparisons, metrics)


def _judge(name: str, comparisons: Sequence[_Comparison], metrics: Mapping[str, float]) -> GateResult:
    used = dict.fromkeys(metric for item in comparisons for metric in (item.metric, item.other) if metric)
    found = {metric: float(metrics[metric]) for metric in used if _finite(metrics.get(metric))}
    limits = {_text(item): _limit(item, found) for item in comparisons if item.other is None or item.other in found}
    if absent := [metric for metric in used if metric not in found]:
        return GateResult(name, "no evidence", found, limits, f"no finite value of {', '.join(absent)}")
    broken = [item for item in comparisons if not _RELATIONS[item.relation](found[item.metric], _limit(item, found))]
    message = "; ".join(f"{item.metric} {found[item.metric]:.6g}, limit {item.relation} {_shown(item, found)}" for item in broken or comparisons)
    return GateResult(name, "fail" if broken else "pass", found, limits, message)


def _limit(item: _Comparison, found: Mapping[str, float]) -> float:
    return item.limit + (found[item.other] if item.other else 0.0)


def _text(item: _Comparison) -> str:
    return f"{item.metric} {item.relation}" + (f" {item.other}" if item.other else "")


def _shown(item: _Comparison, found: Mapping[str, float]) -> str:
    return f"{_limit(item, found):.6g}" + (f" ({item.other})" if item.other else "")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
