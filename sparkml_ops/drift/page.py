"""The report as one HTML page: readable on a phone, in light and dark, needing nothing from elsewhere."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from jinja2 import Template

from sparkml_ops.drift.picture import HEIGHT, WIDTH, bars_of, curves_of
from sparkml_ops.drift.report import ColumnDrift, DriftReport
from sparkml_ops.drift.template import PAGE
from sparkml_ops.page import template

__all__ = ["render"]

_MOST_BINS = 30
_DAY = 86_400_000_000
_LOUD = ("fault", "drift")
_WORDS = {
    "ks": "Kolmogorov-Smirnov",
    "wasserstein": "Wasserstein-1",
    "cramer_von_mises": "Cramér-von Mises",
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon",
    "kullback_leibler": "Kullback-Leibler",
    "hellinger": "Hellinger",
    "total_variation": "Total variation",
    "l_infinity": "Greatest change of a bin",
    "chi_square": "Chi-square",
    "g_test": "G",
    "fisher": "Odds ratio (Fisher)",
    "new_categories": "New categories",
    "lost_categories": "Lost categories",
    "missing": "Missing share",
    "unit": "Change of unit, factor",
}


def render(report: DriftReport) -> str:
    """The page of a report."""
    ordered = report.by_severity
    whole = [column for column in ordered if column.segment is None]
    page: str = _template().render(
        report=report,
        whole=[_card(column) for column in whole],
        segments=[_row(column) for column in ordered if column.segment is not None and column.verdict in _LOUD],
        quiet=[_row(column) for column in ordered if column.segment is not None and column.verdict not in _LOUD],
        verdicts=list(Counter(column.verdict for column in whole).items()),
        width=WIDTH,
        height=HEIGHT,
    )
    return page.lstrip()


@cache
def _template() -> Template:
    return template(PAGE, share=_share, short=_short, whole="{:,}".format)


def _row(column: ColumnDrift) -> dict[str, Any]:
    name = "total_variation" if column.ks is None else "ks"
    effect = column.measures[name]
    return {
        "anchor": f"c-{column.column}",
        "name": column.column,
        "segment": column.segment,
        "verdict": column.verdict,
        "effect_name": "KS" if name == "ks" else "TV",
        "effect": effect.value,
        "effect_share": min(1.0, (effect.value or 0.0) / (3 * effect.threshold)) if effect.threshold else 0.0,
        "judged": effect.threshold is not None,
        "psi": column.psi,
        "missing_before": column.reference.missing,
        "missing": column.missing,
        "n": column.reference.n,
        "m": column.current.n,
    }


def _card(column: ColumnDrift) -> dict[str, Any]:
    bars, more = bars_of(column)
    unit = "days" if column.type.split("_")[0] in {"date", "timestamp"} else ""
    return _row(column) | {
        "type": column.type,
        "curves": curves_of(column),
        "bars": bars,
        "more": more,
        "interval": column.ks_interval,
        "confidence": 1 - column.level,
        "measures": [
            (_WORDS[name], measure, unit if name == "wasserstein" else "") for name, measure in column.measures.items() if measure.value is not None
        ],
        "bins": _bins(column),
    }


def _bins(column: ColumnDrift) -> dict[str, Any] | None:
    if column.declared is None:
        return None
    first, second = column.declared.counts
    rows = [
        {"label": label, "reference": int(one), "current": int(two), "p": one / max(first.sum(), 1), "q": two / max(second.sum(), 1)}
        for label, one, two in zip(column.declared.labels, first, second, strict=True)
    ]
    return {"rows": rows[:_MOST_BINS], "more": max(0, len(rows) - _MOST_BINS)}


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.3g} %"


def _short(value: float | None, unit: str = "") -> str:
    """A number with four digits; a distance between instants in days."""
    if value is None:
        return "–"
    if unit == "days":
        return f"{value / _DAY:,.2f} days"
    if abs(value) < 10:
        return "0" if value == 0 else f"{value:.4f}" if abs(value) >= 5e-5 else "< 0.0001"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
