"""`sparkml-ops doctor`: is this machine ready, and if not, what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from sparkml_ops.cli.options import Common, command
from sparkml_ops.errors import with_project
from sparkml_ops.records import to_document, to_json

__all__ = ["doctor"]


def _doctor(common: Common, check: Annotated[list[str] | None, typer.Option(help="Only this check, as `champion`; repeatable.")] = None) -> None:
    """Check Java, Spark, Delta, Horovod, torch, the MLflow store, the champion, memory and disk; each fault with its mend."""
    from sparkml_ops.doctor import examine

    console, findings = Console(soft_wrap=True, highlight=False), []
    for found in examine(common.work(), check or ()):
        finding = replace(found, mend=with_project(found.mend, common.project))
        findings.append(finding)
        if not common.json:
            mark, style = ("ok   ", "green") if finding.healthy else ("FAULT", "red")
            console.print(f"[{style}]{mark}[/] {finding.check:16} ", end="")
            console.print(finding.found if finding.healthy else f"{finding.found}: {finding.mend}", markup=False)
    if common.json:
        print(to_json([to_document(finding) for finding in findings]))
    if not all(finding.healthy for finding in findings):
        raise typer.Exit(2)


doctor = command(_doctor)
