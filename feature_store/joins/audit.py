"""What an audited join checks in each row: ties that nothing decides, and values from the future."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F

from feature_store.joins.source import Source
from feature_store.timeline import READER

__all__ = ["audited"]

_INSTANT = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"


def audited(group: Sequence[Source], names: Sequence[str], keys: Sequence[str]) -> Column:
    """The spine's rows; raises at a tie with different values, and at a match from the future.

    Args:
        group: Lookups whose columns `best_<hit>` (the match) and `before_<hit>` (the row before on the timeline) are there.
        names: The spine's key columns.
        keys: What they are called on the timeline.
    """
    entity = F.to_json(F.struct(*(F.col(key).alias(name) for key, name in zip(keys, names, strict=True))))
    keep = F.col("side") >= READER
    for source in group:
        rank, before, best = F.col(source.rank), F.col(f"before_{source.hit}"), F.col(f"best_{source.hit}")
        same = [rank[name].eqNullSafe(before[name]) for name in ("event", "known", *source.ties)]
        tied = reduce(Column.__and__, same, rank.isNotNull() & before.isNotNull()) & ~rank.eqNullSafe(before)
        late = best["event"] > F.col("time") if source.lookup.exact_match else best["event"] >= F.col("time")
        keep = F.when(tied, F.raise_error(_tie_message(source, entity, rank))).otherwise(keep)
        future = F.concat(F.lit(f"{source.title} gave a value from the future to the entity "), entity)
        keep = F.when((F.col("side") == READER) & (late | (best["known"] > F.col("time"))), F.raise_error(future)).otherwise(keep)
    return keep


def _tie_message(source: Source, entity: Column, rank: Column) -> Column:
    times = (F.date_format(F.timestamp_micros(rank[name]), _INSTANT) for name in ("event", "known"))
    event, known = times
    mend = "; expected one; name a column that decides in tie_break=, or correct the table"
    return F.concat(
        F.lit(f"found rows of {source.title} with different values for "),
        entity,
        F.lit(" at event time "),
        event,
        F.lit(", known "),
        known,
        F.lit(mend),
    )
