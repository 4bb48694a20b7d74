"""`sparkml-ops edges`: what a project's distributions are counted on."""

from __future__ import annotations

import typer

from sparkml_ops.cli.options import AsOf, Common, command, show
from sparkml_ops.cli.verbs import WindowOption

__all__ = ["app"]

app = typer.Typer(help="Cells and categories that drift counts in.", no_args_is_help=True)


def renew(common: Common, window: WindowOption, as_of: AsOf = None) -> None:
    """Fix the edges of all columns anew from the reference of a scored window, and compare that window on them.

    Edges stay through retraining, so that windows can be compared and merged; renew them when the data have moved
    so far that most rows fall into few cells. Reports of earlier windows keep what they said; windows from now on, and
    earlier ones that serve as a reference, are profiled on the new edges.
    """
    from sparkml_ops.verbs import drift

    show(common, drift.perform(common.work(), window=window, as_of=as_of, generation="next", renew=True))


app.command("renew")(command(renew))
