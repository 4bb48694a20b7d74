"""How many labels there are that a training could learn from."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.declaration import TrainingSetDeclaration
from feature_store.duration import parse_duration
from feature_store.examples import Examples
from feature_store.names import quote
from feature_store.timeline import micros

__all__ = ["count_labels"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def count_labels(spine: DataFrame, declared: TrainingSetDeclaration, *, since: datetime | None, until: datetime, as_of: datetime) -> int:
    """Examples of a range whose label is known at an instant; one job.

    Of several rows of one example, as corrections leave them, that counts which became known last: a label that was
    taken back is pending again.

    Args:
        spine: Rows with their labels.
        declared: Its columns, its filter and the maturity of a label.
        since: Inclusive start of the spine time; None: from the first row on.
        until: Its exclusive end.
        as_of: Rows that became known or mature later do not count.
    """
    maturity = parse_duration(declared.maturity)
    examples = Examples(declared.time, declared.label, declared.label_known_time, declared.row_key, None, maturity, declared.seed)
    time = F.col(quote(declared.time))
    rows = spine if declared.where is None else spine.where(F.expr(declared.where))  # checked when the configuration was read
    rows = rows.where((time < F.lit(until)) & (examples.entry() <= F.lit(micros(as_of - _EPOCH))))
    if since is not None:
        rows = rows.where(time >= F.lit(since))
    keys = [f"key_{index}" for index in range(len(declared.row_key))]
    values = [F.col(quote(name)).alias(key) for name, key in zip(declared.row_key, keys, strict=True)]
    # By when it became known, not by when it entered: before its maturity an example may have been corrected twice.
    known = F.lit(0) if declared.label_known_time is None else F.unix_micros(F.col(quote(declared.label_known_time)))
    last = F.struct(known.alias("known"), (~examples.pending(spine)).alias("labelled"))
    found = rows.select(*values, last.alias("last")).dropna(subset=keys).groupBy(*keys).agg(F.max("last").alias("last"))
    return found.where(F.col("last.labelled")).count()
