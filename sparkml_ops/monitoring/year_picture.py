"""Numbers for the pictures of a year: lines with bands and bars by month, in the units of an SVG's box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from math import ceil, floor, log10
from typing import Literal

from sparkml_ops.monitoring.year import Limit, Month, Overlay, Year
from sparkml_ops.window import Window

__all__ = [
    "BarPicture",
    "Box",
    "LinePicture",
    "Mark",
    "OverlayPicture",
    "Series",
    "Tick",
    "bars",
    "labels_of",
    "lines",
    "overlaid",
    "short_label",
    "ticks_between",
]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 12.0, 34.0, 38.0
# A label needs this much of the axis; fewer are shown where windows are many.
_LABEL = 30.0
_FEW, _LONGEST = 3, 7  # letters of a category under its bar; where there are few, twice as many: a date in full
_KINDS: tuple[Literal["estimated", "realised"], ...] = ("estimated", "realised")


@dataclass(frozen=True)
class Box:
    """Size of a picture, and the part of it that holds the data."""

    width: float
    height: float

    @property
    def left(self) -> float:
        """Where the axis of values is."""
        return _LEFT

    @property
    def right(self) -> float:
        """End of the axis of months."""
        return self.width - _RIGHT

    @property
    def top(self) -> float:
        """Upper end of the axis of values."""
        return _TOP

    @property
    def bottom(self) -> float:
        """Where the axis of months is."""
        return self.height - _BOTTOM


@dataclass(frozen=True)
class Tick:
    """A label at a place of an axis; `year` stands under it where a new one begins."""

    at: float
    text: str
    year: str = ""


@dataclass(frozen=True)
class Mark:
    """A month's value and what it says when it is pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Series:
    """One line with its band.

    Args:
        kind: `realised` or `estimated`.
        line: SVG path; broken where a month is missing.
        band: SVG path of the interval.
        marks: One for each month with a value.
    """

    kind: str
    line: str
    band: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class LinePicture:
    """A metric by month.

    Args:
        values: Ticks of the axis of values.
        months: Ticks of the axis of months.
        limits: (y, words) of each limit.
        takeovers: Where another version became the champion.
    """

    box: Box
    values: tuple[Tick, ...]
    months: tuple[Tick, ...]
    series: tuple[Series, ...]
    limits: tuple[tuple[float, str], ...]
    takeovers: tuple[Tick, ...]


@dataclass(frozen=True)
class BarPicture:
    """A number by month as bars from zero; a month without it has none."""

    box: Box
    values: tuple[Tick, ...]
    months: tuple[Tick, ...]
    bars: tuple[Mark, ...]
    thickness: float


@dataclass(frozen=True)
class OverlayPicture:
    """Distributions over each other.

    Args:
        values: Ticks of the axis of shares.
        months: Ticks of the axis of values.
        reference: SVG path of its area.
        earlier: (path, window) of each window but the newest.
        newest: Path of the newest window.
    """

    box: Box
    values: tuple[Tick, ...]
    months: tuple[Tick, ...]
    reference: str
    earlier: tuple[tuple[str, str], ...]
    newest: str


def overlaid(overlay: Overlay, box: Box) -> OverlayPicture:
    """Steps over the same bins: the reference's as an area, each window's as a line."""
    greatest = max(max(shares) for shares in (overlay.reference, *overlay.windows.values()))
    ticks = ticks_between(0.0, greatest * 100 or 1.0, 4)
    scale, width = (box.bottom - box.top) / ticks[-1] * 100, box.right - box.left

    def steps(shares: Sequence[float]) -> str:
        step = width / len(shares)
        heights = [f"{box.bottom - share * scale:.1f}" for share in shares]
        return "".join(
            f"{'L' if place else 'M'}{box.left + place * step:.1f} {height}H{box.left + (place + 1) * step:.1f}"
            for place, height in enumerate(heights)
        )

    *before, newest = overlay.windows.items()
    longest = _LONGEST if len(overlay.ticks) > _FEW else 2 * _LONGEST
    places = tuple(Tick(box.left + place * width, text if len(text) <= longest else f"{text[: longest - 1]}…") for place, text in overlay.ticks)
    shares = tuple(Tick(box.bottom - value / 100 * scale, f"{_number(value, ticks[1] - ticks[0])} %") for value in ticks)
    area = f"{steps(overlay.reference)}V{box.bottom:.1f}H{box.left:.1f}Z"
    return OverlayPicture(box, shares, places, area, tuple((steps(found), label) for label, found in before), steps(newest[1]))


