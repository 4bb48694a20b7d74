"""`sparkml-ops alerts`: check the policies, look at the alerts, say what became of them, and how often each policy was right."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.clock import spoken
from sparkml_ops.records import to_json

if TYPE_CHECKING:
    from sparkml_ops.alerts import Alert, AlertEvent, PolicyRecord

__all__ = ["app"]

app = typer.Typer(help="Alerts by the project's policies; starts no Spark where the warehouse is a folder.", no_args_is_help=True)

MarkArgument = Annotated[str, typer.Argument(help="Fingerprint of an alert, or its beginning.")]
NoteOption = Annotated[str, typer.Option(help="A word for those who come later.")]


class Verdict(StrEnum):
    """What a person says of an alert."""

    real = "real"
    noise = "noise"


def check_alerts(common: Common, as_of: AsOf = None) -> None:
    """Judge the stored figures: open and resolve alerts, and tell the channels; a repeat finds nothing new."""
    from sparkml_ops.verbs.alerts import check

    found = check(common.work(), as_of=as_of)
    if common.json:
        print(to_json(found))
        return
    for event in (*found.opened, *found.unmuted, *found.resolved):
        _print(f"{event.kind:9}{event.severity:7}{event.policy} {event.fingerprint}: {event.said or event.note}")
    for line in found.failed:
        _print(f"not delivered, the next check tries again: {line}")
    told = f", {found.delivered} delivered, {found.waiting} to deliver" if found.delivered or found.waiting else ""
    _print(f"{len(found.policies)} policies as of {found.as_of[:16]}: {found.open} alerts open{told}")


def list_alerts(common: Common, all: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False) -> None:
    """Open alerts, the gravest first."""
    from sparkml_ops.verbs.alerts import open_alerts

    found = open_alerts(common.work(), every=all)
    if common.json:
        print(to_json(found))
        return
    titles = ("alert", "state", "severity", "policy", "about", "since", "owner", "found")
    print_listing(titles, [_cells(alert) for alert in found], lead=4)


def show_alert(common: Common, alert: MarkArgument) -> None:
    """One alert: causes, owner, runbook, and all that happened to it."""
    from sparkml_ops.verbs.alerts import find

    found, events = find(common.work(), alert)
    document = to_json({**found.to_document(), "events": [_short(event) for event in events]})
    print(document) if common.json else Console(soft_wrap=True).print_json(document)


def acknowledge_alert(common: Common, alert: MarkArgument, note: NoteOption = "", as_of: AsOf = None) -> None:
    """Say that somebody looks after it."""
    from sparkml_ops.verbs.alerts import acknowledge

    _changed(common, acknowledge(common.work(), alert, note=note, as_of=as_of))


def mute_alert(
    common: Common,
    alert: MarkArgument,
    until: Annotated[str, typer.Option(help="An instant, UTC, or a length of time, as 14d.")],
    note: NoteOption = "",
    as_of: AsOf = None,
) -> None:
    """Send nothing of it until an instant; then it speaks up again if it is still open."""
    from sparkml_ops.verbs.alerts import mute

    _changed(common, mute(common.work(), alert, until=until, note=note, as_of=as_of))


def resolve_alert(common: Common, alert: MarkArgument, note: NoteOption = "", as_of: AsOf = None) -> None:
    """Say that it is over; a later window may open it again."""
    from sparkml_ops.verbs.alerts import resolve

    _changed(common, resolve(common.work(), alert, note=note, as_of=as_of))


def judge_alert(
    common: Common, alert: MarkArgument, verdict: Annotated[Verdict, typer.Argument(help="What it was.")], note: NoteOption = "", as_of: AsOf = None
) -> None:
    """Say whether it was real or noise: the measured precision of its policy."""
    from sparkml_ops.verbs.alerts import say

    _changed(common, say(common.work(), alert, verdict.value, note=note, as_of=as_of))


def policy_precision(common: Common) -> None:
    """How often each policy was right, by the verdicts so far."""
    from sparkml_ops.verbs.alerts import precision

    found = precision(common.work())
    if common.json:
        print(to_json(found))
        return
    print_listing(("policy", "alerts", "real", "noise", "precision", "95 %"), [_precision(record) for record in found])


def backtest_policies(common: Common, as_of: AsOf = None) -> None:
    """What the declared policies would have done in the stored windows; `--set` tries another one. Writes nothing."""
    from sparkml_ops.verbs.alerts import backtest

    found = backtest(common.work(), as_of=as_of)
    if common.json:
        print(to_json(found))
        return
    rows = [
        (*_precision(item.record), str(item.missed), f"{item.weekly:.2f}", "" if item.delay is None else spoken(max(item.delay, 0.0)))
        for item in found
    ]
    print_listing(("policy", "alerts", "real", "noise", "precision", "95 %", "missed", "a week", "delay"), rows)
    for episode in (episode for item in found for episode in item.episodes):
        _print(f"  {episode.policy} {episode.subject or 'model'}: {episode.window} to {episode.last or 'now'} {episode.verdict}".rstrip())


app.command("check")(command(check_alerts))
app.command("list")(command(list_alerts))
app.command("show")(command(show_alert))
app.command("ack")(command(acknowledge_alert))
app.command("mute")(command(mute_alert))
app.command("resolve")(command(resolve_alert))
app.command("verdict")(command(judge_alert))
app.command("precision")(command(policy_precision))
app.command("backtest")(command(backtest_policies))


def _changed(common: Common, alert: Alert) -> None:
    if common.json:
        print(to_json(alert))
    else:
        _print(" ".join(("alert", *_cells(alert)[:5])).rstrip())


def _cells(alert: Alert) -> tuple[str, ...]:
    opening = alert.opening
    state = f"muted until {alert.until:%Y-%m-%d %H:%M}" if alert.state == "muted" else alert.state
    return (opening.fingerprint, state, opening.severity, opening.policy, opening.subject or "model", opening.window, opening.owner, opening.said)


def _precision(record: PolicyRecord) -> tuple[str, ...]:
    share = ("", "") if record.precision is None else (f"{record.precision:.2f}", f"{record.lower:.2f} to {record.upper:.2f}")
    return (record.policy, str(record.episodes), str(record.real), str(record.noise), *share)


def _short(event: AlertEvent) -> dict[str, Any]:
    """An event without what the alert says already."""
    names = ("number", "kind", "at", "window", "value", "said", "until", "verdict", "channel", "about", "actor", "note")
    return {name: value for name in names if (value := getattr(event, name)) not in ("", None)}


def _print(line: str) -> None:
    Console(soft_wrap=True, highlight=False).print(line, markup=False)
