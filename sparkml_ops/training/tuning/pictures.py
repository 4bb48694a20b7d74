"""The picture of a search: how it went, what mattered, and where the good values lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparkml_ops.config.tuning import Domain, TuningSection, encode
from sparkml_ops.training.tuning.trial import Trial, best_trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_search"]

_SLICES = 7
_COLUMNS = 3


def draw_search(trials: Sequence[Trial], tuning: TuningSection, importances: Mapping[str, float], path: Path) -> None:
    """Draw the trials in their order, the importances, and the metric over each key, the most important first, into a PNG file.

    Args:
        trials: All of them; at least one is complete.
        tuning: What was searched.
        importances: Share of each key; may be empty.
        path: The file.
    """
    from matplotlib.figure import Figure

    keys = sorted(tuning.searched, key=lambda key: -importances.get(key, 0.0))[:_SLICES]
    rows = -(-(2 + len(keys)) // _COLUMNS)
    figure = Figure(figsize=(4.5 * _COLUMNS, 3.2 * rows), layout="constrained")
    places = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    _draw_course(places[0], trials, tuning)
    _draw_importances(places[1], importances)
    for axes, key in zip(places[2:], keys, strict=False):
        _draw_slice(axes, key, tuning.searched[key], trials, tuning)
    for axes in places[2 + len(keys) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=100)


def _draw_course(axes: Axes, trials: Sequence[Trial], tuning: TuningSection) -> None:
    complete = [trial for trial in trials if trial.state == "complete"]
    better = min if tuning.direction == "minimize" else max
    numbers, values = [trial.number for trial in complete], [trial.value or 0.0 for trial in complete]
    axes.scatter(numbers, values, label="complete")
    stopped = [(trial.number, trial.epochs[-1]) for trial in trials if trial.state == "pruned" and trial.epochs and trial.epochs[-1] is not None]
    if stopped:
        axes.scatter(*zip(*stopped, strict=True), color="grey", marker="x", label="stopped early, at its last epoch")
    axes.step(numbers, list(accumulate(values, better)), where="post", color="tab:red", label="best so far")
    axes.set(title="trials", xlabel="trial", ylabel=tuning.metric)
    axes.legend()


def _draw_importances(axes: Axes, importances: Mapping[str, float]) -> None:
    shown = sorted(importances.items(), key=lambda item: item[1])
    axes.barh([_short(key) for key, _ in shown], [share for _, share in shown])
    axes.set(title="share in how much the metric varies", xlim=(0, 1))
    if not shown:
        axes.text(0.5, 0.5, "too few complete trials to tell", ha="center", va="center", transform=axes.transAxes)


def _draw_slice(axes: Axes, key: str, domain: Domain, trials: Sequence[Trial], tuning: TuningSection) -> None:
    complete = [trial for trial in trials if trial.state == "complete"]
    best = best_trial(trials, tuning.direction)

    def place(trial: Trial) -> Any:
        return trial.params[key] if domain.choices is None else encode(trial.params[key])

    if domain.choices is not None:
        axes.xaxis.update_units([encode(choice) for choice in domain.choices])  # type: ignore[no-untyped-call]  # in their order, and all of them
    axes.scatter([place(trial) for trial in complete], [trial.value or 0.0 for trial in complete], c=[trial.number for trial in complete])
    axes.scatter([place(best)], [best.value or 0.0], facecolors="none", edgecolors="tab:red", s=120)
    if domain.log:
        axes.set_xscale("log")
    axes.set(xlabel=_short(key), ylabel=tuning.metric)


def _short(key: str) -> str:
    return key.removeprefix("training.")
