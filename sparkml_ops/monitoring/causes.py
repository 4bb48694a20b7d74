"""Which columns are behind a drift: effect times importance, and the segments that carry it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Cause", "Share", "rank"]

_LARGEST = 1e6


@dataclass(frozen=True)
class Share:
    """How much of a column's shift one segment carries.

    Args:
        segment: `name=value`.
        effect: In minimum effects; 0 where it was not compared.
        rows: Share of the window's rows, of those with a value.
        carries: Its share of the column's shift; the shares of one segment column's values add up to 1, and one that works against the shift is negative.
            Where the profiles are gone it is estimated: its rows times its effect, over the sum of that over the segments that drift.
    """

    segment: str
    effect: float
    rows: float
    carries: float


@dataclass(frozen=True)
class Cause:
    """A column that drifts or is at fault.

    Args:
        column: Its name.
        verdict: `fault` or `drift`.
        statistic: The strongest.
        value: Of the statistic.
        threshold: The minimum effect.
        effect: Value in minimum effects.
        importance: How much the model hangs on the column, as a share of all columns' sum; None where nobody measured it.
        score: Effect times importance; effect alone where nobody measured any, and times an equal share of one of which nothing is known.
        segments: Those that carry most first.
    """

    column: str
    verdict: str
    statistic: str
    value: float
    threshold: float
    effect: float
    importance: float | None
    score: float
    segments: tuple[Share, ...] = ()


def rank(
    rows: Iterable[Mapping[str, Any]],
    importance: Mapping[str, float] | None,
    *,
    unknown: Collection[str] = (),
    parts: Callable[[str, str], Mapping[str, float]] = lambda *_: {},
) -> tuple[Cause, ...]:
    """The columns of a comparison that drift or are at fault, the likeliest root first; faults come before drift.

    Args:
        rows: Of `drift_metrics`, one window, all columns, segments and statistics.
        importance: By column, in any unit; below 0 counts as 0, and a column that is missing as 0. None: nobody measured it.
        unknown: Columns whose importance nobody may look at.
        parts: Makes, of a column and its strongest statistic, the share of the shift that each segment carries; empty where that is not known.

    >>> one = {"segment": None, "statistic": "ks", "threshold": 0.1, "verdict": "drift", "m": 10}
    >>> rows = [{**one, "column": "a", "value": 0.4}, {**one, "column": "b", "value": 0.2}]
    >>> [(cause.column, round(cause.score, 2)) for cause in rank(rows, {"a": 1.0, "b": 9.0})]
    [('b', 1.8), ('a', 0.4)]
    """
    every = list(rows)
    judged = [row for row in every if row["verdict"] in ("drift", "fault") and row["value"] is not None]
    by_column: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in judged:
        by_column[row["column"]].append(row)
    weights = None if importance is None else {name: max(value, 0.0) for name, value in importance.items()}
    whole = sum(weights.values()) if weights else 0.0
    equal = 1 / max(len({*(weights or ()), *unknown}), 1)
    found = []
    for column, mine in by_column.items():
        strongest = max((row for row in mine if row["segment"] is None), key=lambda row: (row["verdict"] == "fault", _effect(row)), default=None)
        if strongest is None:
            continue  # only a segment drifts: a report's business, and no root of the whole
        share = None if weights is None or column in unknown else weights.get(column, 0.0) / whole if whole else 0.0
        effect = _effect(strongest)
        figures = strongest["verdict"], strongest["statistic"], float(strongest["value"]), float(strongest["threshold"])
        score = effect * (share if share is not None else 1.0 if weights is None else equal)
        known = parts(column, strongest["statistic"])
        shares = _exact_shares(every, strongest, known) if known else _shares(mine, strongest)
        found.append(Cause(column, *figures, effect, share, score, shares))
    return tuple(sorted(found, key=lambda cause: (cause.verdict != "fault", -cause.score, -cause.effect, cause.column)))


def _exact_shares(rows: Sequence[Mapping[str, Any]], whole: Mapping[str, Any], parts: Mapping[str, float]) -> tuple[Share, ...]:
    """All segments, with what profiles say of them."""
    same = {row["segment"]: row for row in rows if (row["column"], row["statistic"]) == (whole["column"], whole["statistic"])}
    found = []
    for segment, part in parts.items():
        row = same.get(segment)
        effect = 0.0 if row is None or row["value"] is None else _effect(row)
        found.append(Share(segment, effect, 0.0 if row is None else row["m"] / max(whole["m"], 1), part))
    return tuple(sorted(found, key=lambda share: (-share.carries, share.segment)))


def _shares(rows: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]) -> tuple[Share, ...]:
    """Segments in which the same statistic drifts."""
    segments = [row for row in rows if row["segment"] is not None and row["statistic"] == whole["statistic"]]
    mass: dict[str, float] = defaultdict(float)
    for row in segments:
        mass[_name(row)] += row["m"] * _effect(row)
    found = [
        Share(row["segment"], _effect(row), row["m"] / max(whole["m"], 1), row["m"] * _effect(row) / mass[_name(row)] if mass[_name(row)] else 0.0)
        for row in segments
    ]
    return tuple(sorted(found, key=lambda share: (-share.carries, share.segment)))


def _name(row: Mapping[str, Any]) -> str:
    return str(row["segment"]).partition("=")[0]


def _effect(row: Mapping[str, Any]) -> float:
    return min(float(row["value"]) / row["threshold"], _LARGEST) if row["threshold"] else _LARGEST
