"""One pass of a model over a window, and one commit of its rows.

Rows are scored once, into a staging folder of their own under storage.root, and counted on their way;
then the share of bad rows is known exactly, and either nothing is written or the narrow staged rows go
to the target in one commit. Both other ways were weighed: a guard inside the committing plan runs the
model twice unless Spark happens to reuse an exchange, and a second commit can be lost after the first.
The price is one more write and read of narrow rows (key, time, prediction), little beside the wide read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.delta import Tables
from feature_store.pii import marked_personal, without_statistics
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.errors import ContractError, OpsError
from sparkml_ops.records import ScoredWindow, Snapshot, to_document
from sparkml_ops.scoring.checks import count_identity, mark_duplicates, refusal, value_checks
from sparkml_ops.scoring.engines import RowPass
from sparkml_ops.scoring.matching import match
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.scoring_set import WINDOW, input_versions
from sparkml_ops.scoring.shape import check_shape
from sparkml_ops.scoring.staging import Staged, staging
from sparkml_ops.scoring.target import PARTITIONS, SLOT, finished, identity_fields, record_of, target_rows, target_schema, transaction

__all__ = ["score"]


@dataclass(frozen=True)
class _Call:
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


@dataclass(frozen=True)
class _Plan:
    """The pass of a call, checked but not run.

    Args:
        row_pass: What is run.
        scored: Its rows, lazy.
        rows: How many go in, and so must come out.
        settings: Of the session, for the write to the target.
    """

    row_pass: RowPass
    scored: DataFrame
    rows: int
    settings: Mapping[str, str]


def score(
    spark: SparkSession,
    tables: Tables,
    model: ScoringModel,
    scoring_set: Snapshot,
    *,
    window: str,
    slot: str,
    generation: int,
    settings: ScoringSection,
    scored_at: datetime,
    run_id: str,
    row_key: Sequence[str],
    spine_time: str,
) -> ScoredWindow:
    """Score a window: each row of its scoring set once, as a prediction or in quarantine with a reason.

    Args:
        spark: The session.
        tables: The warehouse.
        model: What `load` returned.
        scoring_set: What `materialise` returned.
        window: Label of the window.
        slot: Role under which the predictions are stored.
        generation: Of deliberate repeats; one that has landed returns its record and writes nothing.
        settings: Options.
        scored_at: UTC; each row carries it.
        run_id: Each row carries it.
        row_key: Columns that identify a row. Rows that share a key are all quarantined.
        spine_time: Column (timestamp) of each row's time.

    Raises:
        ContractError: Columns that do not fit the model, no rows, or too many rows to quarantine; the target is as it was.
    """
    call = _Call(spark, tables, model, scoring_set, window, slot, generation, settings, scored_at, run_id, tuple(row_key), spine_time)
    done = call.finished() or _first(call)
    model.published.storage.remove(call.staging)
    if done.model.name != model.record.name:
        raise ContractError(
            f"`{settings.target}`, window {window}, slot {slot}, scored by the model `{done.model.name}`",
            expected=f"`{model.record.name}`",
            mend="give each project a scoring.target of its own, or use another slot",
        )
    return done


def _first(call: _Call) -> ScoredWindow:
    """Score, unless another driver is faster: it removes the staged rows of all at the same key."""
    if call.finished(later=1):
        raise ContractError(
            f"generation {call.generation + 1} of window {call.window}, slot {call.slot}",
            expected=f"none after generation {call.generation}",
            mend="score with --generation next: an older one would replace newer rows",
        )
    try:
        plan = _plan(call)
        with staging(call.spark, call.model.published.storage, call.staging, plan.scored, plan.row_pass.schema) as staged:
            if staged.rows != plan.rows:
                raise OpsError(f"{staged.rows} rows after the pass", expected=f"{plan.rows}, as before it", mend="report this; nothing was written")
            _check_share(call, staged.reasons, staged.rows, staged.examples)
            return _commit(call, plan, staged)
    except Exception:
        if other := call.finished():
            return other
        raise


def _plan(call: _Call) -> _Plan:
    """Check everything that can be known before the model runs; one job, over the keys alone."""
    table = call.tables.read(call.scoring_set.table, call.scoring_set.version)
    identity = identity_fields(table.schema, call.row_key, call.spine_time, call.where)
    types = {field.name: field.dataType.simpleString() for field in table.schema.fields}
    matches = match(types, call.model.published.inputs, where=call.where)
    checks = value_checks(table.schema, call.settings.checks)
    settings = check_shape(call.tables, call.settings.target, target_schema(identity, call.model.published.outputs))
    rows = table.where(F.col(WINDOW) == F.lit(call.window))
    counts = count_identity(rows, call.row_key, call.spine_time)
    if not counts.rows and not call.settings.allow_empty:
        raise ContractError(
            f"no rows in {call.where}", expected="rows to score", mend="load the data first, or allow it with scoring.allow_empty=true"
        )
    _check_share(call, counts.reasons, counts.rows, list)
    marked, duplicate = mark_duplicates(rows, call.row_key, counts)
    row_pass = RowPass(call.model.published, matches, identity, ceil(call.settings.max_quarantine_share * counts.rows))
    engine: Literal["arrow", "pandas"] = "pandas" if call.settings.engine == "pandas" else "arrow"
    scored = row_pass.run(marked, refusal(call.row_key, call.spine_time, duplicate, matches, checks), engine)
    return _Plan(row_pass, scored, counts.rows, settings)


def _check_share(call: _Call, reasons: Mapping[str, int], rows: int, examples: Callable[[], list[str]]) -> None:
    """Refuse a window of which too much would be set aside.

    Raises:
        ContractError: With the count, the share, the reasons and the limit.
    """
    bad, limit = sum(reasons.values()), call.settings.max_quarantine_share
    if not bad or bad / rows <= limit:
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    detail = f" (most frequent: {'; '.join(found)})" if (found := examples()) else ""
    raise ContractError(
        f"{bad} of {rows} rows to quarantine in {call.where}, {bad / rows:.2%}: {kinds}{detail}",
        expected=f"at most {limit:.2%} (scoring.max_quarantine_share)",
        mend="correct the rows' source, or raise the limit if they may be left out; nothing was written",
    )


def _commit(call: _Call, plan: _Plan, staged: Staged) -> ScoredWindow:
    """Replace exactly this window and slot, once for the key; the commit carries the record."""
    target, model, outputs = call.settings.target, call.model.record, call.model.published.outputs
    versions = input_versions(call.tables, target, call.scoring_set, call.window, call.generation)
    identity = plan.row_pass.identity
    rows = target_rows(
        staged.frame,
        identity,
        outputs,
        model=model,
        feature_versions=versions,
        run_id=call.run_id,
        scored_at=call.scored_at,
        window=call.window,
        slot=call.slot,
        generation=call.generation,
    )
    quarantined = sum(staged.reasons.values())
    details = {
        "model": to_document(model),
        "window": call.window,
        "slot": call.slot,
        "generation": call.generation,
        "run_id": call.run_id,
        "scoring_set": to_document(call.scoring_set),
        "inputs": versions,
        "rows": staged.rows - quarantined,
        "quarantined": quarantined,
        "reasons": dict(staged.reasons),
    }
    without_statistics(call.tables, target, rows.schema, marked_personal(call.tables, call.scoring_set.table), PARTITIONS)
    commit = call.tables.replace(
        target,
        rows,
        {WINDOW: call.window, SLOT: call.slot},
        transaction=transaction(target, call.window, call.slot, call.generation),
        details=details,
        partition_by=PARTITIONS,
        settings=plan.settings,
    )
    return record_of(commit)
