"""One call of `score`, and what both ways of its pass share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.types import StructField, StructType

from feature_store.delta import Commit, Tables
from feature_store.quality import Expectation
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.errors import ContractError
from sparkml_ops.records import ScoredWindow, Snapshot, to_document
from sparkml_ops.scoring.arms import ARM_FIELDS, ARMS, Arms
from sparkml_ops.scoring.checks import value_checks
from sparkml_ops.scoring.contract import Judged
from sparkml_ops.scoring.matching import Match, match
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.reason import Reason
from sparkml_ops.scoring.shape import check_shape
from sparkml_ops.scoring.target import finished, identity_fields, target_schema

__all__ = ["Call", "Fit"]


@dataclass(frozen=True)
class Call:
    """One call of `score`."""

    spark: SparkSession
    tables: Tables
    model: ScoringModel
    scoring_set: Snapshot
    window: str
    slot: str
    generation: int
    settings: ScoringSection
    scored_at: datetime
    run_id: str
    row_key: tuple[str, ...]
    spine_time: str
    arms: Arms | None = None
    before: Commit | None = None
    judged: Judged | None = None

    @property
    def where(self) -> str:
        """The scoring set, for messages."""
        return f"window {self.window} of table `{self.scoring_set.table}` at version {self.scoring_set.version}"

    @property
    def staging(self) -> str:
        """Object name of all attempts at this key."""
        return f"staging/{self.settings.target}/{self.window}/{self.slot}/{self.generation}"

    def finished(self, later: int = 0) -> ScoredWindow | None:
        """What has landed under this key, or a later generation of it."""
        return finished(self.tables, self.settings.target, window=self.window, slot=self.slot, generation=self.generation + later)

    @property
    def apart(self) -> tuple[Expectation, ...]:
        """Rules of the contract that some rows break which are to be set aside."""
        return self.judged.apart if self.judged else ()

    def check_rows(self, rows: int) -> None:
        """Refuse a window without rows, unless that is allowed.

        Raises:
            ContractError: There are none.
        """
        if not rows and not self.settings.allow_empty:
            raise ContractError(
                f"no rows in {self.where}", expected="rows to score", mend="load the data first, or allow it with scoring.allow_empty=true"
            )

    def check_share(self, reasons: Mapping[str, int], rows: int, examples: Callable[[], list[str]]) -> None:
        """Refuse a window of which too much would be set aside.

        Args:
            reasons: Rows to quarantine by kind of reason.
            rows: All rows.
            examples: Gives the most frequent reasons, for the message.

        Raises:
            ContractError: With the count, the share, the reasons and the limit.
        """
        if self.settings.unseen_nulls == "refuse" and (unseen := reasons.get(Reason.UNSEEN_NULL, 0)):
            raise ContractError(
                f"{unseen} of {rows} rows in {self.where} with a missing number that no training row had missing{_told(examples())}",
                expected="what the model was trained on (scoring.unseen_nulls=refuse)",
                mend="correct the rows' source, or set them aside with scoring.unseen_nulls=quarantine; nothing was written",
            )
        bad, limit = sum(reasons.values()), self.settings.max_quarantine_share
        if not bad or bad / rows <= limit:
            return
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        raise ContractError(
            f"{bad} of {rows} rows to quarantine in {self.where}, {bad / rows:.2%}: {kinds}{_told(examples())}",
            expected=f"at most {limit:.2%} (scoring.max_quarantine_share)",
            mend="correct the rows' source, or raise the limit if they may be left out; nothing was written",
        )

    def details(self, versions: Mapping[str, int], rows: int, reasons: Mapping[str, int], engine: str, kept: int = 0) -> dict[str, Any]:
        """What the commit records.

        Args:
            versions: Of the tables behind the scoring set.
            rows: All rows, quarantined ones included.
            reasons: Rows in quarantine by kind of reason.
            engine: That scored them.
            kept: Rows among them whose predictions are of an earlier run.
        """
        quarantined = sum(reasons.values())
        return {
            "model": to_document(self.model.record),
            "window": self.window,
            "slot": self.slot,
            "generation": self.generation,
            "run_id": self.run_id,
            "scoring_set": to_document(self.scoring_set),
            "inputs": dict(versions),
            "rows": rows - quarantined,
            "quarantined": quarantined,
            "reasons": dict(reasons),
            "engine": engine,
            **({"kept": kept} if self.before else {}),
            **({"contract": {"hash": self.judged.contract, "broken": [item.name for item in self.judged.worst]}} if self.judged else {}),
            **({ARMS: asdict(self.arms)} if self.arms else {}),
        }


@dataclass(frozen=True)
class Fit:
    """How a scoring set fits the model and the target, checked before any task starts.

    Args:
        schema: Columns of the scoring set.
        identity: Key and time columns.
        matches: Columns that feed the model.
        settings: Of the session, for a write that brings the target new columns.
    """

    schema: StructType
    identity: tuple[StructField, ...]
    matches: tuple[Match, ...]
    settings: Mapping[str, str]

    @classmethod
    def of(cls, call: Call) -> Fit:
        """How the call's tables fit.

        Raises:
            ContractError: They do not: columns, their types, or the target's.
        """
        schema = call.tables.schema(call.scoring_set.table, call.scoring_set.version)
        identity = identity_fields(schema, call.row_key, call.spine_time, call.where)
        if call.arms is not None:
            call.arms.check(schema, call.where)
            identity = (*identity, *ARM_FIELDS)
        types = {field.name: field.dataType.simpleString() for field in schema.fields}
        inputs = call.model.published.inputs
        if call.settings.unseen_nulls == "score":
            inputs = tuple(replace(field, unseen=False) for field in inputs)
        matches = match(types, inputs, where=call.where)
        value_checks(schema, call.settings.checks)
        settings = check_shape(call.tables, call.settings.target, target_schema(identity, call.model.published.outputs))
        return cls(schema, identity, matches, settings)


def _told(examples: list[str]) -> str:
    return f" (most frequent: {'; '.join(examples)})" if examples else ""
