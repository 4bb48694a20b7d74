"""`sparkml-ops models`: the versions of the project's model, their gates, how two differ, and who was champion when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.clock import resolve
from sparkml_ops.records import to_document, to_json

if TYPE_CHECKING:
    from sparkml_ops.release.versions import VersionEntry, VersionPage

__all__ = ["app"]

app = typer.Typer(help="Versions of the model; starts no Spark where the warehouse is a folder.", no_args_is_help=True)

VersionArgument = Annotated[str, typer.Argument(help="A version's number, or an alias such as champion.")]


def list_models(common: Common) -> None:
    """Every version, oldest first: its gates, aliases and training set."""
    from sparkml_ops.release.versions import versions

    work = common.work()
    found = versions(work.tables, work.tracking, work.sections.release.model)
    if common.json:
        print(to_json([_line(entry) for entry in found]))
        return
    titles = ("version", "registered", "aliases", "gates", "training set", "rows", "digest")
    print_listing(titles, [_cells(entry) for entry in found], lead=2)


def show_model(common: Common, which: VersionArgument) -> None:
    """One version: data, parameters, metrics, what each gate said, and when it was champion."""
    page = _page(common, which)
    if common.json:
        print(to_json(_document(page)))
    else:
        Console(soft_wrap=True).print_json(to_json(_document(page)))


def diff_models(common: Common, one: VersionArgument, other: VersionArgument) -> None:
    """In what the second version is not as the first: files, data, parameters, metrics."""
    from sparkml_ops.release.versions import differences

    found = differences(_page(common, one), _page(common, other))
    if common.json:
        print(to_json(found))
        return
    # Of a digest people compare the beginning; machines get all of it.
    length = {"artifact": 12, "file": 12}
    rows = [(item.kind, item.name, *(_text(value)[: length.get(item.kind)] for value in (item.before, item.after))) for item in found]
    print_listing(("what", "name", one, other), rows, lead=2)


def model_history(
    common: Common, at: Annotated[str | None, typer.Option(help="An instant, UTC: say only which version was champion then.")] = None
) -> None:
    """Each move of the champion's alias, oldest first: when, from which version to which, why, and by whom."""
    from sparkml_ops import release

    work = common.work()
    model = work.sections.release.model
    if at is not None:
        instant = resolve(at)
        found = release.champion_at(work.tables, model, instant)
        print(to_json({"model": model, "at": instant.isoformat(), "champion": found}) if common.json else "none" if found is None else found)
        return
    events = release.history(work.tables, model)
    if common.json:
        print(to_json(events))
        return
    rows = [
        (str(event.number), f"{event.at:%Y-%m-%d %H:%M}", _text(event.from_version), _text(event.to_version), event.reason, event.actor)
        for event in events
    ]
    print_listing(("move", "at", "from", "to", "reason", "actor"), rows, lead=2)


def model_card(
    common: Common,
    which: VersionArgument,
    html: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="File to write. Without either the Markdown is printed.")] = None,
    explain: Annotated[bool, typer.Option(help="Explain it on some evaluation rows; takes Spark and the extra `explain`.")] = True,
) -> None:
    """The card of a version: use, data, gates, slices, limits, and what its predictions hang on."""
    from sparkml_ops.verbs.card import card_of

    card = card_of(common.work(), which, explained=explain)
    if html is not None:
        card.to_html(html)
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(card.markdown(), encoding="utf-8")
    if common.json:
        print(to_json({"model": card.version.name, "version": card.version.version, "html": html, "markdown": markdown}))
    elif html is None and markdown is None:
        print(card.markdown())


def approve_model(
    common: Common,
    which: VersionArgument,
    by: Annotated[str, typer.Option(help="Who approves: somebody else than who registered it.")],
    until: Annotated[str | None, typer.Option(help="When the approval ends, UTC. Default: as late as the gate allows.")] = None,
    as_of: AsOf = None,
) -> None:
    """Approve the passed gate report of a version, where a gate of kind approval asks for it."""
    from sparkml_ops import release
    from sparkml_ops.release.approval import latest_end

    work, now = common.work(), resolve(as_of)
    settings = work.sections.release
    version = work.tracking.resolve(settings.model, which).record
    end = latest_end(settings, now) if until is None else resolve(until)
    approval = release.approve(work.tables, settings, version, work.config.hash("release"), by, end, now)
    if common.json:
        print(to_json(approval))
    else:
        print(
            f"version {approval.version} of {approval.model}: report {approval.report_id} approved by {approval.person} until {end:%Y-%m-%d %H:%M} UTC"
        )


def export_model(
    common: Common, which: VersionArgument, onnx: Annotated[Path, typer.Option(help="File to write: preprocessing and model as one graph.")]
) -> None:
    """A version for an application without Spark: `sparkml_ops.embedded.load(FILE).predict(rows)`. Checked against the model first."""
    from sparkml_ops.release.exporting import export_version

    work = common.work()
    done = export_version(work.tracking, work.tracking.resolve(work.sections.release.model, which), onnx)
    if common.json:
        print(to_json(done))
    else:
        print(f"version {done.version} of {done.model}: {done.file}, {done.bytes:,} bytes, predictions within {done.difference:.2g} of the model's")


app.command("list")(command(list_models))
app.command("show")(command(show_model))
app.command("diff")(command(diff_models))
app.command("history")(command(model_history))
app.command("card")(command(model_card))
app.command("approve")(command(approve_model))
app.command("export")(command(export_model))


def _page(common: Common, which: str) -> VersionPage:
    from sparkml_ops.release.versions import version_page

    work = common.work()
    return version_page(work.tables, work.tracking, work.sections.release.model, which)


def _line(entry: VersionEntry) -> dict[str, Any]:
    listed, ours = entry.listed, entry.listed.registered
    return {
        "version": listed.version,
        "registered_at": listed.made_at.isoformat(timespec="seconds"),
        "aliases": list(listed.aliases),
        "gates": entry.gates or None,
        "gate_report": None if entry.report is None else entry.report.id,
        "digest": None if ours is None else ours.digest,
        "training_set": None if ours is None else ours.training_set.id,
        "rows": None if ours is None else ours.training_set.rows,
        "run_id": None if ours is None else ours.run_id,
    }


def _cells(entry: VersionEntry) -> tuple[str, ...]:
    listed, ours = entry.listed, entry.listed.registered
    data = ("registered by something else", "", "") if ours is None else (ours.training_set.id, f"{ours.training_set.rows:,}", ours.digest[:12])
    return (str(listed.version), f"{listed.made_at:%Y-%m-%d %H:%M}", ", ".join(listed.aliases), entry.gates, *data)


def _document(page: VersionPage) -> dict[str, Any]:
    ours = page.entry.listed.registered
    assert ours is not None
    return {
        **_line(page.entry),
        "loader": ours.loader,
        "inputs": dict(ours.training_set.inputs),
        "files": dict(ours.files),
        "parameters": dict(page.logged.params),
        "metrics": dict(page.logged.metrics),
        "gate_results": [] if page.entry.report is None else to_document(page.entry.report.report.results),
        "events": to_document(page.events),
        "approvals": to_document(page.approvals),
    }


def _text(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
