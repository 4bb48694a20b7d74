"""Moving the champion: promotion behind a passed gate report, rollback, and what was done by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from feature_store.delta import Tables
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.errors import ContractError, GateRefused
from sparkml_ops.records import ModelVersion
from sparkml_ops.release.events import CHAMPION, ModelEvent, append_event, history, version_before
from sparkml_ops.release.reports import newest_report
from sparkml_ops.tracking import Registry

__all__ = ["promote", "reconcile", "rollback"]

# Tag of the registered model: the event that its alias follows.
_FOLLOWS = f"sparkml_ops.{CHAMPION}.event"


def promote(
    tables: Tables, tracking: Registry, settings: ReleaseSection, version: ModelVersion, config_hash: str, as_of: datetime, actor: str = ""
) -> ModelVersion:
    """Make a version the champion; the champion again changes nothing.

    Args:
        version: As `register` returned it.
        config_hash: Of the configuration whose gates must have passed.
        as_of: Clock of the event, UTC.
        actor: Who asks for it.

    Raises:
        GateRefused: No report is bound to exactly this artifact, evaluation set and configuration, or it did not pass.
        ContractError: The registry holds something else under this version, or somebody moved the alias by hand.
        ConflictError: Another promotion was first.
    """
    chosen = _confirmed(tracking, settings, version)
    report = _passed_report(tables, chosen, config_hash)
    last, _ = _settle(tables, tracking, settings.model)
    if last is None or last.to_version != chosen.version:
        _move(tables, tracking, last, ModelEvent(_next(last), settings.model, CHAMPION, _to(last), chosen.version, as_of, "promote", report, actor))
    return chosen


def rollback(tables: Tables, tracking: Registry, settings: ReleaseSection, as_of: datetime, actor: str = "") -> ModelVersion:
    """Make the champion before this one the champion again; each further call goes one more back.

    A rollback that was killed halfway is finished instead of repeated. No gate is asked: it was champion before.

    Raises:
        ContractError: There is none before, or somebody moved the alias by hand.
        ConflictError: Another move was first.
    """
    last, finished = _settle(tables, tracking, settings.model)
    if finished == "rollback" and last is not None and last.to_version is not None:
        return tracking.resolve(settings.model, last.to_version).record
    before = version_before(history(tables, settings.model))
    if before is None:
        raise ContractError(
            f"no champion of `{settings.model}` before version {_to(last)}", expected="two promotions", mend="promote another version"
        )
    chosen = tracking.resolve(settings.model, before).record
    _move(tables, tracking, last, ModelEvent(_next(last), settings.model, CHAMPION, _to(last), before, as_of, "rollback", None, actor))
    return chosen


def reconcile(tables: Tables, tracking: Registry, settings: ReleaseSection, as_of: datetime, actor: str = "") -> ModelEvent | None:
    """Accept what somebody did by hand in MLflow: the alias stays as it is found, and an event says so.

    Returns:
        The event, or None where alias and history agree.
    """
    found, events = tracking.alias(settings.model, CHAMPION), history(tables, settings.model)
    last = events[-1] if events else None
    if found == _to(last) or _unfinished(tracking, last, found):
        _settle(tables, tracking, settings.model)
        return None
    event = ModelEvent(_next(last), settings.model, CHAMPION, _to(last), found, as_of, "by hand", None, actor)
    append_event(tables, event)
    tracking.set_note(settings.model, _FOLLOWS, event.id)
    return event


def _move(tables: Tables, tracking: Registry, last: ModelEvent | None, event: ModelEvent) -> None:
    append_event(tables, event)
    _follow(tracking, event)
    # A slower process may have set the alias for an older event after us, or we for ours after a newer one.
    if history(tables, event.model)[-1].number > event.number:
        _settle(tables, tracking, event.model)


def _follow(tracking: Registry, event: ModelEvent) -> None:
    """Let the alias follow an event."""
    if event.to_version is not None:
        tracking.set_alias(event.model, event.alias, event.to_version)
    tracking.set_note(event.model, _FOLLOWS, event.id)


def _settle(tables: Tables, tracking: Registry, model: str) -> tuple[ModelEvent | None, Literal["", "promote", "rollback", "by hand"]]:
    """Finish a move that was cut off; the last event, and the reason of the move that was finished here.

    Raises:
        ContractError: The alias is where no event put it.
    """
    events, found = history(tables, model), tracking.alias(model, CHAMPION)
    last = events[-1] if events else None
    if last is not None and (found == last.to_version or _unfinished(tracking, last, found)):
        if tracking.note(model, _FOLLOWS) == last.id:
            return last, ""
        _follow(tracking, last)
        return last, last.reason
    if last is None and found is None:
        return None, ""
    recorded = "none" if last is None else f"version {last.to_version} (event {last.id}, {last.reason} at {last.at:%Y-%m-%d %H:%M} UTC)"
    raise ContractError(
        f"{model}@{CHAMPION} at {'no version' if found is None else f'version {found}'}, moved by hand in MLflow",
        expected=f"what the last event says: {recorded}",
        mend="move it back in MLflow, or accept it with `sparkml-ops reconcile`",
    )


def _unfinished(tracking: Registry, last: ModelEvent | None, found: int | None) -> bool:
    """Whether the alias is still where it was before the last event, and never was seen to follow it."""
    return last is not None and found == last.from_version and tracking.note(last.model, _FOLLOWS) != last.id


def _confirmed(tracking: Registry, settings: ReleaseSection, version: ModelVersion) -> ModelVersion:
    if version.name != settings.model:
        raise ContractError(
            f"a version of `{version.name}`", expected=f"a version of `{settings.model}`", mend="correct release.model, or promote another version"
        )
    found = tracking.resolve(version.name, version.version).record
    if found.digest != version.digest or found.training_set != version.training_set:
        raise ContractError(
            f"version {version.version} of `{version.name}` with digest {found.digest} and training set {found.training_set.id}",
            expected=f"digest {version.digest} and training set {version.training_set.id}",
            mend="register the training result again",
        )
    return found


def _passed_report(tables: Tables, version: ModelVersion, config_hash: str) -> str:
    """Id of the passed report; GateRefused names each gate that refused, with what was found and its limit."""
    what = f"version {version.version} of `{version.name}`"
    evaluation = version.training_set.content_hash
    stored = newest_report(tables, model=version.name, digest=version.digest, evaluation_hash=evaluation, config_hash=config_hash)
    if stored is None:
        raise GateRefused(
            f"no gate report of {what} on evaluation set {evaluation} under configuration {config_hash}",
            expected="a passed one",
            mend="register it again under this configuration",
        )
    if not stored.report.passed:
        refused = [result for result in stored.report.results if result.verdict != "pass"]
        lines = "; ".join(f"gate {result.gate}: {result.verdict} ({result.message})" for result in refused)
        raise GateRefused(
            f"{what} refused by {len(refused)} of {len(stored.report.results)} gates: {lines}",
            mend="train a better model, or change the gates with a reason",
        )
    return stored.id


def _next(last: ModelEvent | None) -> int:
    return 1 if last is None else last.number + 1


def _to(last: ModelEvent | None) -> int | None:
    return None if last is None else last.to_version
