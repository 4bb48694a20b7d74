"""One pass of a model over a window, and one commit of its rows.

Rows are scored once and counted on their way, before anything is committed; then the share of bad rows is known exactly, and either
nothing is written or all of it in one commit. The engine `files` has its tasks write the target's files (file_pass.py). The others write
to a staging folder of their own under storage.root, from which the narrow rows go to the target. Both other ways were weighed: a guard inside the
committing plan runs the model twice unless Spark happens to reuse an exchange, and a second commit can be lost after the first.
The price is one more write and read of narrow rows (key, time, prediction), little beside the wide read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.delta import Commit, Tables
from feature_store.pii import marked_personal, without_statistics
from feature_store.scan import most_rows
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.errors import ContractError, OpsError
from sparkml_ops.logs import logger
from sparkml_ops.records import ScoredWindow, Snapshot
from sparkml_ops.scoring.arms import Arms
from sparkml_ops.scoring.call import Call, Fit
from sparkml_ops.scoring.changed import Part, part_of
from sparkml_ops.scoring.checks import IdentityCounts, count_identity, mark_duplicates, refusal, value_checks
from sparkml_ops.scoring.choice import Choice, choose, target_refused, unlike_keys
from sparkml_ops.scoring.contract import APART, Judged, mark_broken
from sparkml_ops.scoring.engines import RowPass, bounded_batches
from sparkml_ops.scoring.file_pass import remove_attempts, score_files, score_frame
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.row_keys import count_frame_keys
from sparkml_ops.scoring.scoring_set import WINDOW, input_versions
from sparkml_ops.scoring.staging import Staged, staging
from sparkml_ops.scoring.target import PARTITIONS, SLOT, lineage, record_of, target_rows, transaction
from sparkml_ops.scoring.worker_fault import told

__all__ = ["score"]


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
    arms: Arms | None = None,
    before: Commit | None = None,
    judged: Judged | None = None,
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
        before: The commit of the scoring that stands, where only what changed since is to be scored.
        judged: The scoring set against its contract; rows that break it are quarantined.
        arms: Of a canary or an A/B test: each row carries its own; the slot of the smaller arm scores that arm's rows alone.

    Raises:
        ContractError: Columns that do not fit the model, no rows, or too many rows to quarantine; the target is as it was.
    """
    call = Call(
        spark, tables, model, scoring_set, window, slot, generation, settings, scored_at, run_id, tuple(row_key), spine_time, arms, before, judged
    )
    done = call.finished() or _first(call)
    model.published.storage.remove(call.staging)
    remove_attempts(call, done)
    if done.model.name != model.record.name:
        raise ContractError(
            f"`{settings.target}`, window {window}, slot {slot}, scored by the model `{done.model.name}`",
            expected=f"`{model.record.name}`",
            mend="give each project a scoring.target of its own, or use another slot",
        )
    return done


def _first(call: Call) -> ScoredWindow:
    """Score, unless another driver is faster: it removes what all at the same key have written but not committed."""
    if call.finished(later=1):
        raise ContractError(
            f"generation {call.generation + 1} of window {call.window}, slot {call.slot}",
            expected=f"none after generation {call.generation}",
            mend="score with --generation next: an older one would replace newer rows",
        )
    try:
        fit = Fit.of(call)
        choice = choose(call.tables, call.settings, call.scoring_set, identity=fit.identity, grows=bool(fit.settings), chosen=_chosen(call))
        logger.info("score: %s", choice)
        if choice.engine != "files":
            with bounded_batches(call.spark, choice.engine):
                return _staged(call, fit, choice.engine)
        if (done := score_files(call, fit)) is not None:
            return done
        logger.info("score: %s", Choice("arrow", "so many rows share keys that Spark marks them"))
        with bounded_batches(call.spark, "arrow"):
            return _staged(call, fit, "arrow")
    except Exception as error:
        if other := call.finished():
            return other
        if (known := told(error, call.where)) is not error:
            raise known from error
        raise


def _chosen(call: Call) -> str:
    """Why Spark chooses among the rows; empty: all are scored as they stand in their files."""
    if call.arms:
        return "Spark deals the rows to the arms of rollout.canary"
    if call.apart:
        return "Spark sets rows aside that break the contract"
    return "Spark looks for the rows that changed" if call.before else ""


