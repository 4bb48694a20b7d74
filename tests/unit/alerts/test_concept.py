"""Concept drift: river's detectors at their own positions, the kind of a change, and what it was that moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from river import drift
from river.drift import binary
from typer.testing import CliRunner
from watched_project import Watched

from sparkml_ops.cli.app import app
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.change import noise, which_change
from sparkml_ops.monitoring.detectors import BINARY, Detector, Watch, changes, settings_for_windows
from sparkml_ops.verbs.concept import concept

CLASSES: dict[Detector, Any] = {
    "adwin": drift.ADWIN,
    "kswin": drift.KSWIN,
    "page-hinkley": drift.PageHinkley,
    "ddm": binary.DDM,
    "eddm": binary.EDDM,
    "hddm-a": binary.HDDMA,
    "hddm-w": binary.HDDMW,
}


def errors(seed: int) -> np.ndarray:
    """Two thousand rows of a model that errs in one of ten, and from the middle on in four."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.random(1000) < 0.1, random.random(1000) < 0.4]).astype(float)


@pytest.mark.parametrize("detector", list(CLASSES))
@pytest.mark.parametrize("seed", [1, 2])
def test_detectors_are_rivers(detector: Detector, seed: int) -> None:
    """The same positions as river's own loop, with its defaults and with others; the planted change is among them."""
    settings = {"kswin": {"seed": 5}, "page-hinkley": {"threshold": 20.0}}.get(detector, {})
    values, machine, expected = errors(seed), CLASSES[detector](**settings), []
    if detector == "kswin":  # of two samples with many ties it says little
        values = np.random.default_rng(seed).normal(0, 1, 2000) + 1.5 * (np.arange(2000) >= 1000)
    for position, value in enumerate(values):
        machine.update(value if detector not in BINARY else bool(value))
        if machine.drift_detected:
            expected.append(position)

    found = changes(values, detector, **settings)

    assert list(found) == expected
    assert any(1000 <= position < 1300 for position in found)
    if seed == 2:
        return  # once is enough
    watch, resumed = Watch(detector, **settings), ()
    for part in np.split(values, sorted({1, 700, 1400, *found[:1]})):
        resumed += watch.take(part)
        watch = Watch.loads(watch.dumps())
    assert resumed == found


def test_a_state_of_another_river_is_refused() -> None:
    """Its numbers may mean something else."""
    stored = Watch("adwin").dumps().replace('"river": "', '"river": "0.')

    with pytest.raises(ContractError, match=r"a detector of river 0\..* begin the series anew"):
        Watch.loads(stored)


def test_gaps_are_left_out_and_keep_their_position() -> None:
    """A window without a figure is no value, and what comes after it is not moved."""
    values = errors(1)
    holes = np.insert(values, 500, [np.nan] * 7)

    assert [position - 7 * (position > 500) for position in changes(holes, "ddm")] == list(changes(values, "ddm"))


@pytest.mark.parametrize(
    ("detector", "values", "settings", "said"),
    [
        ("smell", [0.0], {}, "one of adwin"),
        ("adwin", [0.0], {"width": 3}, "of adwin"),
        ("ddm", [0.0, 0.3], {}, "the value 0.3 for ddm"),
    ],
)
def test_what_a_detector_does_not_take_is_refused(detector: Any, values: list[float], settings: dict[str, Any], said: str) -> None:
    """By name, with what it takes."""
    with pytest.raises(ContractError, match=said):
        changes(values, detector, **settings)


def planted(kind: str, random: np.random.Generator, n: int = 30) -> np.ndarray:
    """A series of a known kind: six standard deviations between two levels."""
    time, level = np.arange(n), random.normal(0, 1, n)
    shape = {
        "none": np.zeros(n),
        "sudden": time >= 15,
        "recurring": (time >= 10) & (time < 20),
        "incremental": np.clip((time - 7) / 15, 0, 1),
        "gradual": (time >= 22) | np.isin(time, (9, 10, 14, 15, 16)),
    }[kind]
    return 3.0 + level + 6 * shape


