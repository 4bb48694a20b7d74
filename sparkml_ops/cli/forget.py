"""`sparkml-ops forget`: an entity goes from every table, with a proof; its value is printed and logged nowhere."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from feature_store import ErasureReport
from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import Common, PlanOption, command
from sparkml_ops.records import to_json

__all__ = ["forget", "keys_of"]


def _forget(
    common: Common,
    key: Annotated[list[str], typer.Option(help="column=value of the entity; repeatable for a key of several columns.")],
    role: Annotated[list[str] | None, typer.Option(help="key=column: a further column that holds the key; repeatable.")] = None,
    include_sources: Annotated[bool, typer.Option("--include-sources", help="Erase from sources and other tables of your own too.")] = False,
    writers_idle: Annotated[bool, typer.Option("--writers-idle", help="Nothing writes now: files of killed writers go at once.")] = False,
    plan: PlanOption = False,
) -> None:
    """Delete an entity's rows from every table, purge files and logs of them, and prove that nothing is left."""
    entity = keys_of(key, "--key")
    roles: dict[str, list[str]] = {}
    for item in role or []:
        for name, column in keys_of([item], "--role").items():
            roles.setdefault(name, []).append(column)
    store = common.work().store
    report = store.forget(entity, dry_run=plan, include_sources=include_sources, roles=roles, writers_idle=writers_idle)
    if common.json:
        print(to_json(report))
    else:
        _show(report)


def keys_of(given: list[str], option: str) -> dict[str, str]:
    """Columns and values; the message of a mistake repeats neither.

    >>> keys_of(["origin=EWR", "carrier=UA"], "--key")
    {'origin': 'EWR', 'carrier': 'UA'}
    """
    pairs = [item.partition("=") for item in given]
    if not all(name and sign and value for name, sign, value in pairs):
        raise typer.BadParameter("column=value", param_hint=option)
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise typer.BadParameter("each column once", param_hint=option)
    return {name: value for name, _, value in pairs}


def _show(report: ErasureReport) -> None:
    console = Console(soft_wrap=True, highlight=False)
    rows = [(item.table, item.kind, ", ".join(item.columns), str(item.rows)) for item in (*report.tables, *report.sources)]
    if rows:
        print_listing(("table", "kind", "columns", "rows"), rows, lead=2, console=console)
    if report.proof is not None:
        proof = report.proof
        console.print(f"proof   {proof.data_files} data files ({proof.rows} rows) and {proof.log_files} log files decoded, {proof.findings} findings")
    for stone in report.tombstones:
        console.print(f"erased  training set {stone.training_set}: {stone.old_hash} -> {stone.new_hash}, {stone.rows} rows left", markup=False)
    for line in report.advice:
        console.print(f"to do   {line}", markup=False)
    if report.dry_run:
        console.print("nothing was written")


forget = command(_forget)
