"""`sparkml-ops status`: how a project stands, for people and for a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.clock import spoken
from sparkml_ops.records import to_json

if TYPE_CHECKING:
    from sparkml_ops.verbs.status import OutputTable, ProjectStatus

__all__ = ["status"]

_STALE = 4


def _status(common: Common, as_of: AsOf = None) -> None:
    """Age of each output table against its promise, champion, and open alarms; exit code 4 when something is stale."""
    from sparkml_ops.verbs.status import perform

    found = perform(common.work(), as_of=as_of)
    if common.json:
        print(to_json(found))
    else:
        _show(found)
    if found.stale:
        raise typer.Exit(_STALE)


def _show(found: ProjectStatus) -> None:
    console = Console(highlight=False)
    titles = ("table", "holds", "newest", "age", "promise", "")
    rows = [_cells(table) for table in found.tables]
    print_listing(titles, rows, lead=3, styles=["red" if table.stale else "" for table in found.tables], console=console)
    lines = [("champion", "none" if found.champion is None else _champion(found), "")]
    if found.decision is not None:
        decision = found.decision
        lines.append(("retrain", f"{decision['decision']} after {decision['window']}: {decision['reason']}", ""))
    lines += [("ALARM", f"{alarm.about}: {alarm.found}; {alarm.mend}", "yellow") for alarm in found.alarms]
    for title, text, style in lines:
        console.print(Text(f"{title:10}{text}", style=style), soft_wrap=True)
    if not found.alarms:
        console.print("no alarms")


def _champion(found: ProjectStatus) -> str:
    champion = found.champion
    assert champion is not None
    trained = "" if champion.trained_until is None else f", trained on rows before {champion.trained_until[:16]}"
    return f"{champion.model} version {champion.version} since {champion.since[:16]} ({champion.reason}){trained}"


def _cells(table: OutputTable) -> tuple[str, ...]:
    newest = "nothing" if table.newest is None else table.newest.removesuffix(":00+00:00")
    promise = "" if table.freshness is None else spoken(table.freshness)
    return table.table, table.holds, newest, "" if table.age is None else spoken(table.age), promise, "STALE" if table.stale else ""


status = command(_status)
