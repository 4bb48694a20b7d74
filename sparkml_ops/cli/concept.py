"""`sparkml-ops concept`: what moved over the windows, since when, and of which kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.records import to_json

if TYPE_CHECKING:
    from sparkml_ops.monitoring.concept_stream import Followed

__all__ = ["concept"]


FollowOption = Annotated[
    bool, typer.Option("--follow", help="Hand windows that became final since the last call to the stored detectors, as a stream; starts Spark.")
]


def _concept(common: Common, follow: FollowOption = False, as_of: AsOf = None) -> None:
    """Changes of performance, labels and inputs over the stored windows: sudden, gradual, incremental or recurring; starts no Spark."""
    from sparkml_ops.verbs.concept import concept as look
    from sparkml_ops.verbs.concept import follow as go_on

    if follow:
        _show(common, go_on(common.work()))
        return
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


def _show(common: Common, groups: Sequence[Followed]) -> None:
    if common.json:
        print(to_json(groups))
        return
    rows = [
        (
            str(item.group["metric"]),
            f"{item.group['model']} {item.group['version']}",
            item.group["segment"] or "all",
            str(item.seen),
            ", ".join(change.at for change in item.changes),
        )
        for item in groups
    ]
    print_listing(("figure", "model", "segment", "windows", "changed at"), rows, lead=4)
