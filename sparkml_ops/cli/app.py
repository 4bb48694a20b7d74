"""All commands of `sparkml-ops`."""

from __future__ import annotations

import typer

from sparkml_ops.cli import (
    alerts,
    causes,
    concept,
    configuration,
    contract,
    doctor,
    edges,
    features,
    forget,
    ledger,
    metrics,
    models,
    predictions,
    report,
    scaffold,
    skew,
    status,
    tables,
    verbs,
)

__all__ = ["app"]

app = typer.Typer(
    help="From raw tables to monitored predictions on Spark.",
    epilog="Exit codes: 0 done or already done, 2 configuration or contract error, 3 gate refused, 4 try again later, 5 fatal.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold rows or secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)
verbs.add_to(app)
app.add_typer(ledger.app, name="runs")
app.add_typer(tables.app, name="tables")
app.add_typer(features.app, name="features")
app.add_typer(models.app, name="models")
app.add_typer(alerts.app, name="alerts")
app.add_typer(predictions.app, name="predictions")
app.add_typer(edges.app, name="edges")
app.add_typer(contract.app, name="contract")
app.add_typer(configuration.app, name="config")
app.command("status")(status.status)
app.command("causes")(causes.causes)
app.command("skew")(skew.skew)
app.command("concept")(concept.concept)
app.command("metrics")(metrics.metrics)
app.command("doctor")(doctor.doctor)
app.command("forget")(forget.forget)
app.command("report")(report.report)
app.command("init")(scaffold.init)