@pytest.mark.parametrize(("kind", "least"), [("none", 0.95), ("sudden", 0.95), ("recurring", 0.95), ("incremental", 0.85), ("gradual", 0.95)])
def test_planted_changes_are_named(kind: str, least: float) -> None:
    """Series whose kind is known get it; noise alone is left alone, but for one in twenty."""
    random = np.random.default_rng(11)

    found = [which_change(planted(kind, random)) for _ in range(40)]

    assert np.mean([change.kind == kind for change in found]) >= least
    if kind in ("sudden", "recurring"):
        assert np.mean([change.at in ({"sudden": 15, "recurring": 10}[kind] + near for near in (-1, 0, 1)) for change in found]) >= 0.95
    if kind == "recurring":
        assert np.mean([change.until == 20 for change in found]) >= 0.9


def test_short_and_constant_series() -> None:
    """Five windows decide nothing; a constant has no change and no noise; a step of exact levels is one."""
    assert which_change([0.1, 0.9, 0.1, 0.9, 0.5]).kind == "undecided"
    assert which_change([]).kind == "undecided"
    assert (which_change([0.7] * 12).kind, noise([0.7] * 12)) == ("none", 0.0)
    assert (which_change([0.7] * 6 + [0.6] * 6).kind, which_change([0.7] * 6 + [0.6] * 6).at) == ("sudden", 6)


def year(watched: Watched, *, auc_falls: bool, rate_rises: bool, inputs_move: bool, narrows: bool = False) -> None:
    """Twelve months: the realised figure may leave the estimated one in the seventh."""
    random, rows = np.random.default_rng(3), []
    for month in range(1, 13):
        window, as_of, late = f"2020-{month:02}", f"2021-01-{month:02}", month > 6
        small = float(random.normal(0, 0.002))
        rows.append(watched.figure(window, 0.75 + small - 0.1 * (auc_falls and late), as_of=as_of))
        rows.append(watched.figure(window, 0.75 - small, as_of=as_of, kind="estimated"))
        rows.append(watched.figure(window, 0.2 + small + 0.1 * (rate_rises and late), as_of=as_of, metric="rate"))
        rows.append(watched.figure(window, 0.3 + small + 0.2 * (narrows and late), as_of=as_of, metric="herfindahl", kind="predicted"))
        if inputs_move:
            watched.drift(window, {"distance": "drift" if late else "no drift", "amount": "no drift"}, as_of=as_of)
    watched.store(rows)


@pytest.mark.parametrize(
    ("moves", "shifts"),
    [
        ({"auc_falls": True, "rate_rises": False, "inputs_move": False}, ("concept",)),
        ({"auc_falls": False, "rate_rises": True, "inputs_move": True}, ("label", "covariate")),
        ({"auc_falls": False, "rate_rises": False, "inputs_move": False}, ("none",)),
        ({"auc_falls": False, "rate_rises": False, "inputs_move": False, "narrows": True}, ("feedback",)),
        ({"auc_falls": False, "rate_rises": False, "inputs_move": True, "narrows": True}, ("covariate",)),
    ],
)
def test_what_moved_is_told_apart(tmp_path: Path, moves: dict[str, bool], shifts: tuple[str, ...]) -> None:
    """A figure that leaves its estimate is the concept, a rate the labels, drifting columns the inputs; scores that come together alone, feedback."""
    watched = Watched(tmp_path / "p")
    year(watched, **moves)

    found = concept(watched.work, as_of="2021-02-01")

    assert found.shifts == shifts
    moved = {series.name: (series.kind, series.since) for series in found.series if series.since is not None}
    assert set(moved.values()) <= {("sudden", "2020-07")}
    assert concept(watched.work, as_of="2021-01-05").shifts == ("none",)  # five months were known then


def test_the_command_and_settings_for_windows(tmp_path: Path) -> None:
    """The table names the figure and the detector that saw it; detectors of rows have no setting of their own."""
    watched = Watched(tmp_path / "p")
    year(watched, auc_falls=True, rate_rises=False, inputs_move=False)
    words = ["concept", "--project", "tiny", "--conf", str(watched.place.folder / "conf"), "--as-of", "2021-02-01"]

    shown = CliRunner().invoke(app, words).stdout
    (auc,) = [series for series in json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["series"] if series["name"] == "realised auc"]

    assert "shift: concept" in shown
    assert auc["detected"]["page-hinkley"][0] in ("2020-07", "2020-08")
    assert settings_for_windows("ddm") == {}
