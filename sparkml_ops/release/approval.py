"""The table `model_approvals`: who registered what was judged, and who has approved it until when; append-only.

An approval is about one gate report, and so about its digest, evaluation rows and configuration: a version that is judged again is approved again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pyspark.sql.types import IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from sparkml_ops.config.gates import ApprovalGate
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.errors import ContractError, GateRefused
from sparkml_ops.records import GateResult, ModelVersion
from sparkml_ops.release.limits import no_evidence
from sparkml_ops.release.reports import StoredReport, newest_report
from sparkml_ops.window import instant

__all__ = ["TABLE", "Approval", "approval_gate", "approvals", "approve", "approved", "latest_end", "note_author"]

TABLE = "model_approvals"
_TEXTS = ("event_id", "model", "digest", "report_id", "kind", "person")
_SCHEMA = StructType(
    [
        *(StructField(name, StringType(), nullable=False) for name in _TEXTS),
        StructField("version", IntegerType(), nullable=False),
        StructField("at", TimestampType(), nullable=False),
        StructField("until", TimestampType()),
    ]
)
_PERSON = re.compile(r"[\w.@+\- ]{1,200}")


@dataclass(frozen=True)
class Approval:
    """One line of the table.

    Args:
        model: Registered name.
        version: Its number.
        digest: Of the artifact that was judged.
        report_id: The gate report.
        kind: `author` of who registered it, `approval` of who approves.
        person: Who; names that differ in case or spaces at the ends are one.
        at: Clock of the line, UTC.
        until: When an approval ends, UTC.
    """

    model: str
    version: int
    digest: str
    report_id: str
    kind: Literal["author", "approval"]
    person: str
    at: datetime
    until: datetime | None = None


def approval_gate(settings: ReleaseSection) -> tuple[str, ApprovalGate] | None:
    """Name and rule of the gate that asks for an approval; None where none does."""
    return next(((name, gate) for name, gate in settings.gates.items() if isinstance(gate, ApprovalGate)), None)


def note_author(tables: Tables, version: ModelVersion, report_id: str, person: str, at: datetime) -> None:
    """Remember who registered what a report judges."""
    _append(tables, Approval(version.name, version.version, version.digest, report_id, "author", _name(person), at))


def approve(tables: Tables, settings: ReleaseSection, version: ModelVersion, config_hash: str, by: str, until: datetime, at: datetime) -> Approval:
    """Approve the newest gate report of a version, which must have passed.

    Args:
        version: As the registry has it.
        config_hash: Of the configuration that holds the gates.
        by: Who approves.
        until: When it ends, UTC.
        at: Clock, UTC.

    Raises:
        ContractError: No gate asks for an approval, or its end lies in the past or too far ahead.
        GateRefused: No report, a refused one, or one of a version that the same person registered.
    """
    latest, person, what = latest_end(settings, at), _name(by), f"version {version.version} of `{version.name}`"
    if not at < until <= latest:
        raise ContractError(
            f"an approval until {until:%Y-%m-%d %H:%M}", expected=f"after {at:%Y-%m-%d %H:%M}, until {latest:%Y-%m-%d %H:%M}", mend="give --until"
        )
    bound = {"digest": version.digest, "evaluation_hash": version.training_set.content_hash, "config_hash": config_hash}
    stored = newest_report(tables, model=version.name, **bound)
    if stored is None or not stored.report.passed:
        raise GateRefused(
            f"{what} {'without a gate report under this configuration' if stored is None else 'refused by its gates'}",
            expected="a passed report",
            mend="see `sparkml-ops models show`, and register it again",
        )
    if person in {line.person for line in approvals(tables, version.name) if line.report_id == stored.id and line.kind == "author"}:
        raise GateRefused(f"{what}, which {person} registered", expected="somebody else's approval", mend="ask a colleague to approve it")
    approval = Approval(version.name, version.version, version.digest, stored.id, "approval", person, at, until)
    _append(tables, approval)
    return approval


def latest_end(settings: ReleaseSection, at: datetime) -> datetime:
    """The last instant that an approval given now may hold.

    Raises:
        ContractError: No gate asks for an approval.
    """
    asked = approval_gate(settings)
    if asked is None:
        raise ContractError("no gate of kind approval", expected="one in release.gates", mend="add `approval: {kind: approval}` to release.gates")
    return at + timedelta(days=asked[1].longest)


def approvals(tables: Tables, model: str) -> tuple[Approval, ...]:
    """All lines of a model, oldest first; needs no Spark where the warehouse is a folder."""
    if not tables.exists(TABLE):
        return ()
    return tuple(sorted((_line(row) for row in tables.rows(TABLE, {"model": model})), key=lambda line: (line.at, line.kind != "author")))


def approved(name: str, gate: ApprovalGate, stored: StoredReport, lines: Sequence[Approval], at: datetime) -> GateResult:
    """Whether somebody else than its author has approved a report, and the approval has not ended.

    Args:
        name: Of the gate.
        gate: Its rule.
        stored: What is promoted by.
        lines: Of the model.
        at: Clock of the promotion, UTC.
    """
    about = [line for line in lines if line.report_id == stored.id and line.digest == stored.report.digest]
    authors = {line.person for line in about if line.kind == "author"}
    given = [line for line in about if line.kind == "approval" and line.person not in authors]
    if not authors:
        return no_evidence(name, f"nobody knows who registered what report {stored.id} judges")
    if not given:
        return no_evidence(name, f"report {stored.id}, registered by {', '.join(sorted(authors))}, was approved by nobody else")
    last = max((line for line in given if line.until is not None), key=lambda line: line.until or line.at)
    ends = last.until or last.at
    valid = last.at <= at <= ends and ends - last.at <= timedelta(days=gate.longest)
    message = f"approved by {last.person} until {ends:%Y-%m-%d %H:%M}"
    return GateResult(name, "pass" if valid else "fail", {}, {}, message if valid else f"{message}, at {at:%Y-%m-%d %H:%M} it does not hold")


def _append(tables: Tables, line: Approval) -> None:
    until = "" if line.until is None else line.until.isoformat()
    identity = f"{line.report_id}/{line.kind}/{line.person}/{until}"
    tables.add(TABLE, _SCHEMA, [{**asdict(line), "event_id": identity}], transaction=Transaction(f"{TABLE}/{identity}"))


def _line(row: Mapping[str, Any]) -> Approval:
    until = None if row["until"] is None else instant(row["until"])
    plain = {name: row[name] for name in ("model", "version", "digest", "report_id", "kind", "person")}
    return Approval(at=instant(row["at"]), until=until, **plain)


def _name(person: str) -> str:
    found = " ".join(person.split()).casefold()
    if not _PERSON.fullmatch(found):
        raise ContractError(f"the name {person!r}", expected="letters, digits, spaces and _.@+-, at most 200", mend="say who, as --by ada")
    return found
