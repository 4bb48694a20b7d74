"""`sparkml-ops concept`: what moved over the windows, since when, and of which kind."""

from __future__ import annotations

import typer

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.records import to_json

__all__ = ["concept"]


def _concept(common: Common, as_of: AsOf = None) -> None:
    """Changes of performance, labels and inputs over the stored windows: sudden, gradual, incremental or recurring; starts no Spark."""
    from sparkml_ops.verbs.concept import concept as look

    found = look(common.work(), as_of=as_of)
    if common.json:
        print(to_json(found))
        return
    rows = [
        (
            series.name,
            series.segment or "all",
            str(len(series.windows)),
            series.kind,
            series.since or "",
            f"{series.before:.4g}",
            "" if series.since is None else f"{series.after:.4g}",
            ", ".join(f"{name} {windows[-1]}" for name, windows in series.detected.items() if windows),
        )
        for series in found.series
    ]
    print_listing(("figure", "segment", "windows", "change", "since", "before", "after", "detected"), rows, lead=4)
    typer.echo(f"shift: {', '.join(found.shifts)}")


concept = command(_concept)
