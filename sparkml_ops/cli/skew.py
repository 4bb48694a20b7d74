"""`sparkml-ops skew`: what was scored, beside the same rows joined anew."""

from __future__ import annotations

from typing import Annotated

import typer

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.cli.verbs import WindowOption
from sparkml_ops.records import to_json

__all__ = ["skew"]


def _skew(
    common: Common,
    window: WindowOption,
    tolerance: Annotated[float, typer.Option(help="Distance of two numbers that counts for none, as a share of the larger one.")] = 0.0,
    as_of: AsOf = None,
) -> None:
    """Columns of a scored window that a replay gives other values: late or corrected source rows, or another definition."""
    from sparkml_ops.verbs.skew import skew as look

    found = look(common.work(), window, tolerance=tolerance, as_of=as_of)
    if common.json:
        print(to_json(found))
        return
    rows = [
        (item.column, f"{item.rows:,}", f"{item.share:.2%}", "" if item.largest is None else f"{item.largest:.6g}", item.example)
        for item in found.columns
    ]
    if rows:
        print_listing(("column", "rows", "share", "largest difference", "in row"), rows)
    typer.echo(
        f"{found.differing:,} of {found.rows:,} rows of {found.window} differ ({found.share:.2%}), in {len(rows)} of {len(found.compared)} columns; "
        f"{found.late:,} rows came since, {found.gone:,} are gone, {found.doubled:,} keys are doubled"
    )


skew = command(_skew)
