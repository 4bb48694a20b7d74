"""How a series of windows changed: at once, in steps back and forth, little by little, or only for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Change", "ChangeKind", "noise", "which_change"]

ChangeKind = Literal["none", "sudden", "gradual", "incremental", "recurring", "undecided"]
_Floats = NDArray[np.float64]
_FEWEST, _MOST = 6, 200
_SWITCHES = 7
_SHORTEST = 2  # windows on each side of a change


@dataclass(frozen=True)
class Change:
    """What a series did.

    Args:
        kind: `sudden`: another level from one window on; `gradual`: windows of both levels alternate until the new one stays;
            `incremental`: it moves over some windows; `recurring`: the old level comes back; `undecided`: too few windows.
        at: Position of the first window that is not as before; None where nothing changed.
        until: Position of the first window at the new level (`incremental`, `gradual`) or back at the old one (`recurring`); None otherwise.
        before: Level before.
        after: Level after the change, also where it went back.
    """

    kind: ChangeKind
    at: int | None
    until: int | None
    before: float
    after: float


@dataclass(frozen=True)
class _Fit:
    change: Change
    residual: float
    levels: int
    places: int


def which_change(values: Sequence[float]) -> Change:
    """The kind of change that explains a series best.

    A level, a ramp between two levels, and two levels with one switch or more are fitted by least squares; an information criterion chooses.
    Of a long series the newest 200 windows are looked at.

    Args:
        values: One figure a window, in their order, without gaps.

    >>> level = [0.71, 0.70, 0.705, 0.712, 0.698]
    >>> which_change([*level, *(value - 0.1 for value in level)]).kind
    'sudden'
    """
    offset = max(len(values) - _MOST, 0)
    series = np.asarray(values, dtype=np.float64)[offset:]
    mean = float(series.mean()) if len(series) else float("nan")
    if len(series) < _FEWEST:
        return Change("undecided", None, None, mean, mean)
    floor = max((1e-9 * mean) ** 2 * len(series), 1e-300)  # an exact fit leaves rounding errors, whose logarithm is no evidence
    fits = [_Fit(Change("none", None, None, mean, mean), _squares(series - mean), 1, 0), *_ramps(series), *_switches(series)]
    best = min((fit for fit in fits if fit.levels + fit.places + 1 < len(series)), key=lambda fit: _criterion(fit, len(series), floor)).change
    at, until = (None if place is None else place + offset for place in (best.at, best.until))
    return Change(best.kind, at, until, best.before, best.after)


def noise(values: Sequence[float]) -> float:
    """Standard deviation of what a series does from one window to the next, which a level that changes hardly moves; 0 for a constant series.

    Source: median absolute deviation of the differences, over sqrt(2), made consistent for normal noise (Rousseeuw and Croux, 1993).
    """
    steps = np.diff(np.asarray(values, dtype=np.float64))
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2)) if len(steps) else 0.0


def _criterion(fit: _Fit, n: int, floor: float) -> float:
    """How badly a fit explains the series, its parameters counted: a place twice, because the best of all places is taken.

    Source: the modified criterion of Zhang and Siegmund (2007), with the small-sample term of Hurvich and Tsai (1989).
    """
    parameters = fit.levels + fit.places
    return n * log(max(fit.residual, floor) / n) + (parameters + fit.places) * log(n) + 2 * parameters * (parameters + 1) / (n - parameters - 1)


def _ramps(series: _Floats) -> Iterator[_Fit]:
    """Two levels with a straight way between; the knots are the last window before and the first one after."""
    times = np.arange(len(series), dtype=np.float64)
    best: tuple[float, int, int, tuple[float, float]] | None = None
    for first in range(len(series) - 3):
        for last in range(first + 3, len(series)):
            way = np.clip((times - first) / (last - first), 0.0, 1.0)
            centred = way - way.mean()
            slope = float(centred @ series) / float(centred @ centred)
            level = float(series.mean()) - slope * float(way.mean())
            residual = _squares(series - level - slope * way)
            if best is None or residual < best[0]:
                best = residual, first, last, (level, level + slope)
    if best is not None:
        yield _Fit(Change("incremental", best[1] + 1, best[2], *best[3]), best[0], 2, 2)


def _switches(series: _Floats) -> Iterator[_Fit]:
    """Two levels and some switches between them, each stretch at the ends at least two windows long."""
    for count in range(1, min(_SWITCHES, len(series) // 2) + 1):
        states = _path(series, count)
        if states is None:
            continue
        levels = [float(series[states == state].mean()) for state in (0, 1)]
        residual = _squares(series - np.where(states == 1, levels[1], levels[0]))
        places = np.flatnonzero(np.diff(states)) + 1
        kind: ChangeKind = "sudden" if count == 1 else "recurring" if count % 2 == 0 else "gradual"
        until = None if count == 1 else int(places[-1])
        yield _Fit(Change(kind, int(places[0]), until, *levels), residual, 2, count)


def _path(series: _Floats, count: int) -> NDArray[np.int64] | None:
    """Which of two levels each window is at, with exactly so many switches; levels and path are fitted in turn."""
    ordered = np.sort(series)
    split = min(
        range(1, len(ordered)),
        key=lambda place: _squares(ordered[:place] - ordered[:place].mean()) + _squares(ordered[place:] - ordered[place:].mean()),
    )
    pair = float(ordered[:split].mean()), float(ordered[split:].mean())
    best: tuple[float, NDArray[np.int64]] | None = None
    for levels in (pair, pair[::-1]):
        states = _shortest(series, levels, count)
        for _ in range(3):
            if states is None or len(set(states.tolist())) < 2:
                break
            fitted = float(series[states == 0].mean()), float(series[states == 1].mean())
            residual = _squares(series - np.where(states == 1, fitted[1], fitted[0]))
            if best is None or residual < best[0]:
                best = residual, states
            states = _shortest(series, fitted, count)
    return None if best is None else best[1]


def _shortest(series: _Floats, levels: tuple[float, float], count: int) -> NDArray[np.int64] | None:
    """The path of least squares by dynamic programming over (window, switches so far); the first state is 0."""
    n = len(series)
    if n < 2 * _SHORTEST:
        return None
    costs = np.stack([(series - level) ** 2 for level in levels])
    table, came = np.full((n, count + 1), np.inf), np.zeros((n, count + 1), dtype=bool)
    table[0, 0] = costs[0, 0]
    for place in range(1, n):
        for switches in range(count + 1):
            stay = table[place - 1, switches]
            allowed = switches > 0 and place >= _SHORTEST and (switches < count or place <= n - _SHORTEST)
            switch = table[place - 1, switches - 1] if allowed else np.inf
            came[place, switches] = switch < stay
            table[place, switches] = min(stay, switch) + costs[switches % 2, place]
    if not np.isfinite(table[-1, count]):
        return None
    states, switches = np.zeros(n, dtype=np.int64), count
    for place in range(n - 1, -1, -1):
        states[place] = switches % 2
        switches -= int(came[place, switches])
    return states


def _squares(values: _Floats) -> float:
    return float(values @ values)
