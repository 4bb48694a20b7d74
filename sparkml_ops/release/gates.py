"""Release gates: pure functions from metrics to a verdict; what is missing is never a pass.

A gate is a list of comparisons. It passes where all hold, fails where one does not, and has no
evidence where a metric is missing or not finite, whatever the others say.
"""

from __future__ import annotations

from collections.abc import Mapping

from sparkml_ops.config.gates import ApprovalGate, EvidenceGate
from sparkml_ops.config.release import AbsoluteGate, BaselinesGate, ChampionGate, ReleaseSection, SlicesGate
from sparkml_ops.records import GateReport, GateResult, ModelVersion
from sparkml_ops.release.champion_gates import against_champion, slices
from sparkml_ops.release.comparison import Comparison
from sparkml_ops.release.evidence_gates import Finding, by_evidence
from sparkml_ops.release.limits import Limit, judge

__all__ = ["absolute", "against_baselines", "enough_rows", "evaluate_gates"]

# The AUC of any constant, the base rate among them.
_CONSTANT_AUC = 0.5


def evaluate_gates(
    settings: ReleaseSection,
    metrics: Mapping[str, float],
    *,
    version: ModelVersion,
    config_hash: str,
    comparison: Comparison | None = None,
    findings: Mapping[str, Finding] | None = None,
) -> GateReport:
    """Judge a model version by all configured gates but an approval, which is given to the report and asked for at promotion.

    Args:
        settings: The gates.
        metrics: Metrics of the evaluation split, by name.
        version: What is judged; the evaluation rows are part of its training set.
        config_hash: Of the configuration that holds the gates.
        comparison: What was measured beside the champion; None leaves the gates that need it without evidence.
        findings: Name of a gate to what was found out for it; without an entry there is no evidence.

    Returns:
        A report bound to digest, evaluation set and configuration; it passed only where every gate did.
    """
    results = [enough_rows(settings.minimum_rows, metrics)]
    found, asked = findings or {}, [(name, gate) for name, gate in sorted(settings.gates.items()) if not isinstance(gate, ApprovalGate)]
    results += [_result(name, gate, metrics, comparison, found.get(name)) for name, gate in asked]
    return GateReport(
        model=version.name,
        version=version.version,
        digest=version.digest,
        evaluation_hash=version.training_set.content_hash,
        config_hash=config_hash,
        passed=all(result.verdict == "pass" for result in results),
        results=tuple(results),
    )


def _result(
    name: str,
    gate: AbsoluteGate | BaselinesGate | ChampionGate | SlicesGate | EvidenceGate,
    metrics: Mapping[str, float],
    comparison: Comparison | None,
    finding: Finding | None,
) -> GateResult:
    if isinstance(gate, AbsoluteGate):
        return absolute(name, gate, metrics)
    if isinstance(gate, BaselinesGate):
        return against_baselines(name, gate, metrics)
    if isinstance(gate, ChampionGate):
        return against_champion(name, gate, comparison)
    return slices(name, gate, comparison) if isinstance(gate, SlicesGate) else by_evidence(name, gate, finding)


def enough_rows(minimum: int, metrics: Mapping[str, float]) -> GateResult:
    """Whether the evaluation split is large enough to judge by; a small one is no evidence.

    >>> enough_rows(1000, {"evaluation_rows": 28_000}).verdict, enough_rows(1000, {"evaluation_rows": 3}).verdict
    ('pass', 'no evidence')
    """
    result = judge("minimum_rows", [Limit("evaluation_rows", ">=", minimum)], metrics)
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
    return judge(name, [Limit(gate.metric, relation, limit) for relation, limit in limits if limit is not None], metrics)


def against_baselines(name: str, gate: BaselinesGate, metrics: Mapping[str, float]) -> GateResult:
    """Whether the model beats the base rate and a logistic regression on the evaluation rows.

    The gain in AUC over the regression must be positive beyond chance: its paired bootstrap interval
    (Efron & Tibshirani 1993, ch. 13) lies above the limit. Log loss must be no worse than either's.
    """
    comparisons = [
        Limit("auc_gain_logistic_lower", ">", gate.auc_gain),
        Limit("evaluation_auc", ">", _CONSTANT_AUC),
        Limit("evaluation_log_loss", "<=", gate.log_loss_margin, "baseline_logistic_log_loss"),
        Limit("evaluation_log_loss", "<=", gate.log_loss_margin, "baseline_rate_log_loss"),
    ]
    return judge(name, comparisons, metrics)
