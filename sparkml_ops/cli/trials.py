"""The trials of a search on a terminal."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console
from rich.table import Table

from sparkml_ops.records import TuningResult

__all__ = ["show_trials"]


def show_trials(result: TuningResult) -> None:
    """Print the best trials as a table, and what to type to train with the values of the best one."""
    keys = list(result.leaders[0]["params"])
    table = Table(
        title=f"the best of {sum(result.trials.values())} trials ({', '.join(f'{count} {state}' for state, count in result.trials.items())})"
    )
    for name in ("trial", result.metric, "epochs", "seconds", *(key.removeprefix("training.") for key in keys)):
        table.add_column(name, justify="right")
    for trial in result.leaders:
        figures = (str(trial["number"]), f"{trial['value']:.6g}", str(trial["epochs"]), f"{trial['seconds']:.1f}")
        table.add_row(*figures, *(_short(trial["params"].get(key)) for key in keys))
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(table)
    shares = ", ".join(f"{key.removeprefix('training.')} {share:.0%}" for key, share in result.importances.items())
    if shares:
        console.print(f"what mattered: {shares}", markup=False)
    for found in result.candidates:
        mark = " (chosen)" if found["family"] == result.family else ""
        console.print(f"{found['family']}: {result.metric} {found['value']:.6g}, {found['microseconds']:.3g} µs a row{mark}", markup=False)
    console.print("sparkml-ops train " + " ".join(f"--set {shlex.quote(line)}" for line in result.overrides), markup=False)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
