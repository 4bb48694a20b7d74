"""`sparkml-ops runs`: what finished, and what it made."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sparkml_ops.cli.options import Common, command
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.records import to_json

__all__ = ["app"]

app = typer.Typer(help="Finished runs of a project.", no_args_is_help=True)


def list_runs(common: Common, limit: Annotated[int, typer.Option(help="How many of the newest.", min=1)] = 20) -> None:
    """The newest finished runs."""
    runs = common.work().ledger.runs({"project": common.project})[-limit:]
    if common.json:
        print(to_json([_row(run) for run in runs]))
        return
    table = Table("run", "verb", "target", "window", "slot", "gen.", "as of", "finished", "seconds", box=None)
    for run in runs:
        key = run.key
        cells = (run.run_id[:8], key.verb, key.target, key.window, key.slot, str(key.generation))
        table.add_row(*cells, f"{run.as_of:%Y-%m-%d %H:%M}", f"{run.finished_at:%Y-%m-%d %H:%M:%S}", f"{run.seconds:.1f}")
    Console(width=None).print(table)


def show_run(common: Common, run: Annotated[str, typer.Argument(help="Run id, or its beginning.")]) -> None:
    """One run with its record."""
    runs = common.work().ledger.runs({"project": common.project})
    found = [item for item in runs if item.run_id.startswith(run)]
    if len(found) != 1:
        near = ", ".join(item.run_id[:8] for item in runs[-5:])
        raise ContractError(
            f"{len(found)} runs whose id begins with {run!r}", expected="one", mend=f"the newest are {near or 'none'}: see `sparkml-ops runs list`"
        )
    print(to_json(_row(found[0]))) if common.json else Console(soft_wrap=True).print_json(to_json(_row(found[0])))


app.command("list")(command(list_runs))
app.command("show")(command(show_run))


def _row(run: FinishedRun) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "key": run.key.text,
        "record": run.record,
        "config_hash": run.config_hash,
        "code_version": run.code_version,
        "as_of": run.as_of.isoformat(),
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat(),
        "seconds": round(run.seconds, 3),
    }