def _staged(call: Call, fit: Fit, engine: Literal["arrow", "pandas"]) -> ScoredWindow:
    """Through the JVM; scored rows wait in staging until they are counted, where tasks cannot write the target's files."""
    table = call.tables.read(call.scoring_set.table, call.scoring_set.version)
    rows = table.where(F.col(WINDOW) == F.lit(call.window))
    if call.arms is not None:
        rows = call.arms.of_slot(call.arms.mark(rows), call.slot)
    if call.apart:
        rows = mark_broken(rows, call.apart, call.row_key)
    part = None if call.before is None else part_of(call, fit, rows, call.before)
    rows, kept = (rows, 0) if part is None else (part.rest, part.count)
    counts = _identity(call, fit, rows)
    call.check_rows(counts.rows + kept)
    call.check_share(counts.reasons, counts.rows + kept, list)
    marked, duplicate = mark_duplicates(rows, call.row_key, counts)
    row_pass = RowPass(call.model.published, fit.matches, fit.identity, ceil(call.settings.max_quarantine_share * (counts.rows + kept)))
    checks = [*value_checks(fit.schema, call.settings.checks), *([F.col(APART)] if call.apart else [])]
    refused = refusal(call.row_key, call.spine_time, duplicate, fit.matches, checks)
    if engine == "arrow" and part is None and _placed(call, fit):
        return score_frame(call, fit, row_pass, marked, refused, counts.rows)
    scored = row_pass.run(marked, refused, engine)
    with staging(call.spark, call.model.published.storage, call.staging, scored, row_pass.schema) as staged:
        if staged.rows != counts.rows:
            raise OpsError(f"{staged.rows} rows after the pass", expected=f"{counts.rows}, as before it", mend="report this; nothing was written")
        call.check_share(staged.reasons, staged.rows + kept, staged.examples)
        return _commit(call, fit, staged, engine, part)


def _placed(call: Call, fit: Fit) -> bool:
    """Whether tasks may write the target's files; a table that is yet to be made Spark makes with its first rows, in one commit."""
    return not fit.settings and call.tables.exists(call.settings.target) and not target_refused(call.tables, call.settings.target)


def _identity(call: Call, fit: Fit, rows: DataFrame) -> IdentityCounts:
    """Rows with a faulty identity: most windows have no doubled key, as hashes tell; Spark counts where they may have one."""
    if unlike_keys(fit.identity):
        return count_identity(rows, call.row_key, call.spine_time)
    most = most_rows(call.tables, call.tables.standing(call.scoring_set))
    found = count_frame_keys(rows, row_key=call.row_key, spine_time=call.spine_time, most_rows=most)
    if found.doubled:
        return count_identity(rows, call.row_key, call.spine_time)
    return IdentityCounts(found.rows, found.null_key, 0, 0, found.null_time)


def _commit(call: Call, fit: Fit, staged: Staged, engine: str, part: Part | None) -> ScoredWindow:
    """Replace exactly this window and slot, once for the key; the commit carries the record."""
    target = call.settings.target
    versions = input_versions(call.tables, target, call.scoring_set, call.window, call.generation)
    carried = lineage(model=call.model.record, feature_versions=versions, run_id=call.run_id, scored_at=call.scored_at, generation=call.generation)
    outputs = call.model.published.outputs
    rows = target_rows(staged.frame, fit.identity, outputs, carried=carried, window=call.window, slot=call.slot)
    kept = 0 if part is None else part.count
    rows = rows if part is None else rows.unionByName(part.kept, allowMissingColumns=True)
    without_statistics(call.tables, target, rows.schema, marked_personal(call.tables, call.scoring_set.table), PARTITIONS)
    commit = call.tables.replace(
        target,
        rows,
        {WINDOW: call.window, SLOT: call.slot},
        transaction=transaction(target, call.window, call.slot, call.generation),
        details=call.details(versions, staged.rows + kept, staged.reasons, engine, kept),
        partition_by=PARTITIONS,
        settings=fit.settings,
    )
    return record_of(commit)
