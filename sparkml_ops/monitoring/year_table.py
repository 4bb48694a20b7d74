"""The year as a table for a terminal; nothing is cut off where it is narrow."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from sparkml_ops.monitoring.year import Month, Year

__all__ = ["year_table"]

_HEADINGS = ("month", "rows", "quaran-\ntined", "drifted\ncolumns", "est.\nAUC", "real\nAUC", "decision and its reason", "cham-\npion")
_WORDS = 6
_NOT_FINAL = "*"


def year_table(year: Year) -> Table:
    """A row for each month, missing ones too.

    Args:
        year: Its caption explains the star of a figure whose truth is not complete.
    """
    calendar = year.calendar
    open_ = [month for month in calendar if month.monitor is not None and not month.monitor.final and month.figure("auc")]
    caption = Text(f"{_NOT_FINAL} of the truth known so far", style="dim") if open_ else None
    table = Table(
        title=Text(f"{year.project}, slot {year.slot}"),
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, heading in enumerate(_HEADINGS):
        left = place in (0, _WORDS)
        table.add_column(Text(heading), justify="left" if left else "right", overflow="fold", vertical="top")
    for month in calendar:
        table.add_row(*_cells(month))
    return table


def _cells(month: Month) -> tuple[Text, ...]:
    if month.rows is None or month.quarantined is None:
        counts = (Text("not\nscored", style="red"), Text("–"))
    else:
        counts = (Text(f"{month.rows:,}"), Text(f"{month.quarantined:,}"))
    estimated = month.figure("auc", "estimated")
    guess = "–" if estimated is None or estimated.value is None else f"{estimated.value:.3f}"
    return (Text(month.window), *counts, _drifted(month), Text(guess), Text(_realised(month)), _decision(month), Text(_champion(month)))


def _drifted(month: Month) -> Text:
    if not month.drift:
        return Text("–")
    text = Text(f"{len(month.with_verdict('drift'))} of {len(month.drift)}")
    if faults := len(month.with_verdict("fault")):
        text.append(f"\n{faults} fault{'s' if faults > 1 else ''}", style="red")
    return text


def _realised(month: Month) -> str:
    figure = month.figure("auc")
    if figure is None or figure.value is None or month.monitor is None:
        return "–"
    return f"{figure.value:.3f}{'' if month.monitor.final else _NOT_FINAL}"


def _decision(month: Month) -> Text:
    decision = month.decision
    if decision is None:
        return Text("–")
    text = Text(decision.decision, style="bold green" if decision.decision == "yes" else "bold")
    return text.append(f" ({decision.trigger})" if decision.trigger else "", style="not bold").append(f": {decision.reason}", style="not bold")


def _champion(month: Month) -> str:
    """The version that scored the month, and what became of a challenger at its end."""
    scored = "–" if month.model_version is None else f"v{month.model_version}"
    decision = month.decision
    if decision is None or decision.challenger is None:
        return scored
    return f"{scored}\n→ v{decision.challenger.version}" if decision.promoted else f"{scored}\nv{decision.challenger.version} no"