def lines(year: Year, metric: str, box: Box) -> LinePicture | None:
    """A metric by month, realised and estimated; None where no month has it."""
    calendar = year.calendar
    figures = {kind: [month.figure(metric, kind) for month in calendar] for kind in _KINDS}
    limits = _limits(year.limit, metric)
    seen = [value for row in figures.values() for item in row if item for value in (item.value, item.lower, item.upper) if value is not None]
    if not seen:
        return None
    ticks = ticks_between(*_padded([*seen, *(value for value, _ in limits)]))
    low, high = ticks[0], ticks[-1]

    def y(value: float) -> float:
        return box.bottom - (value - low) / (high - low) * (box.bottom - box.top)

    places = _places(len(calendar), box)
    series = []
    for kind, row in figures.items():
        points = [
            None if item is None or item.value is None else (x, y(item.value), y(_or(item.lower, item.value)), y(_or(item.upper, item.value)))
            for x, item in zip(places, row, strict=True)
        ]
        marks = tuple(
            Mark(point[0], point[1], _said(month, kind, item.value, item.lower, item.upper))
            for month, item, point in zip(calendar, row, points, strict=True)
            if item and point and item.value is not None
        )
        if marks:
            runs = [[point for point in group if point] for there, group in groupby(points, key=bool) if there]
            series.append(Series(kind, "".join(_line(run) for run in runs), "".join(_band(run) for run in runs), marks))
    return LinePicture(
        box,
        tuple(Tick(y(value), _number(value, ticks[1] - ticks[0])) for value in ticks),
        _months(calendar, places),
        tuple(series),
        tuple((y(value), text) for value, text in limits),
        _takeovers(year, calendar, box),
    )


def bars(calendar: Sequence[Month], values: Sequence[float | None], texts: Sequence[str], box: Box, *, unit: str = "") -> BarPicture:
    """A number by month; None leaves a gap.

    Args:
        values: One for each month.
        texts: What each bar says when it is pointed at.
        unit: Written after each tick.
    """
    ticks = ticks_between(0.0, max((value for value in values if value is not None), default=0.0) or 1.0)
    places, scale = _places(len(calendar), box), (box.bottom - box.top) / ticks[-1]
    step = (box.right - box.left) / max(len(calendar), 1)
    found = tuple(Mark(x, box.bottom - value * scale, text) for x, value, text in zip(places, values, texts, strict=True) if value is not None)
    marks = tuple(Tick(box.bottom - value * scale, f"{_number(value, ticks[1] - ticks[0])}{unit}") for value in ticks)
    return BarPicture(box, marks, _months(calendar, places), found, min(step * 0.62, 48.0))


def ticks_between(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at or below the lowest value to at or above the highest.

    >>> ticks_between(0.66, 0.74)
    [0.66, 0.68, 0.7, 0.72, 0.74]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(span / (wanted - 1)))
    step = next(size * power for size in (1, 2, 5, 10) if size * power * (wanted - 1) >= span * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, max(last, first + 1) + 1)]


def short_label(window: str) -> str:
    """A window as short as an axis allows.

    >>> [short_label(label) for label in ("2013-07", "2013-07-14", "2013-07-14T05")]
    ['Jul', '14', '05h']
    """
    return {7: _MONTHS[int(window[5:7]) - 1], 10: window[8:], 13: f"{window[11:]}h"}[len(window)]


