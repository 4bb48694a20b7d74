"""The versions of a model as registry, gates and events tell of them, and how two of them differ; nothing is written or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from feature_store.delta import Tables
from sparkml_ops.errors import ContractError
from sparkml_ops.release.approval import Approval, approvals
from sparkml_ops.release.events import ModelEvent, history
from sparkml_ops.release.reports import StoredReport, reports_on
from sparkml_ops.tracking import ListedModel, Logged, Registry

__all__ = ["Difference", "VersionEntry", "VersionPage", "differences", "version_page", "versions"]


@dataclass(frozen=True)
class VersionEntry:
    """A line of the list.

    Args:
        listed: As the registry has it.
        report: The newest report of its gates, on whatever it is bound to; None where they never ran.
    """

    listed: ListedModel
    report: StoredReport | None

    @property
    def gates(self) -> Literal["passed", "refused", ""]:
        """What the newest report says; empty without one."""
        return "" if self.report is None else "passed" if self.report.report.passed else "refused"


@dataclass(frozen=True)
class VersionPage:
    """Everything about one version.

    Args:
        entry: Its line.
        logged: Of the run that made it.
        events: Moves of the champion's alias from it or to it, oldest first.
        approvals: Who registered what its reports judge, and who has approved them until when, oldest first.
    """

    entry: VersionEntry
    logged: Logged
    events: tuple[ModelEvent, ...]
    approvals: tuple[Approval, ...] = ()


@dataclass(frozen=True)
class Difference:
    """One thing in which two versions differ.

    Args:
        kind: `artifact`, `file`, `training set`, `input`, `parameter` or `metric`.
        name: Which.
        before: Of the first version; None where it has none.
        after: Of the second.
    """

    kind: str
    name: str
    before: Any
    after: Any


def versions(tables: Tables, tracking: Registry, model: str) -> tuple[VersionEntry, ...]:
    """All versions, oldest first, each with the newest word of its gates.

    Raises:
        ContractError: The registry has no such model.
    """
    newest = {stored.report.version: stored for stored in reports_on(tables, model)}
    return tuple(VersionEntry(listed, newest.get(listed.version)) for listed in tracking.versions(model))


def version_page(tables: Tables, tracking: Registry, model: str, which: int | str) -> VersionPage:
    """One version.

    Args:
        which: Its number, or an alias.

    Raises:
        ContractError: No such model, version or alias, or one registered by something else.
    """
    number = tracking.resolve(model, which).version
    entry = next((entry for entry in versions(tables, tracking, model) if entry.listed.version == number), None)
    if entry is None or entry.listed.registered is None:
        raise ContractError(f"version {number} of `{model}` no longer in the registry", expected="one that is there", mend="list the versions again")
    events = tuple(event for event in history(tables, model) if number in (event.from_version, event.to_version))
    lines = tuple(line for line in approvals(tables, model) if line.version == number)
    return VersionPage(entry, tracking.logged(entry.listed.registered.run_id), events, lines)


def differences(one: VersionPage, other: VersionPage) -> tuple[Difference, ...]:
    """In what a second version is not as the first: artifact, data, parameters and metrics."""
    first, second = _facts(one), _facts(other)
    return tuple(
        Difference(kind, name, first[kind].get(name), second[kind].get(name))
        for kind in first
        for name in sorted({*first[kind], *second[kind]})
        if first[kind].get(name) != second[kind].get(name)
    )


def _facts(page: VersionPage) -> dict[str, Mapping[str, Any]]:
    registered = page.entry.listed.registered
    assert registered is not None
    data = registered.training_set
    return {
        "artifact": {"digest": registered.digest, "loader": registered.loader},
        "file": registered.files,
        "training set": {"id": data.id, "content_hash": data.content_hash, "rows": data.rows},
        "input": data.inputs,
        "parameter": page.logged.params,
        "metric": page.logged.metrics,
    }
