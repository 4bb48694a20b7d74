"""Limits on metrics, and the verdict of a list of them: what is missing is never a pass."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparkml_ops.records import GateResult

__all__ = ["Limit", "judge", "no_evidence"]

_RELATIONS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, ">": operator.gt, "<=": operator.le}


@dataclass(frozen=True)
class Limit:
    """`metric` against a number, or against another metric plus a margin."""

    metric: str
    relation: str
    limit: float = 0.0
    other: str | None = None


def no_evidence(name: str, reason: str, champion: str = "") -> GateResult:
    """The result of a gate that has nothing to judge by."""
    return GateResult(name, "no evidence", {}, {}, reason, champion)


def judge(name: str, limits: Sequence[Limit], metrics: Mapping[str, float]) -> GateResult:
    """The verdict on metrics: it passes where all limits hold, fails where one does not, and has no evidence where a metric is missing.

    >>> judge("auc", [Limit("auc", ">=", 0.7)], {"auc": 0.75}).message
    'auc 0.75, limit >= 0.7'
    """
    used = dict.fromkeys(metric for item in limits for metric in (item.metric, item.other) if metric)
    found = {metric: float(metrics[metric]) for metric in used if _finite(metrics.get(metric))}
    shown = {_text(item): _limit(item, found) for item in limits if item.other is None or item.other in found}
    if absent := [metric for metric in used if metric not in found]:
        return GateResult(name, "no evidence", found, shown, f"no finite value of {', '.join(absent)}")
    broken = [item for item in limits if not _RELATIONS[item.relation](found[item.metric], _limit(item, found))]
    message = "; ".join(f"{item.metric} {found[item.metric]:.6g}, limit {item.relation} {_shown(item, found)}" for item in broken or limits)
    return GateResult(name, "fail" if broken else "pass", found, shown, message)


def _limit(item: Limit, found: Mapping[str, float]) -> float:
    return item.limit + (found[item.other] if item.other else 0.0)


def _text(item: Limit) -> str:
    return f"{item.metric} {item.relation}" + (f" {item.other}" if item.other else "")


def _shown(item: Limit, found: Mapping[str, float]) -> str:
    return f"{_limit(item, found):.6g}" + (f" ({item.other})" if item.other else "")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
