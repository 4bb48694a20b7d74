"""How many labels there are that a training could learn from."""

from __future__ import annotations

from datetime import datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.declaration import TrainingSetDeclaration
from feature_store.duration import parse_duration
from feature_store.examples import ENTERED, Examples
from feature_store.names import quote

__all__ = ["count_labels"]


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
    examples = Examples(
        declared.time, declared.label, declared.label_known_time, declared.row_key, None, parse_duration(declared.maturity), declared.seed
    )
    time, keys = F.col(quote(declared.time)), [F.col(quote(name)) for name in declared.row_key]
    rows = spine if declared.where is None else spine.where(F.expr(declared.where))  # checked when the configuration was read
    rows = rows.where(time < F.lit(until)) if since is None else rows.where((time >= F.lit(since)) & (time < F.lit(until)))
    named = rows.where(reduce(Column.__and__, [key.isNotNull() for key in keys]))
    return examples.mark(named, as_of).where(ENTERED).select(*keys).distinct().count()
