"""`sparkml-ops tables`: how the warehouse's tables stand, and their upkeep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from feature_store.duration import parse_duration
from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import Common, PlanOption, command
from sparkml_ops.records import to_json

if TYPE_CHECKING:
    from feature_store.health import TableHealth
    from feature_store.maintenance import TableUpkeep
    from sparkml_ops.verbs.upkeep import TableFormat

__all__ = ["app"]

app = typer.Typer(help="The warehouse's tables.", no_args_is_help=True)

TableOption = Annotated[list[str] | None, typer.Option("--table", help="Only this table; repeatable.")]
_RETRY = 4
_LEAST = 1024


def maintain(
    common: Common,
    table: TableOption = None,
    plan: PlanOption = False,
    retain: Annotated[str, typer.Option(help="Age from which files of no version are taken away.")] = "7d",
    short: Annotated[bool, typer.Option("--allow-short-retention", help="Let --retain be below 7d: nothing may read or write meanwhile.")] = False,
    release: Annotated[list[str] | None, typer.Option(help="Training set whose inputs need not stay readable, or `all`; repeatable.")] = None,
) -> None:
    """Merge small files, cluster feature tables by key and time, take old files away; versions that training sets pin stay."""
    from feature_store.maintenance import Policy
    from sparkml_ops.verbs import upkeep

    policy = Policy(retain=parse_duration(retain), short=short, release=tuple(release or ()))
    work, names = common.work(), tuple(table or ())
    found = upkeep.plan_maintain(work, names, policy) if plan else tuple(upkeep.maintain(work, names, policy))
    if common.json:
        print(to_json(list(found)))
    else:
        _show_upkeep(found, plan=plan)
    if any(item.failed for item in found):
        raise typer.Exit(_RETRY)


def health(common: Common, table: TableOption = None) -> None:
    """Files, bytes, small files, deletion vectors and length of the log of each table; needs no Spark in a folder."""
    from sparkml_ops.verbs.upkeep import healths

    found = tuple(healths(common.work(), tuple(table or ())))
    if common.json:
        print(to_json(list(found)))
        return
    titles = ("table", "version", "changed", "rows", "files", "small", "size", "deletion vectors", "commits since checkpoint", "removable files")
    print_listing(titles, [_cells(item) for item in found])


def upgrade(common: Common, plan: PlanOption = False) -> None:
    """Bring this package's own tables to its newest format; a newer one is refused."""
    from sparkml_ops.verbs import upkeep

    found = upkeep.upgrade(common.work(), plan=plan)
    if common.json:
        print(to_json(list(found)))
        return
    _show_formats(found, plan=plan)


app.command("maintain")(command(maintain))
app.command("health")(command(health))
app.command("upgrade")(command(upgrade))


def _show_upkeep(found: Iterable[TableUpkeep], *, plan: bool) -> None:
    console, quiet = Console(soft_wrap=True, highlight=False), True
    for item in found:
        lines = [f"{step.kind:8}{step.why}: {step.files} files, {_size(step.bytes)}" for step in item.steps]
        lines += [f"kept    {count} old files for training set {name}" for name, count in item.held.items()]
        lines += [f"FAILED  {item.failed}"] if item.failed else []
        for line in lines:
            quiet = False
            console.print(f"{item.table}  {line}", markup=False, style="red" if line.startswith("FAILED") else "")
    if quiet:
        console.print("nothing is due" if plan else "nothing was due")


def _show_formats(found: Iterable[TableFormat], *, plan: bool) -> None:
    lines = [f"{item.table}: format {item.found} {'would become' if plan else 'is now'} {item.wanted}" for item in found]
    for line in lines or ["every table is in the newest format"]:
        print(line)


def _cells(item: TableHealth) -> tuple[str, ...]:
    rows = "" if item.rows is None else f"{item.rows:,}"
    small = f"{item.small_files:,}"
    rest = (item.deletion_vectors, item.commits_since_checkpoint, item.removable_files)
    return (item.table, str(item.version), item.changed[:16], rows, f"{item.files:,}", small, _size(item.bytes), *(f"{number:,}" for number in rest))


def _size(count: float) -> str:
    """`1.5 MiB`.

    >>> _size(10), _size(1_572_864)
    ('10 B', '1.5 MiB')
    """
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while count >= _LEAST and len(units) > 1:
        count, units = count / _LEAST, units[1:]
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"
