"""`sparkml-ops runs`: what finished, what it made, what is still to do, and doing it once more."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, PlanOption, command, show
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.logs import logger
from sparkml_ops.records import to_json

if TYPE_CHECKING:
    from sparkml_ops.verbs.costs import VerbCost

__all__ = ["app"]

app = typer.Typer(help="Finished runs of a project.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(help="Run id, its beginning, or a run key: verb/project/target/window/slot/generation.")]


def list_runs(
    common: Common,
    verb: Annotated[str | None, typer.Option(help="Only runs of this verb.")] = None,
    window: Annotated[str | None, typer.Option(help="Only runs about this window.")] = None,
    last: Annotated[int, typer.Option(help="How many of the newest.", min=1)] = 20,
) -> None:
    """The newest finished runs, oldest first."""
    where = {"project": common.project, **({"verb": verb} if verb else {}), **({"window": window} if window else {})}
    runs = common.work().ledger.runs(where)[-last:]
    if common.json:
        print(to_json([_row(run) for run in runs]))
        return
    titles = ("run", "verb", "target", "window", "slot", "gen.", "as of", "finished", "seconds")
    print_listing(titles, [_cells(run) for run in runs], lead=5)


def due_runs(
    common: Common,
    verb: Annotated[str, typer.Argument(help="score, drift, monitor or retrain.")],
    slot: Annotated[str, typer.Option(help="Role under which predictions are stored.")] = "champion",
    as_of: AsOf = None,
) -> None:
    """Windows that a verb has still to do, oldest first, a line each: for a loop in a script."""
    from sparkml_ops.verbs.due import open_windows

    windows = open_windows(common.work(), verb, slot=slot, as_of=as_of)
    if common.json:
        print(to_json(windows))
        return
    for window in windows:
        print(window)


def show_run(common: Common, run: RunArgument) -> None:
    """One run with its record."""
    from sparkml_ops.verbs.newest import find_run

    found = find_run(common.work(), run)
    print(to_json(_row(found))) if common.json else Console(soft_wrap=True).print_json(to_json(_row(found)))


def retry_run(common: Common, run: RunArgument, as_of: AsOf = None, plan: PlanOption = False) -> None:
    """The same verb once more, with the window, slot and clock of a run, under the next generation.

    Work that failed or was killed has no run in the ledger: name it by its key, and the same work is done.
    """
    from sparkml_ops.verbs.retry import find_work

    work = common.work()
    again = find_work(work, run, as_of=as_of)
    logger.info("retry: %s", again.text)
    show(common, again.plan(work) if plan else again.perform(work))


def run_costs(common: Common, as_of: AsOf = None) -> None:
    """What the newest run of each verb took of the driver's machine, beside its own history."""
    from sparkml_ops.verbs.costs import costs

    found = costs(common.work(), as_of=as_of)
    if common.json:
        print(to_json(found))
        return
    titles = (
        "verb",
        "target",
        "window",
        "seconds",
        "CPU s",
        "memory",
        "read",
        "written",
        "rows/s",
        "CPU s/M rows",
        "usual",
        "JVM",
        "writing",
        "waited",
        "price",
        "price/M rows",
        "",
    )
    print_listing(titles, [_cost_cells(cost) for cost in found], lead=3)


app.command("list")(command(list_runs))
app.command("costs")(command(run_costs))
app.command("due")(command(due_runs))
app.command("show")(command(show_run))
app.command("retry")(command(retry_run))


def _cells(run: FinishedRun) -> tuple[str, ...]:
    key = run.key
    times = (f"{run.as_of:%Y-%m-%d %H:%M}", f"{run.finished_at:%Y-%m-%d %H:%M:%S}", f"{run.seconds:.1f}")
    return (run.run_id[:8], key.verb, key.target, key.window, key.slot, str(key.generation), *times)


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
        "cost": None if run.cost is None else asdict(run.cost),
    }


def _cost_cells(cost: VerbCost) -> tuple[str, ...]:
    sizes = (f"{size / 2**20:,.0f} MiB" for size in (cost.peak_bytes, cost.read_bytes, cost.written_bytes))
    shares = ("" if value is None else f"{value:,.4g}" for value in (cost.rows_per_second, cost.cpu_per_million, cost.usual))
    parts = ("" if value is None else f"{value:.1f}" for value in (cost.jvm_seconds, cost.write_seconds, cost.queue_seconds))
    prices = ("" if value is None else f"{value:.2g} {cost.currency}" for value in (cost.money, cost.money_per_million))
    slower = f"{cost.slower:.1f} times the usual" if cost.regressed and cost.slower is not None else ""
    return (cost.verb, cost.target, cost.window, f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}", *sizes, *shares, *parts, *prices, slower)
