"""`skew`: a window's scoring set beside a replay of the same join from what the tables say now."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import functions as F

from sparkml_ops import clock, scoring
from sparkml_ops.errors import ContractError
from sparkml_ops.records import Snapshot
from sparkml_ops.scoring.replay import Skew, compare_replay
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.verbs import score, training_set
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["replay", "skew"]


def skew(work: Work, window: str, *, generation: int = 0, tolerance: float = 0.0, as_of: datetime | str | None = None) -> Skew:
    """Join the rows of a scored window anew and compare them with what was scored; nothing is written.

    Args:
        generation: Of the scoring set.
        tolerance: Distance of two numbers that counts for none, as a share of the larger one.
        as_of: Of a corrected spine row the last version known then is taken; feature tables are read at their newest versions.

    Raises:
        ContractError: The window has no scoring set, or the spine lacks a column.
    """
    now, parsed = clock.resolve(as_of), Window.parse(window)
    stored = scoring.stored_set(work.tables, work.sections.scoring.target, parsed, generation)
    if stored is None:
        raise ContractError(
            f"no scoring set of window {window}, generation {generation}",
            expected="a window that was scored",
            mend=f"run `sparkml-ops score --window {window}` first",
        )
    return replay(work, stored, parsed, tolerance=tolerance, as_of=now)


def replay(work: Work, stored: Snapshot, window: Window, *, tolerance: float = 0.0, as_of: datetime) -> Skew:
    """Compare a stored scoring set with a replay."""
    declared = training_set.declaration(work)
    rows, _ = score.window_rows(work, window, as_of=as_of)
    lookups = [lookup.lookup() for lookup in declared.lookups]
    joined, _ = work.store.assemble(rows, lookups, spine_time=declared.time, functions=declared.row_functions(), between=(window.start, window.end))
    scored = work.tables.read(stored.table, stored.version).where(F.col(WINDOW) == F.lit(window.label)).drop(WINDOW)
    return compare_replay(scored, joined, row_key=declared.row_key, window=window.label, tolerance=tolerance)
