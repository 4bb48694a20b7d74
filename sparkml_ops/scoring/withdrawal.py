"""A scoring taken back: its window and slot get the rows that they had before it, whatever was committed since to others."""

from __future__ import annotations

import re

from pyspark.sql import functions as F

from feature_store.delta import Tables
from sparkml_ops.errors import ContractError
from sparkml_ops.records import ScoredWindow, Snapshot, Withdrawal
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.scoring.target import PARTITIONS, SLOT, counted, transaction

__all__ = ["withdraw"]

_GONE = re.compile(r"FAILED_READ_FILE|FILE_NOT_EXIST|FileNotFound|DELTA_FILE_NOT_FOUND|No such file")


def withdraw(tables: Tables, target: str, scored: ScoredWindow, *, run_id: str, generation: int, number: int) -> Withdrawal:
    """Write what was there before a scoring, in one commit.

    It takes a generation of its own: Delta lands each once, so that neither a scoring of the same number nor a second
    withdrawal can land beside it, and the window can be scored again under the next.

    Args:
        tables: The warehouse.
        target: Table of the predictions.
        scored: The newest scoring of its window and slot.
        run_id: Its run.
        generation: Its generation.
        number: Generation of the withdrawal, above all that were used.

    Raises:
        ContractError: The files of the version before it are gone.
    """
    before, place = scored.snapshot.version - 1, {WINDOW: scored.window, SLOT: scored.slot}
    rows = tables.read(target, max(before, 0))
    for name, value in place.items():
        rows = rows.where(F.col(name) == F.lit(value))
    # The table began with this scoring: there is nothing to be put back.
    rows = rows if before >= 0 else rows.where(F.lit(False))
    counts = counted(tables, Snapshot(target, before), place) if before >= 0 else (0, 0)
    details = {"withdrawn": generation, "of": run_id, **place, "rows": counts[0], "quarantined": counts[1]}
    once = transaction(target, scored.window, scored.slot, number)
    try:
        commit = tables.replace(target, rows, place, transaction=once, details=details, partition_by=PARTITIONS)
    except Exception as error:
        if not _GONE.search(str(error)):
            raise
        raise ContractError(
            f"files of version {before} of `{target}` that are no longer there",
            expected=f"the rows that window {scored.window}, slot {scored.slot} had before run {run_id[:8]}",
            mend="score it again with --generation next: old files are kept as long as the table's delta.deletedFileRetentionDuration says",
        ) from error
    kept = commit.details
    return Withdrawal(run_id, scored.window, scored.slot, generation, commit.snapshot, int(kept["rows"]), int(kept["quarantined"]))
