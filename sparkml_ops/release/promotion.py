"""Moving the champion: promotion behind a passed gate report, rollback, and what was done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from feature_store.delta import Tables
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.errors import ContractError, GateRefused
from sparkml_ops.records import ModelVersion
from sparkml_ops.release.alias import FOLLOWS, alias_state
from sparkml_ops.release.approval import approval_gate, approvals, approved
from sparkml_ops.release.comparison import NO_CHAMPION, identity
from sparkml_ops.release.events import CHAMPION, ModelEvent, append_event, history, version_before
from sparkml_ops.release.reports import StoredReport, reports
from sparkml_ops.tracking import Registry

__all__ = ["promote", "reconcile", "rollback"]


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
        GateRefused: No report is bound to exactly this artifact, evaluation set and configuration, it did not pass, it compared with another
            champion than the present one, or a gate asks for an approval that nobody has given or that has ended.
        ContractError: The registry holds something else under this version, or somebody moved the alias by hand.
        ConflictError: Another promotion was first.
    """
    chosen = _confirmed(tracking, settings, version)
    # The champion that the report must be about is the one that the event's number follows: whoever moves it in between wins.
    last, _ = _settle(tables, tracking, settings.model)
    report = _passed_report(tables, tracking, chosen, config_hash, last)
    if last is None or last.to_version != chosen.version:
        _check_approval(tables, settings, report, as_of)
        _move(
            tables, tracking, last, ModelEvent(_next(last), settings.model, CHAMPION, _to(last), chosen.version, as_of, "promote", report.id, actor)
        )
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
    alias = alias_state(tables, tracking, settings.model)
    if alias.state != "by hand":
        _settle(tables, tracking, settings.model)
        return None
    event = ModelEvent(_next(alias.last), settings.model, CHAMPION, _to(alias.last), alias.version, as_of, "by hand", None, actor)
    append_event(tables, event)
    tracking.set_note(settings.model, FOLLOWS, event.id)
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
    tracking.set_note(event.model, FOLLOWS, event.id)


def _settle(tables: Tables, tracking: Registry, model: str) -> tuple[ModelEvent | None, Literal["", "promote", "rollback", "by hand"]]:
    """Finish a move that was cut off; the last event, and the reason of the move that was finished here.

    Raises:
        ContractError: The alias is where no event put it.
    """
    alias = alias_state(tables, tracking, model)
    if alias.state == "by hand":
        raise alias.refusal()
    last = alias.last
    if last is None or tracking.note(model, FOLLOWS) == last.id:
        return last, ""
    _follow(tracking, last)
    return last, last.reason


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


def _check_approval(tables: Tables, settings: ReleaseSection, stored: StoredReport, at: datetime) -> None:
    asked = approval_gate(settings)
    if asked is None:
        return
    result = approved(*asked, stored, approvals(tables, settings.model), at)
    if result.verdict != "pass":
        version = stored.report.version
        raise GateRefused(
            f"version {version} of `{settings.model}` refused by gate {result.gate}: {result.verdict} ({result.message})",
            expected="an approval by somebody else than who registered it",
            mend=f"run `sparkml-ops models approve {version} --by <name>`",
        )


def _passed_report(tables: Tables, tracking: Registry, version: ModelVersion, config_hash: str, last: ModelEvent | None) -> StoredReport:
    """The passed report; GateRefused names each gate that refused, with what was found and its limit."""
    what = f"version {version.version} of `{version.name}`"
    evaluation = version.training_set.content_hash
    found = reports(tables, model=version.name, digest=version.digest, evaluation_hash=evaluation, config_hash=config_hash)
    if not found:
        raise GateRefused(
            f"no gate report of {what} on evaluation set {evaluation} under configuration {config_hash}",
            expected="a passed one",
            mend="register it again under this configuration",
        )
    stored = _about_champion(tracking, version, found, _to(last))
    if not stored.report.passed:
        refused = [result for result in stored.report.results if result.verdict != "pass"]
        lines = "; ".join(f"gate {result.gate}: {result.verdict} ({result.message})" for result in refused)
        raise GateRefused(
            f"{what} refused by {len(refused)} of {len(stored.report.results)} gates: {lines}",
            mend="train a better model, or change the gates with a reason",
        )
    return stored


def _about_champion(tracking: Registry, version: ModelVersion, found: Sequence[StoredReport], number: int | None) -> StoredReport:
    """The last report whose evidence is about the present champion, which may have changed since others were written."""
    if not any(stored.champions for stored in found) or number == version.version:
        return found[-1]
    now = identity(None if number is None else tracking.resolve(version.name, number).record)
    if current := [stored for stored in found if stored.champions <= {now}]:
        return current[-1]
    judged = sorted({champion.partition(" ")[0] for stored in found for champion in stored.champions})
    raise GateRefused(
        f"no evidence of version {version.version} of `{version.name}` beside the present champion, {'none' if number is None else f'version {number}'}: "
        f"it was judged beside {', '.join(f'version {champion}' if champion != NO_CHAMPION else 'none' for champion in judged)}",
        expected="a report on the champion that it would replace",
        mend="register it again with --generation next",
    )


def _next(last: ModelEvent | None) -> int:
    return 1 if last is None else last.number + 1


def _to(last: ModelEvent | None) -> int | None:
    return None if last is None else last.to_version
