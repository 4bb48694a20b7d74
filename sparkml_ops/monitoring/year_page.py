"""The year as one HTML page: readable on a phone, in light and dark, needing nothing from elsewhere."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from sparkml_ops.monitoring.year import ColumnState, Month, Overlay, Takeover, Year
from sparkml_ops.monitoring.year_picture import BarPicture, Box, bars, labels_of, lines, overlaid
from sparkml_ops.monitoring.year_template import PAGE
from sparkml_ops.page import template
from sparkml_ops.window import Window

__all__ = ["render"]

# Wide for a desk, narrow for a phone and for the small pictures: both are drawn at the size of their text.
_WIDE, _NARROW, _LOW = Box(900, 330), Box(400, 260), Box(400, 200)
_METRICS = {
    "auc": ("AUC", "How well rows of label 1 are told from the others: 1 is perfect, 0.5 is chance."),
    "log_loss": ("Log loss", "In nats a row; lower is better."),
    "brier": ("Brier score", "Mean squared error of the probability; lower is better."),
    "calibration_error": ("Calibration error", "How far probabilities lie from what happened; lower is better."),
    "rate": ("Label rate", "Share of rows with label 1: how the world moves."),
}
_MARKS = {"drift": "●", "fault": "▲", "undecided": "?", "no drift": ""}
_STEPS = ((0.5, "below ½"), (1.0, "½ to 1"), (2.0, "1 to 2"), (3.0, "2 to 3"), (float("inf"), "3 and more"))
_SIZES = {7: "month", 10: "day", 13: "hour"}


def render(year: Year) -> str:
    """The page of a year."""
    calendar = year.calendar
    kind = _SIZES[len(calendar[-1].window)] if calendar else "month"
    rows = _rows(calendar, kind)
    page: str = _template().render(
        year=year,
        title=_title(year),
        kind=kind,
        calendar=calendar,
        tiles=_tiles(year),
        panels=_panels(year, kind),
        metrics=[name for name, _ in _METRICS.values()],
        figures=[_figures(year, month) for month in calendar],
        findings=[f"{month.window}: {text}" for month in calendar if month.monitor for text in month.monitor.findings],
        heads=[(month.window, *label) for month, label in zip(calendar, labels_of([month.window for month in calendar]), strict=True)],
        heat=[{"name": name, "cells": [_cell(name, month) for month in calendar]} for name in year.columns],
        steps=[(f"h{place}", words) for place, (_, words) in enumerate(_STEPS)],
        overlays=[_overlay(overlay) for overlay in year.overlays],
        alerts=year.alerts,
        decisions=[_decision(month) for month in calendar if month.decision],
        versions=_versions(year),
        **rows,
    )
    return page.lstrip()


@cache
def _template() -> Template:
    return template(PAGE, px=_px, four="{:.4f}".format, share=_share, day=_day, breakable=_breakable)


def _title(year: Year) -> str:
    if not year.months:
        return f"{year.project}: nothing is scored yet"
    first, last = _words(year.months[0].window), _words(year.months[-1].window)
    return f"{year.project}: {first}" + (f" to {last}" if last != first else "")


def _words(window: str) -> str:
    """A window as people say it.

    >>> _words("2013-07")
    'July 2013'
    """
    return f"{Window.parse(window).start:%B %Y}" if len(window) == 7 else window


def _tiles(year: Year) -> list[dict[str, str]]:
    """What the state is now."""
    since = year.takeovers[-1].at if year.takeovers else ""
    tiles = [_tile("champion", "none" if year.champion is None else f"version {year.champion}", f"since {_day(since)}" if since else "")]
    if not year.months:
        return tiles
    month = year.months[-1]
    rows = "not scored" if month.rows is None else f"{month.rows:,} rows, {_share((month.quarantined or 0) / max(month.total, 1))} quarantined"
    tiles.append(_tile("newest window", _words(month.window), rows))
    realised, estimated = month.figure("auc"), month.figure("auc", "estimated")
    known = "no truth yet" if month.monitor is None else f"truth of {_share(month.monitor.completeness)}"
    guess = f", estimated {estimated.value:.4f}" if estimated and estimated.value is not None else ""
    tiles.append(_tile("AUC", f"{realised.value:.4f}" if realised and realised.value is not None else "unknown", known + guess))
    faults = len(month.with_verdict("fault"))
    if month.drift:
        more = f"{faults} with a fault" if faults else "no fault"
        tiles.append(_tile("drifting columns", f"{len(month.with_verdict('drift'))} of {len(month.drift)}", more))
    if month.decision:
        tiles.append(_tile("new model?", month.decision.decision, month.decision.trigger or "no trigger fired"))
    return tiles


def _tile(what: str, value: str, more: str) -> dict[str, str]:
    return {"what": what, "value": value, "more": more}


def _panels(year: Year, kind: str) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    for metric, (name, meaning) in _METRICS.items():
        wide, narrow = lines(year, metric, _WIDE), lines(year, metric, _NARROW)
        if wide is None or narrow is None:
            continue
        said = "; ".join(mark.text for series in reversed(wide.series) for mark in series.marks)
        moves = "".join(f"; version {move.version} became the champion on {_day(move.at)}" for move in year.takeovers[1:] if move.version)
        panels.append(
            {
                "main": not panels,
                "title": f"{name} by {kind}",
                "meaning": meaning,
                "axis": name,
                "label": f"{name} by {kind}: {said}{moves}",
                "wide": wide,
                "narrow": narrow,
            }
        )
    return panels


def _figures(year: Year, month: Month) -> dict[str, Any]:
    pairs = []
    for metric in _METRICS:
        realised = month.figure(metric)
        judged = year.limit is not None and year.limit.metric == metric and realised is not None and realised.value is not None
        broken = year.limit.broken_by(realised.value) if judged and year.limit and realised and realised.value is not None else ""
        pairs.append({"realised": realised, "estimated": month.figure(metric, "estimated"), "broken": broken})
    monitor = month.monitor
    known = "–" if monitor is None else f"{_share(monitor.completeness)}{'' if monitor.final else ', not final'}"
    return {"window": month.window, "known": known, "pairs": pairs}


def _cell(name: str, month: Month) -> dict[str, str]:
    column = month.drift.get(name)
    if column is None:
        return {"style": "gap", "number": "", "mark": "–", "verdict": "not measured", "text": f"{name}, {month.window}: not measured"}
    effect = "" if column.effect is None else f"{column.effect:.{1 if column.effect < 9.95 else 0}f}"
    said = f", effect {column.effect:.3g} × its threshold" if column.effect is not None else ""
    return {
        "style": f"{_heat(column)} v-{column.verdict.replace(' ', '-')}",
        "number": effect,
        "mark": _MARKS.get(column.verdict, "?"),
        "verdict": column.verdict,
        "text": f"{name}, {month.window}: {column.verdict}{said}",
    }


def _overlay(overlay: Overlay) -> dict[str, Any]:
    """The picture of a column, and the same in words: which bin moved most."""
    newest = max(overlay.windows)
    moved = max(abs(now - before) for now, before in zip(overlay.windows[newest], overlay.reference, strict=True))
    label = f"{overlay.column}: its values in {newest} over those of the reference; no bin's share moved by more than {_share(moved)}"
    return {"title": overlay.column, "newest": newest, "label": label, "picture": overlaid(overlay, _LOW)}


def _heat(column: ColumnState) -> str:
    effect = column.effect or 0.0
    return f"h{next((place for place, (end, _) in enumerate(_STEPS) if effect < end), len(_STEPS) - 1)}"


def _decision(month: Month) -> dict[str, str]:
    decision = month.decision
    assert decision is not None
    held = decision.decision == "no" and bool(decision.trigger)
    challenger = decision.challenger
    outcome = "" if challenger is None else f"v{challenger.version} {'promoted' if decision.promoted else 'refused'}"
    return {
        "window": month.window,
        "answer": "no, held back" if held else decision.decision,
        "style": "held" if held else decision.decision,
        "trigger": decision.trigger or "no trigger",
        "reason": decision.reason,
        "outcome": outcome,
        "outcome_style": "yes" if decision.promoted else "refused",
    }


def _versions(year: Year) -> list[dict[str, Any]]:
    decisions = [month.decision for month in year.months if month.decision and month.decision.challenger]
    born = {decision.challenger.version: decision for decision in decisions if decision.challenger}
    scored = _scored(year.months)
    known = {move.version for move in year.takeovers} | set(born) | set(scored) | {year.champion}
    rows = []
    for version in sorted(number for number in known if number is not None):
        said = [_reign(year.takeovers, place) for place, move in enumerate(year.takeovers) if move.version == version]
        if (decision := born.get(version)) is not None:
            said.insert(0, f"trained after {decision.window} ({decision.trigger}), {'promoted' if decision.promoted else 'refused by its gates'}")
        spans = f"scored {', '.join(scored[version])}" if version in scored else "scored nothing"
        rows.append({"version": version, "champion": version == year.champion, "fate": "; ".join(said) or "–", "scored": spans})
    return rows


def _scored(months: tuple[Month, ...]) -> dict[int, list[str]]:
    """By version the spans of windows that it scored."""
    found: dict[int, list[str]] = {}
    for version, group in groupby(months, key=lambda month: month.model_version):
        windows = [month.window for month in group]
        if version is not None:
            found.setdefault(version, []).append(windows[0] if len(windows) == 1 else f"{windows[0]} to {windows[-1]}")
    return found


def _reign(moves: tuple[Takeover, ...], place: int) -> str:
    end = f" to {_day(moves[place + 1].at)}" if place + 1 < len(moves) else ""
    return f"champion from {_day(moves[place].at)}{end} ({moves[place].reason})"


def _rows(calendar: tuple[Month, ...], kind: str) -> dict[str, BarPicture | str]:
    rows = [f"{month.window}: {'not scored' if month.rows is None else f'{month.rows:,} rows'}" for month in calendar]
    shares = [None if month.quarantined is None else month.quarantined / max(month.total, 1) * 100 for month in calendar]
    aside = [
        f"{month.window}: {'not scored' if share is None else f'{month.quarantined:,} rows, {_share(share / 100)}'}"
        for month, share in zip(calendar, shares, strict=True)
    ]
    return {
        "rows_picture": bars(calendar, [month.rows for month in calendar], rows, _NARROW),
        "rows_label": f"Rows scored by {kind}: {'; '.join(rows)}",
        "quarantine_picture": bars(calendar, shares, aside, _NARROW),
        "quarantine_label": f"Rows in quarantine by {kind}: {'; '.join(aside)}",
    }


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _breakable(name: str) -> Markup:
    """A column's name that may go on in another line after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def _share(value: float) -> str:
    return f"{value * 100:.3g} %"


def _day(text: str) -> str:
    """The day of an instant; its time too where that is not midnight."""
    moment = datetime.fromisoformat(text)
    return f"{moment:%Y-%m-%d}" if (moment.hour, moment.minute) == (0, 0) else f"{moment:%Y-%m-%d %H:%M}"
