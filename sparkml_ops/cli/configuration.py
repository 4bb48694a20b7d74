"""`sparkml-ops config`: what is configured, and where it comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from sparkml_ops.cli.options import Common, command
from sparkml_ops.config.load import load
from sparkml_ops.records import to_json

__all__ = ["app"]

app = typer.Typer(help="The configuration after merging.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """The configuration after merging."""


def show(common: Common, origin: Annotated[bool, typer.Option("--origin", help="Also the file of each key.")] = False) -> None:
    """Every key and its value; secrets stay references."""
    rows = load(common.conf, common.project, env=common.env, overrides=tuple(common.set or ())).rows()
    if common.json:
        print(to_json([{"key": key, "value": value, "origin": source} for key, value, source in rows]))
        return
    # The value comes last and is neither cut nor padded: some are long lists.
    table = [(key, *([source] if origin else []), str(value)) for key, value, source in rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    for row in table:
        print(*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1], sep="  ")


app.command("show")(command(show))
