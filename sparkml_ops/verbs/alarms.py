"""What should wake somebody: a function for each kind of trouble, each with its mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sparkml_ops import alerts, clock, release
from sparkml_ops.errors import OpsError, with_project
from sparkml_ops.retraining.lease import leases
from sparkml_ops.retraining.policy import Figure, beyond
from sparkml_ops.verbs.due import due_windows
from sparkml_ops.verbs.finished import Finished
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["Alarm", "find_alarms", "missing_windows"]

_EXAMPLES = 5


@dataclass(frozen=True)
class Alarm:
    """Something that should be looked at.

    Args:
        about: `champion`, `alert`, `windows`, `drift`, `performance`, `quarantine` or `retraining`.
        found: What is there.
        mend: What to do about it.
    """

    about: str
    found: str
    mend: str


def find_alarms(work: Work, finished: Finished, champion: int | None) -> tuple[Alarm, ...]:
    """All of them, the gravest first.

    Args:
        champion: Version that the events name.
    """
    rules: tuple[Callable[[Work, Finished], Iterator[Alarm]], ...] = (_alerts, _windows, _drift, _performance, _quarantine, _retraining)
    found = (*_alias(work, champion), *(alarm for rule in rules for alarm in rule(work, finished)))
    return tuple(replace(alarm, mend=with_project(alarm.mend, work.config.project)) for alarm in found)


def missing_windows(labels: Sequence[str]) -> tuple[str, ...]:
    """Windows between the others that are not there: what `score --due` would fill; only those of the size of the newest count.

    >>> missing_windows(["2013-10", "2013-07", "2013-08-01"])
    ('2013-08', '2013-09')
    """
    if not labels:
        return ()
    return tuple(window.label for window in due_windows(labels, as_of=max(Window.parse(label).end for label in labels)))


def _alias(work: Work, champion: int | None) -> Iterator[Alarm]:
    model = work.sections.release.model
    try:
        alias = release.alias_state(work.tables, work.tracking, model)
    except OpsError as error:
        yield Alarm("champion", error.found, error.mend)
        return
    if alias.state == "by hand":
        refusal = alias.refusal()
        yield Alarm("champion", refusal.found, refusal.mend)
    elif alias.state == "cut off":
        yield Alarm("champion", f"the move of {model}@{release.CHAMPION} to version {champion} was cut off", "`sparkml-ops reconcile` finishes it")
    elif alias.version is None:
        yield Alarm("champion", f"no champion of {model}", "promote a version with `sparkml-ops promote`")


def _alerts(work: Work, finished: Finished) -> Iterator[Alarm]:
    """Alerts of the project's policies that are open and not muted."""
    for alert in alerts.fold(alerts.read(work.tables, work.config.project).events).values():
        if alert.state in ("open", "acknowledged"):
            opening = alert.opening
            yield Alarm(
                "alert",
                f"{opening.severity} {opening.policy}: {opening.said}",
                f"{opening.runbook} (`sparkml-ops alerts show {opening.fingerprint}`)",
            )


def _windows(work: Work, finished: Finished) -> Iterator[Alarm]:
    if missing := missing_windows(finished.windows("score")):
        names = ", ".join(missing[:_EXAMPLES]) + (", …" if len(missing) > _EXAMPLES else "")
        yield Alarm("windows", f"{names} not scored, though later ones are", "run `sparkml-ops score --due`")


def _drift(work: Work, finished: Finished) -> Iterator[Alarm]:
    newest = finished.newest_window("drift")
    if newest is None:
        return
    verdicts = {name: column["verdict"] for name, column in newest.record["columns"].items()}
    shown = f"sparkml-ops drift --window {newest.key.window}"
    for verdict, mend in (
        ("fault", "mend the data; no model is trained on them"),
        ("drift", f"`{shown} --html drift.html` shows them; retrain decides"),
    ):
        if names := [name for name, found in verdicts.items() if found == verdict]:
            more = ", …" if len(names) > _EXAMPLES else ""
            yield Alarm(
                "drift", f"{verdict} in {len(names)} of {len(verdicts)} columns of {newest.key.window}: {', '.join(names[:_EXAMPLES])}{more}", mend
            )


def _performance(work: Work, finished: Finished) -> Iterator[Alarm]:
    limit, newest = work.sections.retraining.policy.performance, finished.newest_window("monitor")
    if limit is None or newest is None:
        return
    kinds = ("realised", "estimated") if limit.estimated else ("realised",)
    figures = [
        Figure(newest.key.window, limit.metric, item["kind"], item["value"], int(item["rows"]))
        for kind in kinds
        for item in newest.record["performance"]
        if (item["metric"], item["kind"], item["segment"]) == (limit.metric, kind, None) and item["value"] is not None
    ]
    if figures and (said := beyond(figures[0], limit)):
        decide = f"sparkml-ops retrain --window {newest.key.window}"
        yield Alarm("performance", said, f"`{decide}` decides whether a new model is due")


def _quarantine(work: Work, finished: Finished) -> Iterator[Alarm]:
    newest, limit = finished.newest_window("score"), work.sections.scoring.max_quarantine_share
    if newest is None:
        return
    rows, aside = int(newest.record["rows"]), int(newest.record["quarantined"])
    share = aside / max(rows + aside, 1)
    if share > limit / 2:
        found = f"{aside:,} of {rows + aside:,} rows of {newest.key.window} in quarantine ({share:.2%}; at {limit:.2%} nothing would be written)"
        yield Alarm("quarantine", found, "look at the reasons: `Project.quarantine(window)`")


def _retraining(work: Work, finished: Finished) -> Iterator[Alarm]:
    held = leases(work.tables, work.config.project)
    if held and not finished.has(held[-1].key):
        last, again = held[-1], f"sparkml-ops runs retry {held[-1].key}"
        if last.alive(clock.wall()):
            yield Alarm("retraining", f"{last.key} in flight in process {last.pid} on {last.host}", "wait until it has ended")
        else:
            yield Alarm("retraining", f"{last.key} was cut off or failed; it blocks nobody", f"`{again}` goes on by its decision")
    decided = finished.newest("retrain")
    if decided is not None and decided.record["decision"] == "yes" and not decided.record["promoted"]:
        yield Alarm("retraining", f"the challenger of {decided.key.window} is not champion: {decided.record['reason']}", "look at its gate report")
