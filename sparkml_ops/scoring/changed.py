"""Only what changed: rows that came, were corrected or were in quarantine are scored, those that went away go, and the others keep their predictions."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.content import row_hash
from feature_store.delta import Commit
from feature_store.names import quote
from sparkml_ops.scoring.call import Call, Fit
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.scoring.target import OUTCOME, SCORED, SLOT

__all__ = ["Part", "part_of"]

_COPIES, _HASH = "__copies", "__hash"


@dataclass(frozen=True)
class Part:
    """A window in two parts.

    Args:
        kept: Rows of the target that stay as they are, with the run that scored them.
        count: How many these are.
        rest: Rows of the scoring set that are scored.
    """

    kept: DataFrame
    count: int
    rest: DataFrame


def part_of(call: Call, fit: Fit, rows: DataFrame, before: Commit) -> Part | None:
    """What must be scored of a window that was scored before; None: all of it, since another model did, its scoring set is of no use, or rows break its contract.

    A row keeps its prediction where exactly one row of either scoring set has its key, all that the model and the checks read is the
    same by a 64-bit hash, and it was scored and not set aside. Whatever changed upstream, and by whichever way it came, shows there.

    Args:
        rows: The window's rows of the new scoring set.
        before: The commit of the scoring that stands.
    """
    details = before.details
    if call.arms is not None or call.apart or details.get("model", {}).get("digest") != call.model.record.digest or "arms" in details:
        return None
    read = dict.fromkeys((*call.row_key, call.spine_time, *(match.field.name for match in fit.matches), *call.settings.checks))
    earlier = call.tables.read(details["scoring_set"]["table"], int(details["scoring_set"]["version"]))
    earlier = earlier.where(F.col(WINDOW) == F.lit(call.window))
    if any(name not in earlier.columns or earlier.schema[name].dataType != rows.schema[name].dataType for name in read):
        return None
    keys = [quote(name) for name in call.row_key]
    same = [_once(frame, call, tuple(read)) for frame in (rows, earlier)]
    alike = same[0].join(same[1], on=[*call.row_key, _HASH], how="left_semi")
    scored = call.tables.read(call.settings.target).where(
        (F.col(WINDOW) == F.lit(call.window)) & (F.col(SLOT) == F.lit(call.slot)) & (F.col(OUTCOME) == F.lit(SCORED))
    )
    kept = scored.join(alike.select(*keys), on=list(call.row_key), how="left_semi").select(*(F.col(quote(name)) for name in scored.columns))
    rest = rows.join(kept.select(*keys), on=list(call.row_key), how="left_anti").select(*(F.col(quote(name)) for name in rows.columns))
    return Part(kept, kept.count(), rest)


def _once(frame: DataFrame, call: Call, columns: tuple[str, ...]) -> DataFrame:
    """Keys that one row has, with the hash of what is read of it."""
    groups = frame.withColumn(_HASH, row_hash(frame, columns=columns)).groupBy(*(F.col(quote(name)) for name in call.row_key))
    return groups.agg(F.count(F.lit(1)).alias(_COPIES), F.first(_HASH).alias(_HASH)).where(F.col(_COPIES) == 1).drop(_COPIES)