def labels_of(windows: Sequence[str]) -> list[tuple[str, str]]:
    """Short labels, and where a greater unit begins what it is.

    >>> labels_of(["2013-11", "2013-12", "2014-01"])
    [('Nov', '2013'), ('Dec', ''), ('Jan', '2014')]
    """
    within = [window[: {7: 4, 10: 7, 13: 10}[len(window)]] for window in windows]
    return [(short_label(window), unit if unit != before else "") for window, unit, before in zip(windows, within, ["", *within], strict=False)]


def _places(count: int, box: Box) -> list[float]:
    step = (box.right - box.left) / max(count, 1)
    return [box.left + (place + 0.5) * step for place in range(count)]


def _months(calendar: Sequence[Month], places: Sequence[float]) -> tuple[Tick, ...]:
    """Labels of the windows, and under the first one of each greater unit what they are part of."""
    if not calendar:
        return ()
    every = max(1, ceil(_LABEL / (places[1] - places[0]))) if len(places) > 1 else 1
    shown = list(zip(calendar, places, strict=True))[::every]
    labels = labels_of([month.window for month, _ in shown])
    return tuple(Tick(place, text, within) for (text, within), (_, place) in zip(labels, shown, strict=True))


def _takeovers(year: Year, calendar: Sequence[Month], box: Box) -> tuple[Tick, ...]:
    """Moves of the champion inside the time that the picture shows; the first one took over from nobody."""
    windows = [Window.parse(month.window) for month in calendar]
    step = (box.right - box.left) / max(len(windows), 1)
    found = []
    for move in year.takeovers[1:]:
        at = datetime.fromisoformat(move.at)
        if not windows or not windows[0].start < at <= windows[-1].end:
            continue
        place = next(index for index, window in enumerate(windows) if at <= window.end)
        share = (at - windows[place].start) / (windows[place].end - windows[place].start)
        found.append(Tick(box.left + (place + share) * step, "none" if move.version is None else f"v{move.version}"))
    return tuple(found)


def _limits(limit: Limit | None, metric: str) -> list[tuple[float, str]]:
    if limit is None or limit.metric != metric:
        return []
    both = ((limit.at_least, "at least"), (limit.at_most, "at most"))
    return [(value, f"policy: {words} {value:g}") for value, words in both if value is not None]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    edge = (high - low) * 0.06 or abs(high) * 0.02 or 0.01
    # A figure that cannot be negative has no axis below zero.
    return (max(low - edge, 0.0) if low >= 0 else low - edge), high + edge


def _line(run: Sequence[tuple[float, float, float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, *_ in run) if len(run) > 1 else ""


def _band(run: Sequence[tuple[float, float, float, float]]) -> str:
    """The interval as an area; of a month without neighbours, as a block about it."""
    if len(run) == 1:
        x, _, lower, upper = run[0]
        run = [(x - 6, 0.0, lower, upper), (x + 6, 0.0, lower, upper)]
    above = [f"{x:.1f} {upper:.1f}" for x, _, _, upper in run]
    below = [f"{x:.1f} {lower:.1f}" for x, _, lower, _ in reversed(run)]
    return f"M{'L'.join([*above, *below])}Z"


def _said(month: Month, kind: str, value: float, lower: float | None, upper: float | None) -> str:
    interval = "" if lower is None or upper is None else f" ({lower:.4f} to {upper:.4f})"
    return f"{month.window}, {kind}: {value:.4f}{interval}"


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _number(value: float, step: float) -> str:
    """A tick with as many decimals as its step needs."""
    if step >= 1000:
        return f"{value / 1000:,.0f}k" if value else "0"
    if step >= 1:
        return f"{value:,.0f}"
    return f"{value:.{max(0, -floor(log10(step) + 1e-9))}f}"
