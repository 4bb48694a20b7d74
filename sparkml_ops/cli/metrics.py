"""`sparkml-ops metrics`: how a project stands, for Prometheus."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.config.secret import hide_passwords
from sparkml_ops.logs import logger
from sparkml_ops.records import to_json

__all__ = ["metrics"]


def _metrics(
    common: Common,
    textfile: Annotated[Path | None, typer.Option(help="Write a .prom file for a node exporter's textfile collector.")] = None,
    push: Annotated[str | None, typer.Option(help="Replace the project's group in a push gateway, as http://host:9091.")] = None,
    as_of: AsOf = None,
) -> None:
    """Freshness, champion, drift, performance, runs and alerts as metrics with few labels; without a place to write them they are printed."""
    from sparkml_ops.monitoring.exposition import push as push_metrics
    from sparkml_ops.monitoring.exposition import write_textfile
    from sparkml_ops.verbs.metrics import collect

    found = collect(common.work(), as_of=as_of)
    if textfile is not None:
        write_textfile(textfile, common.project, found)
        logger.info("metrics: %d in %s", len(found), textfile)
    if push is not None:
        push_metrics(push, common.project, found)
        logger.info("metrics: %d pushed to %s", len(found), hide_passwords(push))
    if common.json:
        print(to_json([asdict(metric) for metric in found]))
    elif textfile is None and push is None:
        print_listing(
            ("metric", "labels", "value"),
            [(item.name, ", ".join(f"{key}={value}" for key, value in item.labels.items()), f"{item.value:.10g}") for item in found],
        )


metrics = command(_metrics)
