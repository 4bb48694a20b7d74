"""Gates that look at a challenger beside the champion: pure functions of a comparison, bound to the champion that it was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sparkml_ops.config.release import ChampionGate, SlicesGate
from sparkml_ops.records import GateResult
from sparkml_ops.release.comparison import Comparison
from sparkml_ops.release.limits import Limit, judge, no_evidence

__all__ = ["against_champion", "slices"]

_FIRST = "first model: no champion to compare with"
_UNMEASURED = "not measured beside the champion"
_SHOWN = 5
_BOOTSTRAP, _DELONG = "auc_gain_champion_lower", "auc_gain_champion_delong_lower"
_LOWER = {"bootstrap": (_BOOTSTRAP,), "delong": (_DELONG,), "both": (_BOOTSTRAP, _DELONG)}


def against_champion(name: str, gate: ChampionGate, comparison: Comparison | None) -> GateResult:
    """Whether a challenger is not worse than the champion by more than a margin, or is better by more than one, beyond chance.

    Non-inferiority as in clinical trials (Piaggio et al. 2012): the lower limit of the interval of the gain lies above minus the margin, and for
    superiority above the margin. The interval is that of the paired bootstrap on the same rows (Efron & Tibshirani 1993, ch. 13), DeLong's, or
    the worse of both. The first model has none to beat.
    """
    if comparison is None:
        return no_evidence(name, _UNMEASURED)
    if comparison.first:
        return GateResult(name, "pass", {}, {}, _FIRST, comparison.champion)
    if comparison.gap:
        return no_evidence(name, comparison.gap, comparison.champion)
    found = comparison.metrics
    if (rows := found.get("rows", 0.0)) < gate.minimum_rows:
        return replace(no_evidence(name, f"too few rows to judge by: {rows:.0f}, limit >= {gate.minimum_rows}", comparison.champion), found=found)
    margin = gate.auc_margin if gate.hypothesis == "superiority" else 0.0 - gate.auc_margin
    limits = [Limit(figure, ">", margin) for figure in _LOWER[gate.interval]]
    if gate.log_loss_margin is not None:
        limits.append(Limit("log_loss_gain_champion_lower", ">", 0.0 - gate.log_loss_margin))
    result = judge(name, limits, found)
    message = f"beside version {comparison.champion.partition(' ')[0]} on {rows:.0f} rows: {result.message}"
    return replace(result, found=found, message=message, champion=comparison.champion)


def slices(name: str, gate: SlicesGate, comparison: Comparison | None) -> GateResult:
    """Whether a challenger holds its limits in every slice that is large enough to judge by; no such slice is no evidence."""
    bound = comparison.champion if comparison is not None and gate.compares else ""
    if comparison is None:
        return no_evidence(name, _UNMEASURED)
    if comparison.first and not gate.absolute:
        return GateResult(name, "pass", {}, {}, f"{_FIRST} in any slice", bound)
    if comparison.gap and ((gate.compares and not comparison.first) or not comparison.slices):
        return no_evidence(name, comparison.gap, bound)
    if missing := [f"{column}: {comparison.unmeasured[column]}" for column in gate.columns if column in comparison.unmeasured]:
        return no_evidence(name, "; ".join(missing[:_SHOWN]), bound)
    mine = {cut: found for cut, found in comparison.slices.items() if cut.partition("=")[0] in gate.columns}
    large = {cut: found for cut, found in mine.items() if _supported(found, gate)}
    small = _listed([_size(cut, found) for cut, found in mine.items() if cut not in large])
    if not large:
        need = f"no slice of {gate.minimum_rows} rows with {gate.minimum_positives} of either label"
        return no_evidence(name, f"{need}; there are {small or 'none at all'}", bound)
    limits = _limits(gate, first=comparison.first)
    judged = {cut: judge(cut, limits, found) for cut, found in large.items()}
    notes = [*([f"not judged: {small}"] if small else []), *([_FIRST] if comparison.first and gate.compares else [])]
    return replace(_together(name, judged, notes), champion=bound)


def _together(name: str, judged: Mapping[str, GateResult], notes: Sequence[str]) -> GateResult:
    """The results of all slices as one: a missing figure outweighs a broken limit, and that one all others."""
    found = {f"{cut} {metric}": value for cut, result in judged.items() for metric, value in result.found.items()}
    limit = next(iter(judged.values())).limit
    for verdict in ("no evidence", "fail"):
        if hit := [f"{cut}: {result.message}" for cut, result in judged.items() if result.verdict == verdict]:
            return GateResult(name, verdict, found, limit, "; ".join([*_shortened(hit), *notes]))
    return GateResult(name, "pass", found, limit, "; ".join([f"{len(judged)} slices within their limits", *notes]))


def _limits(gate: SlicesGate, *, first: bool) -> list[Limit]:
    limits = [
        *([Limit("challenger_auc", ">=", gate.auc_at_least)] if gate.auc_at_least is not None else []),
        *([Limit("challenger_log_loss", "<=", gate.log_loss_at_most)] if gate.log_loss_at_most is not None else []),
    ]
    if not first and gate.auc_margin is not None:
        limits.append(Limit("auc_gain_champion", ">=", 0.0 - gate.auc_margin))
    if not first and gate.log_loss_margin is not None:
        limits.append(Limit("log_loss_gain_champion", ">=", 0.0 - gate.log_loss_margin))
    return limits


def _supported(found: Mapping[str, float], gate: SlicesGate) -> bool:
    return found["rows"] >= gate.minimum_rows and min(found["positives"], found["negatives"]) >= gate.minimum_positives


def _size(cut: str, found: Mapping[str, float]) -> str:
    return f"{cut} ({found['rows']:.0f} rows, {found['positives']:.0f} of label 1)"


def _shortened(items: Sequence[str]) -> list[str]:
    return [*items[:_SHOWN], *([f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else [])]


def _listed(items: Sequence[str]) -> str:
    return ", ".join(_shortened(items))
