"""`sparkml-ops report`: the year of a project as a table, and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.logs import logger
from sparkml_ops.records import to_json

__all__ = ["report"]


def _report(
    common: Common,
    html: Annotated[Path | None, typer.Option(help="Write the page with pictures to this file.")] = None,
    slot: Annotated[str, typer.Option(help="Role under which the predictions are stored.")] = "champion",
    as_of: AsOf = None,
) -> None:
    """Each window's rows, drift, performance and decision; starts no Spark where the warehouse is a folder."""
    from sparkml_ops.monitoring.year_table import year_table
    from sparkml_ops.verbs import history

    year = history.months(common.work(), as_of=as_of, slot=slot, pictures=html is not None)
    if html is not None:
        logger.info("report: page at %s", year.to_html(html).absolute())
    if common.json:
        print(to_json(year))
        return
    console = Console(highlight=False)
    console.print(year_table(year))
    for alarm in year.alarms:
        console.print(f"open alarm: {alarm}", style="red", markup=False)


report = command(_report)
